"""Files of MCP clients as people have them: the key, the comments, the words for places and variables of each client."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from toolgen.catalog.loaders.mcp_client_files import servers_at
from toolgen.catalog.loaders.mcp_endpoint import McpServer
from toolgen.errors import InputError

PLAIN = {"command": "run", "args": ["--port", 8080]}


def read(folder: Path, text: str, name: str = "mcp.json") -> tuple[McpServer, ...]:
    """The servers of a file, ready to be started; nothing of it is lost."""
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    found = servers_at(str(folder / name))
    assert found.losses == () and found.several
    return tuple(server.ready for server in found.servers)


@pytest.mark.parametrize(
    "content",
    [
        {"mcpServers": {"a": PLAIN}},
        {"inputs": [], "servers": {"a": {"type": "stdio", **PLAIN}}},
        {"mcp": {"inputs": [], "servers": {"a": PLAIN}}, "editor.fontSize": 12},
        {"theme": "One", "context_servers": {"a": {"source": "custom", **PLAIN}}},
        {"context_servers": {"a": {"command": {"path": "run", "args": ["--port", 8080]}, "settings": {}}}},
        {"mcp": {"a": {"type": "local", "command": ["run", "--port", "8080"], "enabled": True}}},
        {"amp.mcpServers": {"a": PLAIN}},
        {"mcpServers": [{"name": "a", **PLAIN}]},
        {"a": PLAIN},
    ],
)
def test_every_client_keeps_its_servers_under_a_key_of_its_own(tmp_path: Path, content: Any) -> None:
    assert read(tmp_path, json.dumps(content)) == (McpServer("a", command=("run", "--port", "8080")),)


def test_comments_and_trailing_commas(tmp_path: Path) -> None:
    text = """{
        // the "servers" of this project
        "servers": { /* , } */
            "a": {"command": "run", "args": ["http://x//y", "a, ]", "\\"//\\""], }, // one
        },
    }"""
    assert read(tmp_path, text) == (McpServer("a", command=("run", "http://x//y", "a, ]", '"//"')),)


def test_codex_and_continue_have_formats_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "t1")
    codex = """
        [mcp_servers.a]
        command = "run"
        env_vars = ["TOKEN"]
        disabled_tools = ["rm"]
        [mcp_servers.b]
        url = "https://x.example/mcp"
        bearer_token_env_var = "TOKEN"
    """
    a, b = read(tmp_path, codex, "config.toml")
    assert a.env == {"TOKEN": "t1"} and not a.has("rm") and a.has("ls")
    assert b.headers == {"Authorization": "Bearer t1"}
    yaml = "mcpServers:\n  - name: a\n    command: run\n    env:\n      K: ${{ secrets.TOKEN }}\n"
    assert read(tmp_path, yaml, "config.yaml")[0].env == {"K": "t1"}


def test_values_of_yaml_and_toml_are_the_texts_that_the_file_has(tmp_path: Path) -> None:
    yaml = """
mcpServers:
  - {name: off, command: run, disabled: true}
  - {name: also off, command: run, enabled: false}
  - name: a
    command: run
    args: [--tz, 12:30, --id, 0755, --version, 1.10, NO]
    env: {SINCE: 2024-01-01, COUNTRY: NO, ON: True, NONE: ~}
    enabled: true
"""
    (a,) = read(tmp_path, yaml, "config.yaml")
    assert a.command == ("run", "--tz", "12:30", "--id", "0755", "--version", "1.10", "NO")
    assert a.env == {"SINCE": "2024-01-01", "COUNTRY": "NO", "ON": "True"}
    toml = """
        [mcp_servers.a]
        command = "run"
        args = [2024-01-01, 1.10, [12:30:00]]
        env = {SINCE = 2024-01-01T00:00:00Z, ON = true}
    """
    (a,) = read(tmp_path, toml, "config.toml")
    assert a.command == ("run", "2024-01-01", "1.10", '["12:30:00"]')
    assert a.env == {"SINCE": "2024-01-01T00:00:00+00:00", "ON": "true"}


def test_zed_keeps_the_environment_with_the_command(tmp_path: Path) -> None:
    entry = {"command": {"path": "run", "args": ["x"], "env": {"A": "1"}}, "env": {"A": "0", "B": "2"}}
    assert read(tmp_path, json.dumps({"context_servers": {"a": entry}})) == (
        McpServer("a", command=("run", "x"), env={"A": "1", "B": "2"}),
    )


def test_variables_of_opencode_and_gemini(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SET", "s")
    monkeypatch.delenv("UNSET", raising=False)
    (tmp_path / "mcp.json").write_text(
        json.dumps(
            {
                "mcp": {
                    "a": {"command": ["run", "k={env:SET}"], "environment": {"K": "{env:SET}", "L": "Bearer $SET"}},
                    "b": {"command": ["run", "$UNSET/x", "$UNSET"], "environment": {"K": "Bearer $UNSET"}},
                    "c": {"command": ["run"], "environment": {"K": "{env:UNSET}"}},
                    "d": {"command": ["run"], "environment": {"K": "{file:key.txt}"}},
                }
            }
        )
    )
    found = servers_at(str(tmp_path / "mcp.json"))
    assert [server.ready for server in found.servers] == [
        McpServer("a", command=("run", "k=s"), env={"K": "s", "L": "Bearer s"}),
        McpServer("b", command=("run", "$UNSET/x", "$UNSET"), env={"K": "Bearer $UNSET"}),
    ]
    assert found.notes == ("b: a $NAME is not set; it stays as it is in: command, K",)
    unset, only = found.losses
    assert "the environment variable UNSET, which is not set" in unset.reason
    assert "needs ${file:key.txt}, which only its own client can fill in" in only.reason


def test_a_folder_is_that_of_the_file_and_not_where_toolgen_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUB", "sub")
    folders = [".", "sub", "${SUB}", "/abs", "~", ""]
    servers = {str(place): PLAIN | {"cwd": folder} for place, folder in enumerate(folders)}
    read(tmp_path, json.dumps({"servers": servers}), ".vscode/mcp.json")
    found = servers_at(str(tmp_path / ".vscode" / "mcp.json")).servers
    home = str(Path.home())
    at, sub = str(tmp_path), f"{tmp_path}/sub"
    assert [server.ready.cwd for server in found] == [at, sub, sub, "/abs", home, ""]
    assert [server.written.cwd for server in found] == [at, sub, "${SUB}", "/abs", home, ""]


@pytest.mark.parametrize("name", ["absent.json", "absent.TOML", "folder.yaml"])
def test_a_file_that_is_not_there_is_no_program(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(InputError, match=f"there is no file {tmp_path / name}; expected the file of a client"):
        servers_at(str(tmp_path / name))
    assert servers_at("run absent.json").servers[0].ready.command == ("run", "absent.json")


@pytest.mark.parametrize(
    ("entry", "url", "sse"),
    [
        ({"url": "https://x.example/mcp"}, "https://x.example/mcp", False),
        ({"serverUrl": "https://x.example/mcp"}, "https://x.example/mcp", False),
        ({"httpUrl": "https://x.example/sse"}, "https://x.example/sse", False),
        ({"type": "streamable-http", "url": "https://x.example/sse"}, "https://x.example/sse", False),
        ({"type": "http", "url": "https://x.example"}, "https://x.example", False),
        ({"type": "remote", "url": "https://x.example"}, "https://x.example", False),
        ({"type": "sse", "url": "https://x.example"}, "https://x.example", True),
        ({"transport": "sse", "url": "https://x.example"}, "https://x.example", True),
        ({"url": "https://x.example/sse"}, "https://x.example/sse", True),
    ],
)
def test_addresses_and_their_transports(tmp_path: Path, entry: Any, url: str, sse: bool) -> None:
    entry = entry | {"headers": {"X": 1, "Y": None}}
    (server,) = read(tmp_path, json.dumps({"mcpServers": {"a": entry}}))
    assert (server.url, server.sse, server.headers) == (url, sse, {"X": "1"})


def test_variables_and_places_are_filled_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SET", "s")
    monkeypatch.delenv("UNSET", raising=False)
    (tmp_path / "more.env").write_text("# a comment\nexport A=1\nB='two words'\nC=file\n\n")
    entry = {
        "command": "${workspaceFolder}/run",
        "args": ["${SET}", "${env:SET}", "${UNSET:-d}", "${UNSET:-}", "${SET:-d}", "$SET", "${userHome}${/}x"],
        "env": {"C": "${SET}", "D": "$SET", "E": True},
        "cwd": "${workspaceFolder}",
        "envFile": "${workspaceFolder}/more.env",
    }
    (server,) = read(tmp_path, json.dumps({"servers": {"a": entry}}), ".vscode/mcp.json")
    assert server.command == (f"{tmp_path}/run", "s", "s", "d", "", "s", "s", f"{Path.home()}/x")
    assert server.env == {"A": "1", "B": "two words", "C": "s", "D": "s", "E": "true"}
    assert server.cwd == str(tmp_path)


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"command": "run", "args": ["${NOT_SET}"]}, "the environment variable NOT_SET, which is not set"),
        ({"command": "run", "env": {"K": "$NOT_SET"}}, "the environment variable NOT_SET, which is not set"),
        ({"url": "https://x.example/${env:NOT_SET}"}, "the environment variable NOT_SET, which is not set"),
        ({"url": "https://x.example", "headers": {"K": "Bearer ${input:key}"}}, r"\$\{input:key\} when it starts"),
        ({"command": "${command:extension.start}"}, "which only its own client can fill in"),
        ({"command": "run", "envFile": "absent.env"}, "the envFile: there is no file"),
        ({"args": ["x.py"]}, "needs a 'command' with a list 'args', or a 'url'"),
        ({"command": "run", "args": "x.py"}, "needs a 'command'"),
        ({"command": " "}, "needs a 'command'"),
        ({"command": 3, "url": 4}, "needs a 'command'"),
        ("run x.py", "is no object"),
        (None, "is no object"),
    ],
)
def test_an_entry_that_cannot_be_used_is_one_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: Any, reason: str
) -> None:
    monkeypatch.delenv("NOT_SET", raising=False)
    (tmp_path / "mcp.json").write_text(json.dumps({"mcpServers": {"a": PLAIN, "bad": entry, "c": PLAIN}}))
    found = servers_at(str(tmp_path / "mcp.json"))
    assert [server.ready.name for server in found.servers] == ["a", "c"]
    (loss,) = found.losses
    assert loss.name == "bad" and "\n" not in loss.reason
    assert re.search(reason, loss.reason)


@pytest.mark.parametrize("switch", [{"disabled": True}, {"enabled": False}])
def test_what_is_switched_off_is_named_and_not_read(tmp_path: Path, switch: dict[str, bool]) -> None:
    off = {"command": "${NOT_SET}", **switch}
    on = {**PLAIN, "enabled": True, "disabled": False, "includeTools": ["x", "y"], "excludeTools": ["y"]}
    (tmp_path / "mcp.json").write_text(json.dumps({"mcpServers": {"a": on, "off": off}}))
    found = servers_at(str(tmp_path / "mcp.json"))
    (server,) = found.servers
    assert found.losses == () and found.notes == ("off: the file has this server disabled; it was not started",)
    assert [name for name in ("x", "y", "z") if server.ready.has(name)] == ["x"]


def test_the_servers_of_claudes_projects_are_read_beside_the_users_own(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    projects = {
        str(tmp_path / "app"): {"mcpServers": {"a": {"command": "other"}, "b": PLAIN}, "history": []},
        str(tmp_path / "gone"): {"mcpServers": {"b": PLAIN, "c": PLAIN}},
        "odd": {"mcpServers": None},
        "odder": 3,
    }
    (tmp_path / "claude.json").write_text(json.dumps({"mcpServers": {"a": PLAIN}, "projects": projects}))
    found = servers_at(str(tmp_path / "claude.json"))
    app, plain = str(tmp_path / "app"), ("run", "--port", "8080")
    assert [server.ready for server in found.servers] == [
        McpServer("a", command=plain),
        McpServer("a#2", command=("other",), cwd=app),
        McpServer("b", command=plain, cwd=app),
        McpServer("c", command=plain),
    ]
    assert found.losses == () and found.notes == ("a#2: the file has several servers of the name 'a'",)
