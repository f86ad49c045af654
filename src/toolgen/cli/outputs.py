"""What the commands that write a model folder share: which folder they may write, and that only one process writes it.

Knows no model.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from toolgen.cli.console import IS_FIRST_PROCESS, message
from toolgen.cli.searching import CHECKPOINT_FILE
from toolgen.errors import CheckpointError, UsageError

NO_HINTS = "TOOLGEN_NO_HINTS"
"""Environment variable: a command that another one runs does not say what could be done next."""


@contextmanager
def checkpoint_output(
    path: Path, *, overwrite: bool, kind: str = "checkpoint", marker: str = CHECKPOINT_FILE
) -> Iterator[None]:
    """Holds the right to write a checkpoint to `path`; UsageError, before any work, if it must not be written.

    Another `kind` of folder is known by its file `marker`. An existing one is replaced only with `overwrite`, and anything
    else that is there never. The lock is a file
    beside the folder; the system releases that of a process that dies. CheckpointError if another process holds it.
    """
    if not IS_FIRST_PROCESS:
        yield  # the first of the processes that train together writes, and holds the right
        return
    _check_free(path, overwrite, kind, marker)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock_file = path.with_name(f".{path.name}.lock")
    lock = FileLock(lock_file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise CheckpointError(
            f"another process is writing {path}; wait for it, or give another output folder"
        ) from None
    try:
        _check_free(path, overwrite, kind, marker)  # the process that held the lock may have just finished it
        yield
    finally:
        with suppress(OSError):
            lock_file.unlink()
        lock.release()


def _check_free(path: Path, overwrite: bool, kind: str, marker: str) -> None:
    if path.is_file():
        raise UsageError(f"{path} is a file; give a folder for the {kind}")
    if (path / marker).is_file():
        if not overwrite:
            raise UsageError(
                f"{path} is already a folder of this kind ({kind}); give another output folder, or --overwrite to replace it"
            )
    elif path.is_dir() and any(path.iterdir()):
        raise UsageError(f"{path} exists and is no {kind}; give another output folder")


def folder_size(path: Path) -> int:
    """Bytes of all files under a folder."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def shown_size(size: int) -> str:
    """Bytes for people: `547 MB`."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"


def hint(command: str) -> None:
    """The next command, for a person who typed this one."""
    if not os.environ.get(NO_HINTS):
        message(f"next: {command}")
