"""`toolgen serve`: a process that answers, ends when it is told, and refuses what is not safe."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from toolgen.catalog import Catalog, Tool
from toolgen.catalog.naming import wire_name
from toolgen.cli.served import SearchOptions
from toolgen.datasets import load_dataset, save_dataset
from toolgen.errors import UsageError
from toolgen.testing import tiny_checkpoint, tiny_dataset

pytest.importorskip("fastapi")
Invoke = Callable[..., Result]


@contextmanager
def server(*arguments: object, log: Path | None = None) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A server that answers, and its address; `log` is what it writes on stderr."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "toolgen", "serve", *map(str, arguments), "--port", str(port)]
    with open(log or os.devnull, "wb") as stream:
        process = subprocess.Popen(command, stderr=stream)
    address = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + 180  # importing torch, perhaps on a busy machine
        while not _answers(f"{address}/health"):
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.1)
        yield process, address
    finally:
        process.kill()
        process.wait(20)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as got:
            return bool(got.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def refused(url: str, body: Any) -> int:
    """The status of a request that is not answered."""
    with pytest.raises(urllib.error.HTTPError) as caught:
        post(url, body)
    with caught.value as error:
        return error.code


def post(url: str, body: Any, **headers: str) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json", **headers})
    with urllib.request.urlopen(request, timeout=30) as got:
        return json.loads(got.read())


def test_a_dataset_is_searched_and_the_server_ends_when_it_is_told(dataset_folder: Path) -> None:
    with server(dataset_folder) as (process, address):
        found = post(f"{address}/v1/tools/search", {"query": "weather forecast for a city", "limit": 1})
        assert found["data"][0]["id"] == "weather&&get_forecast"
        assert _answers(f"{address}/")
        assert refused(f"{address}/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]}) == 501
        process.send_signal(signal.SIGTERM)
        process.wait(20)
        assert not _answers(f"{address}/health")


def test_each_request_is_a_line_of_json_without_its_words(dataset_folder: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with server(dataset_folder, log=log) as (process, address):
        post(f"{address}/v1/tools/search", {"query": "my password is swordfish"})
        assert refused(f"{address}/swordfish", {}) == 404
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    text = log.read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    found = [(one["method"], one["path"], one["status"]) for one in lines if one["path"] != "/health"]
    assert found == [("POST", "/v1/tools/search", 200), ("POST", "other", 404)]
    assert len({one["id"] for one in lines}) == len(lines) and all(one["at"] and one["seconds"] >= 0 for one in lines)
    assert "swordfish" not in text


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_server_that_is_told_to_end_answers_what_it_has_accepted(tmp_path: Path, stream: bool) -> None:
    folder = tmp_path / "ckpt"
    checkpoint = tiny_checkpoint(max_position_embeddings=2048)
    checkpoint.save(folder)
    forced = {"type": "function", "function": {"name": wire_name(checkpoint.catalog.get("weather&&get_alerts"))}}
    body = {"messages": [{"role": "user", "content": "storms?"}], "tool_choice": forced, "max_tokens": 300}

    def ask(address: str) -> str:
        request = urllib.request.Request(
            f"{address}/v1/chat/completions",
            json.dumps({**body, "stream": stream}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=120) as got:
            return str(got.read().decode())

    with server(folder, "--running", 1) as (process, address), ThreadPoolExecutor(5) as clients:
        answers = [clients.submit(ask, address) for _ in range(5)]
        while _load(address) < 4:
            assert not all(answer.done() for answer in answers)
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        until = time.monotonic() + 60
        while _answers(f"{address}/health") and time.monotonic() < until:
            time.sleep(0.01)
        assert not all(answer.done() for answer in answers)  # it is shut, and still at work
        for answer in answers:
            text = answer.result(120)
            assert text.endswith("data: [DONE]\n\n") if stream else json.loads(text)["usage"]["completion_tokens"]
        assert process.wait(20) == 0


def _load(address: str) -> int:
    with urllib.request.urlopen(f"{address}/ready", timeout=30) as got:
        return int(json.loads(got.read())["load"])


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no SIGHUP here")
def test_a_changed_catalog_is_taken_without_a_pause(tmp_path: Path) -> None:
    folder = tmp_path / "tools"
    dataset = tiny_dataset()
    save_dataset(dataset, folder)
    with server(folder) as (process, address):
        new = Tool(id="kettle&&boil", provider="kettle", name="boil", description="Boil water for tea")
        save_dataset(replace(dataset, catalog=Catalog([*dataset.catalog, new])), folder)
        process.send_signal(signal.SIGHUP)
        until, found = time.monotonic() + 60, first_of(address)
        while found != new.id and time.monotonic() < until:  # every request is answered
            found = first_of(address)
        assert found == new.id
        (folder / "catalog.jsonl").write_text("nonsense", encoding="utf-8")
        process.send_signal(signal.SIGHUP)
        time.sleep(1)
        assert first_of(address) == new.id


def first_of(address: str) -> str | None:
    """The first tool for tea; None if there is none."""
    found = post(f"{address}/v1/tools/search", {"query": "boil water for tea", "limit": 1})["data"]
    return str(found[0]["id"]) if found else None


def test_a_key_that_was_made_is_let_in(dataset_folder: Path, toolgen: Invoke, tmp_path: Path) -> None:
    made = toolgen("serve", dataset_folder, "--new-key", "somebody").stdout.splitlines()
    key, line = (one.partition(": ")[2] for one in made)
    assert key not in line
    keys = tmp_path / "keys"
    keys.write_text(f"# who may ask\n{line}\n", encoding="utf-8")
    with server(dataset_folder, "--keys", keys) as (_, address):
        body = {"query": "weather"}
        assert post(f"{address}/v1/tools/search", body, Authorization=f"Bearer {key}")["data"]
        assert refused(f"{address}/v1/tools/search", body) == 401


def test_other_machines_are_served_with_keys_alone(dataset_folder: Path, toolgen: Invoke) -> None:
    done = toolgen("serve", dataset_folder, "--host", "0.0.0.0")
    assert done.exit_code == 2
    assert "needs --keys" in done.stderr


@pytest.mark.parametrize("text", ["", "somebody", "somebody 123", "a b c"])
def test_a_file_of_keys_that_holds_none_is_said(
    dataset_folder: Path, toolgen: Invoke, tmp_path: Path, text: str
) -> None:
    keys = tmp_path / "keys"
    keys.write_text(text, encoding="utf-8")
    done = toolgen("serve", dataset_folder, "--keys", keys)
    assert done.exit_code == 1
    assert "--new-key" in done.stderr


def test_an_owner_has_one_key(dataset_folder: Path, toolgen: Invoke, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"ada {'0' * 64}\nbob {'1' * 64}\nada {'2' * 64}\n", encoding="utf-8")
    done = toolgen("serve", dataset_folder, "--keys", keys)
    assert done.exit_code == 1
    assert "line 3: ada has a key above" in done.stderr


@pytest.fixture
def calibrated(toolgen: Invoke, dataset_folder: Path, tmp_path: Path) -> Path:
    data, folder = load_dataset(dataset_folder), tmp_path / "calibrated"
    save_dataset(replace(data, queries={**data.queries, "dev": tuple(data.searches("train"))}), tmp_path / "data")
    tiny_checkpoint(max_position_embeddings=1024).save(folder)
    assert toolgen("calibrate", folder, tmp_path / "data").exit_code == 0
    return folder


def test_a_calibrated_server_says_how_sure_it_is_and_declines_as_often_as_it_was_told(
    toolgen: Invoke, calibrated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fastapi.testclient import TestClient

    found: list[dict[str, Any]] = []

    def use(app: Any, **_how: Any) -> None:
        with TestClient(app, base_url="http://127.0.0.1") as client:
            found.append(client.post("/v1/tools/search", json={"query": "weather in Oslo"}).json())
            part = {"query": "weather in Oslo", "include": ["provider:weather"]}
            assert client.post("/v1/tools/search", json=part).json()["confidence"] is not None

    monkeypatch.setattr("uvicorn.run", use)
    for rate in ([], ["--decline-rate", "1"], ["--decline-rate", "0"]):
        done = toolgen("serve", calibrated, *rate)
        assert done.exit_code == 0, done.stderr
    plain, every, never = found
    assert 0 < plain["confidence"] < 1 and plain["confidence"] == every["confidence"] == never["confidence"]
    assert plain["declined"] is (plain["no_tool"] > plain["data"][0]["score"])
    assert every["declined"] is True and never["declined"] is False


def test_a_server_that_cannot_be_made_keeps_no_thread_of_the_model(
    toolgen: Invoke, calibrated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_given: Any) -> None:
        raise UsageError("nothing can be searched")

    monkeypatch.setattr(SearchOptions, "open", fails)
    before = set(threading.enumerate())
    done = toolgen("serve", calibrated)
    assert done.exit_code == 2 and "nothing can be searched" in done.stderr
    assert set(threading.enumerate()) == before


def test_a_calibrated_gateway_says_that_no_tool_fits(
    toolgen: Invoke, calibrated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mcp")
    gateways: list[Any] = []
    monkeypatch.setattr(
        "toolgen.cli.mcp._serve", lambda gateway, *_: gateways.append(gateway.search("weather in Oslo"))
    )
    for rate in ("1", "0"):
        assert toolgen("mcp", calibrated, "--decline-rate", rate).exit_code == 0
    assert [found.is_declined for found in gateways] == [True, False]
    assert 0 < gateways[0].confidence == gateways[1].confidence < 1


@pytest.mark.parametrize("command", ["serve", "mcp"])
def test_a_rate_of_declining_needs_a_calibration(toolgen: Invoke, dataset_folder: Path, command: str) -> None:
    done = toolgen(command, dataset_folder, "--decline-rate", "0.1")
    assert done.exit_code == 2
    assert "is not calibrated for bm25" in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("retriever", "add", "expected"),
    [
        (None, None, "bm25"),
        ("generative", None, None),
        ("generative", ["tfidf", "bm25"], "bm25"),
        ("bm25", ["generative"], "bm25"),
    ],
    ids=str,
)
def test_the_agent_behind_a_server_is_helped_by_what_helps_its_searches(
    retriever: str | None, add: list[str] | None, expected: str | None
) -> None:
    searching = SearchOptions(retriever=retriever, add=add)
    policy = searching.policy(tiny_checkpoint())
    assert (policy.added.name if policy.added else None) == expected
    assert searching.policy(tiny_checkpoint(indexing="numeric")).added is None
