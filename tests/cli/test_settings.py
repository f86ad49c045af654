"""A file of settings gives what is not typed, and one line for what it gets wrong."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from toolgen.cli.settings import full_place, keys_of, read_settings
from toolgen.errors import InputError

pytest.importorskip("fastapi")
Invoke = Callable[..., Result]
HASH = hashlib.sha256(b"right").hexdigest()


def written(folder: Path, text: str) -> Path:
    path = folder / "toolgen.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def uvicorn_run(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What a server would be started with."""
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr("uvicorn.run", lambda app, **how: calls.append({"app": app, **how}))
    return calls


def test_a_server_takes_sources_port_and_keys_from_a_file_and_what_is_typed_wins(
    toolgen: Invoke,
    dataset_folder: Path,
    tmp_path: Path,
    uvicorn_run: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from fastapi.testclient import TestClient

    (tmp_path / "tools").symlink_to(dataset_folder)
    monkeypatch.setenv("CI_KEY", "other")
    settings = written(
        tmp_path,
        f'sources = ["tools"]\nexclude = ["provider:mail"]\n'
        f'[serve]\nport = 8123\nhost = "0.0.0.0"\nkeys = {{ada = "{HASH}", ci = "${{CI_KEY}}"}}\n',
    )
    done = toolgen("serve", "--config", settings)
    assert done.exit_code == 0, done.stderr
    assert toolgen("serve", "--config", settings, "--port", "9000").exit_code == 0
    assert [one["port"] for one in uvicorn_run] == [8123, 9000]
    with TestClient(uvicorn_run[0]["app"]) as client:
        statuses = [
            client.get("/v1/models", headers={"Authorization": f"Bearer {key}"}).status_code
            for key in ("right", "other", "wrong")
        ]
        found = client.post(
            "/v1/tools/search", json={"query": "send a mail", "limit": 50}, headers={"X-Api-Key": "right"}
        )
    assert statuses == [200, 200, 401]
    assert "mail" not in {tool["provider"] for tool in found.json()["data"]}


def test_a_gateway_takes_its_options_from_a_file(
    toolgen: Invoke, dataset_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mcp")
    served: list[Any] = []
    monkeypatch.setattr("toolgen.cli.mcp._serve", lambda *how: served.append(how))
    (tmp_path / "tools").symlink_to(dataset_folder)
    settings = written(
        tmp_path, 'sources = ["tools"]\n[mcp]\nconfirm = true\nhttp = true\nport = 8200\nlog = "calls.jsonl"\n'
    )
    assert toolgen("mcp", "--config", settings).exit_code == 0
    assert toolgen("mcp", "--config", settings, "--yes", "--port", "8300").exit_code == 0
    assert [how[1:] for how in served] == [(("127.0.0.1", 8200), "always"), (("127.0.0.1", 8300), "where possible")]
    assert (tmp_path / "calls.jsonl").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sources = [", "is not TOML"),
        ("sources = []", "sources: List should have at least 1 item"),
        ("source = ['a']", "source: no setting; there are sources, include"),
        ("[serve]\nports = 1", "serve.ports: no setting; there are host, port"),
        ("[mcp]\nallow_host = ['a']", "mcp.allow_host: no setting; there are host, port, http, dry-run"),
        ("[serve]\nport = 65536", "serve.port: Input should be less than or equal to 65535"),
        ("[serve]\nport = '8000'", "serve.port: Input should be a valid integer"),
        ("[serve]\nseconds = inf", "serve.seconds: Input should be less than or equal to 86400"),
        ("[serve]\nseconds = nan", "serve.seconds: Input should be"),
        ("serve = 5", "serve: "),
    ],
)
def test_what_a_file_gets_wrong_is_one_line(toolgen: Invoke, tmp_path: Path, text: str, said: str) -> None:
    path = written(tmp_path, text)
    done = toolgen("serve", "--config", path)
    assert done.exit_code == 1
    assert said in done.stderr
    assert path.name in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "text", "said"),
    [
        ("mcp", '[mcp]\nheader = ["api.example: A: b"]', "--header in {} is for --allow-host"),
        ("mcp", "[mcp]\nport = 8100", "--port in {} is for --http"),
        ("serve", "[serve]\nrunning = 4", "--running in {} is for a checkpoint, whose model answers"),
        ("serve", 'encoder = "enc"', "--encoder in {} is for --retriever or --add toolretriever"),
    ],
)
def test_a_setting_that_would_change_nothing_is_wrong_usage(
    toolgen: Invoke, dataset_folder: Path, tmp_path: Path, command: str, text: str, said: str
) -> None:
    path = written(tmp_path, text + "\n")
    done = toolgen(command, dataset_folder, "--config", path)
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert said.format(path) in done.stderr


@pytest.mark.parametrize(
    ("key", "said"), [("${NOT_SET_ANYWHERE}", "NOT_SET_ANYWHERE is not set"), ("secret", "give the hash")]
)
def test_a_key_is_a_hash_or_a_variable(
    toolgen: Invoke, dataset_folder: Path, tmp_path: Path, key: str, said: str
) -> None:
    done = toolgen("serve", dataset_folder, "--config", written(tmp_path, f'[serve.keys]\nada = "{key}"\n'))
    assert (done.exit_code, said in done.stderr) == (1, True)
    assert "secret" not in done.stderr


def test_a_file_that_is_not_there_is_said() -> None:
    with pytest.raises(InputError, match=r"nothing\.toml"):
        read_settings(Path("nothing.toml"))


def test_places_are_those_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "api.yaml").touch()
    assert full_place("openapi:api.yaml", tmp_path) == f"openapi:{tmp_path / 'api.yaml'}"
    assert full_place("api.yaml", tmp_path) == str(tmp_path / "api.yaml")
    for other in ("openapi:", "mcp:https://tools.example/mcp", "mcp:python -m server", "nothing"):
        assert full_place(other, tmp_path) == other


def test_keys_are_read_when_they_are_asked_for(tmp_path: Path) -> None:
    path = written(tmp_path, f'[serve.keys]\nada = "{HASH}"\n')
    assert keys_of(path) == {"ada": HASH}
    written(tmp_path, f'[serve.keys]\nbob = "{HASH}"\n')
    assert keys_of(path) == {"bob": HASH}
    assert keys_of(None) == {}


def test_a_client_is_told_the_full_path_of_the_settings(
    toolgen: Invoke, dataset_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tools").symlink_to(dataset_folder)
    path = written(tmp_path, 'sources = ["tools"]\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["toolgen", "mcp", "--config", path.name, "--install", "claude"])
    done = toolgen("mcp", "--config", path.name, "--install", "claude")
    entry = json.loads(done.stdout)["mcpServers"]["toolgen"]
    assert entry["args"][-3:] == ["mcp", "--config", str(path.resolve())]
