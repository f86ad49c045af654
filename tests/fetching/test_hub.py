"""The Hub route against servers on this machine: a quick and honest probe; the files arrive or one line says why."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants
from tests.loopback import QuietHandler, serving

from toolgen.errors import FetchError
from toolgen.fetching.artifacts import HubSource
from toolgen.fetching.hub import PROBE_SECONDS, download_snapshot, is_reachable

SOURCE = HubSource(
    repo_id="someone/tiny", revision="a" * 40, weights_sha256="", files=("config.json", "model.safetensors")
)


FILES = {"config.json": b"{}", "model.safetensors": b"weights" * 1000, "other.bin": b"not wanted"}
TREE = [{"type": "file", "path": name, "size": len(data), "oid": "0" * 40} for name, data in FILES.items()]


class Repository(QuietHandler):
    """Serves the files of one repository at one commit as the Hub does."""

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def answer(self, with_body: bool) -> None:
        data = self.find(self.path.partition("?")[0])
        self.send_response(404 if data is None else 200)
        self.send_header("Content-Length", str(len(data or b"")))
        self.send_header("X-Repo-Commit", "a" * 40)
        self.send_header("ETag", f'"{len(data or b"")}"')
        self.end_headers()
        if with_body:
            self.wfile.write(data or b"")

    def find(self, path: str) -> bytes | None:
        if path == f"/api/models/someone/tiny/tree/{'a' * 40}":
            return json.dumps(TREE).encode()
        return FILES.get(path.removeprefix(f"/someone/tiny/resolve/{'a' * 40}/"))


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with serving(Repository) as address:
        point_to(monkeypatch, address)
        yield


def point_to(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    template = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.mark.usefixtures("mirror")
def test_a_server_with_the_pinned_commit_is_reachable() -> None:
    assert is_reachable(SOURCE)


@pytest.mark.usefixtures("mirror")
def test_a_server_without_the_pinned_commit_is_not() -> None:
    other = HubSource(repo_id="someone/other", revision="a" * 40, weights_sha256="", files=())
    assert not is_reachable(other)


@pytest.mark.usefixtures("mirror")
def test_the_wanted_files_arrive_and_nothing_else(tmp_path: Path) -> None:
    download_snapshot(SOURCE, tmp_path / "made")
    found = {path.name: path.read_bytes() for path in (tmp_path / "made").rglob("*") if path.is_file()}
    assert found == {name: FILES[name] for name in SOURCE.files}


@pytest.mark.usefixtures("mirror")
def test_a_repository_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    other = HubSource(repo_id="someone/other", revision="a" * 40, weights_sha256="", files=("config.json",))
    with pytest.raises(FetchError, match="could not download someone/other from the Hub") as caught:
        download_snapshot(other, tmp_path / "made")
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("mirror")
def test_the_offline_setting_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert not is_reachable(SOURCE)


def test_a_server_that_does_not_answer_costs_at_most_a_few_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        point_to(monkeypatch, f"http://127.0.0.1:{silent.getsockname()[1]}")
        start = time.monotonic()
        assert not is_reachable(SOURCE)
        assert time.monotonic() - start < PROBE_SECONDS + 2
