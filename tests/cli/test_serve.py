"""`toolgen serve`: a process that answers, ends when it is told, and refuses what is not safe."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

pytest.importorskip("fastapi")
Invoke = Callable[..., Result]


@contextmanager
def server(*arguments: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "toolgen", "serve", *map(str, arguments), "--port", str(port)]
    with subprocess.Popen(command, text=True, stderr=subprocess.PIPE) as process:
        address = f"http://127.0.0.1:{port}"
        try:
            until = time.monotonic() + 60
            while not _answers(f"{address}/health"):
                assert process.poll() is None and time.monotonic() < until, process.stderr and process.stderr.read()
                time.sleep(0.1)
            yield process, address
        finally:
            process.kill()


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
