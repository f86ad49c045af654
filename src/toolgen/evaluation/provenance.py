"""Where a number comes from: code, data, settings, machine, time. Every result carries one.

Knows the running process and a dataset; no metric and no model.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from toolgen import __version__
from toolgen.catalog.tool import canonical_json
from toolgen.datasets.folder import Dataset

LIBRARIES = ("torch", "transformers", "tokenizers", "numpy", "bm25s", "sentence-transformers", "llguidance")


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """The origin of one result. `commit` is None outside a git checkout and ends in `+changes` if files differ.

    `seconds` is wall time, `date` is UTC in ISO 8601, memory in GiB.
    """

    toolgen: str
    commit: str | None
    date: str
    seconds: float
    dataset: Mapping[str, Any]
    catalog: Mapping[str, Any]
    config: Mapping[str, Any]
    hardware: Mapping[str, Any]
    versions: Mapping[str, str]

    def __post_init__(self) -> None:
        for key in ("name", "version", "hash"):
            if not isinstance(self.dataset.get(key), str):
                raise ValueError(f"the {key} of the dataset should be a text; it is {self.dataset.get(key)!r:.60}")
        if not isinstance(self.catalog.get("tools"), int):
            raise ValueError(f"the number of tools is {self.catalog.get('tools')!r:.60}")
        if not isinstance(self.hardware.get("memory_gib"), int | float | None):
            raise ValueError(f"the memory is {self.hardware['memory_gib']!r:.60}; expected GiB")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def collect_provenance(dataset: Dataset, *, config: Mapping[str, Any], seconds: float) -> Provenance:
    """The provenance of a result that was just measured on `dataset` under the resolved `config`."""
    return Provenance(
        toolgen=__version__,
        commit=_commit(),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(seconds, 3),
        dataset={"name": dataset.name, "version": dataset.version, "hash": dataset_hash(dataset)},
        catalog={"tools": len(dataset.catalog), "hash": dataset.catalog.content_hash},
        config=config,
        hardware=hardware(),
        versions=_versions(),
    )


def dataset_hash(dataset: Dataset) -> str:
    """Identity of a dataset by what an evaluation reads: the catalog, queries and tasks of every split. 16 hex digits."""
    digest = hashlib.sha256(dataset.catalog.content_hash.encode())
    for split in sorted(dataset.queries):
        for request in dataset.requests_and_tasks(split):
            digest.update(f"{split}\n{canonical_json(request.to_dict())}\n".encode())
    return digest.hexdigest()[:16]


def hardware() -> dict[str, Any]:
    """The machine: processor, cores this process may use, memory in GiB, accelerator if torch sees one."""
    machine: dict[str, Any] = {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": _memory_gib(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }
    accelerator = _accelerator()
    return machine | ({"accelerator": accelerator} if accelerator else {})


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, OSError, ValueError):
        return None


def _accelerator() -> str | None:
    # A result that needed no torch must not load it to say so.
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    return str(torch.cuda.get_device_name())


def _versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _commit() -> str | None:
    """The commit of the checkout that this code runs from, None for an installed package."""
    root = Path(__file__).resolve().parents[3]
    if not (root / ".git").exists():
        return None
    try:
        commit = _git(root, "rev-parse", "HEAD")
        return commit + ("+changes" if _git(root, "status", "--porcelain", "--", "src") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(root: Path, *arguments: str) -> str:
    # Optional locks off: asking for the status must not write to somebody's checkout.
    command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
