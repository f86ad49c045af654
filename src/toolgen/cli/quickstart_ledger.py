"""What a quickstart's folder remembers: which tasks are done, how long they took, and who is at work in it.

    steps.json      one record a task, written anew after each
    .lock           held while a quickstart works in the folder; .holder.json says who holds it

Knows no command.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from toolgen.cli.console import message
from toolgen.cli.quickstart_plan import STAGES, Task
from toolgen.errors import ToolgenError, UsageError
from toolgen.fetching import cache_folder
from toolgen.files import write_json

LEDGER, LOCK, HOLDER = "steps.json", ".lock", ".holder.json"
FORMAT = 1

# Two checkpoints of 0.55 GB, and the state of a training run, which is written beside the one before it; in the cache
# the wheels, the two models and what they are made from.
TRAINING_BYTES, CACHE_BYTES, RESULT_BYTES = 4_000_000_000, 1_000_000_000, 100_000_000


@dataclass(frozen=True, kw_only=True)
class Record:
    """`seconds` is wall time, that of interrupted attempts included; `finished` a local time, empty if unfinished."""

    key: str
    seconds: float
    finished: str = ""


class Ledger:
    """The records of one folder."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / LEDGER
        self._records = self._read()

    def is_recorded(self, task: Task) -> bool:
        """Whether this very task was finished here."""
        record = self._records.get(task.name)
        return record is not None and record.key == task.key and bool(record.finished)

    def is_unfinished_other(self, task: Task) -> bool:
        """Whether an attempt under this name, with other settings or input, was begun here and never finished."""
        record = self._records.get(task.name)
        return record is not None and record.key != task.key and not record.finished

    def seconds(self, *tasks: Task) -> float:
        """Wall time of tasks, as far as they are recorded."""
        return sum(self._records[task.name].seconds for task in tasks if task.name in self._records)

    def write(self, task: Task, seconds: float, *, finished: bool) -> None:
        """Adds the time of an attempt, and whether it ended well."""
        before = self._records.get(task.name)
        if before is not None and before.key == task.key and not before.finished:
            seconds += before.seconds
        now = datetime.now().isoformat(timespec="seconds") if finished else ""
        self._records[task.name] = Record(key=task.key, seconds=round(seconds, 2), finished=now)
        write_json(
            self._path,
            {"format": FORMAT, "tasks": {name: asdict(record) for name, record in self._records.items()}},
        )

    def _read(self) -> dict[str, Record]:
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
            return {name: Record(**record) for name, record in content["tasks"].items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            message(f"{self._path} cannot be read ({error}); every step counts as not done")
            return {}


@contextmanager
def sole_quickstart(folder: Path) -> Iterator[None]:
    """Holds the folder; ToolgenError says who else does. UsageError if the folder is something else."""
    if folder.exists() and (not folder.is_dir() or _is_foreign(folder)):
        raise UsageError(f"{folder} exists and is no quickstart folder; choose another with --output")
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ToolgenError(
            f"another quickstart is at work in {folder} ({_holder(folder)}); wait for it, or choose another folder with -o"
        ) from None
    try:
        since = datetime.now().isoformat(sep=" ", timespec="seconds")
        write_json(folder / HOLDER, {"process": os.getpid(), "host": platform.node(), "since": since})
        yield
    finally:
        with suppress(OSError):
            (folder / HOLDER).unlink()
        lock.release()


def check_space(folder: Path, tasks: list[Task]) -> None:
    """ToolgenError, in one line, if the disks will not hold what the tasks write."""
    steps = {task.step for task in tasks}
    needs: dict[int, tuple[Path, int]] = {}
    wanted = [(folder, TRAINING_BYTES if steps & {"virtualize", *STAGES} else RESULT_BYTES if steps else 0)]
    wanted += [(cache_folder(), CACHE_BYTES)] if "fetch" in steps else []
    for place, size in wanted:
        existing = next(parent for parent in (place.absolute(), *place.absolute().parents) if parent.exists())
        device = existing.stat().st_dev
        needs[device] = (existing, needs.get(device, (existing, 0))[1] + size)
    for existing, size in needs.values():
        free = shutil.disk_usage(existing).free
        if free < size:
            raise ToolgenError(
                f"the disk of {existing} has {free / 1e9:.1f} GB left and the quickstart needs about {size / 1e9:.1f} GB; "
                "free some, or choose another folder with -o (and TOOLGEN_CACHE for the cache)"
            )


def _is_foreign(folder: Path) -> bool:
    return any(folder.iterdir()) and not any((folder / name).exists() for name in (LEDGER, LOCK))


def _holder(folder: Path) -> str:
    try:
        holder = json.loads((folder / HOLDER).read_text(encoding="utf-8"))
        return f"process {holder['process']} on {holder['host']}, since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "which has only just begun or ended"
