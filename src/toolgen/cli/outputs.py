"""What the commands that write a model folder share: which folder they may write, and that only one process writes it.

Knows no model.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from toolgen.checkpoint.layout import MARKERS, Kind, is_kind
from toolgen.cli.console import IS_FIRST_PROCESS, message
from toolgen.errors import CheckpointError, UsageError
from toolgen.files import check_apart, check_file, check_replaceable, locked

NO_HINTS = "TOOLGEN_NO_HINTS"
"""Environment variable: a command that another one runs does not say what could be done next."""


@contextmanager
def checkpoint_output(
    path: Path, *inputs: Path | str | None, overwrite: bool, kind: Kind = "checkpoint"
) -> Iterator[None]:
    """Holds the right to write a checkpoint to `path`, made from `inputs`; UsageError, before any work, if it must not be
    written.

    A folder of the same kind is replaced only with `overwrite`, anything else that is there never. CheckpointError if another
    process is writing it.
    """
    # With --overwrite a checkpoint may take its own place: it has been read by then.
    check_apart(path, *(one for one in inputs if not (overwrite and one and Path(one).resolve() == path.resolve())))
    if not IS_FIRST_PROCESS:
        yield  # the first of the processes that train together writes, and holds the right
        return
    _check_free(path, overwrite, kind)

    def refuse() -> None:
        raise CheckpointError(f"another process is writing {path}; wait for it, or give another output folder")

    with locked(path, refuse):
        _check_free(path, overwrite, kind)  # the process that held the lock may have just finished it
        yield


def file_output(path: Path | None, *inputs: Path | str | None) -> None:
    """UsageError, before any work, if this file must not be written: something else is there, or it is an input."""
    if path is not None:
        check_file(path)
        check_apart(path, *inputs)


def dataset_output(path: Path, *inputs: Path | str | None) -> None:
    """UsageError, before any work, if no dataset may be written to `path`."""
    check_replaceable(path, MARKERS["dataset"], "dataset")
    check_apart(path, *inputs)


def _check_free(path: Path, overwrite: bool, kind: Kind) -> None:
    check_replaceable(path, MARKERS[kind], kind)
    if not overwrite and is_kind(path, kind):
        raise UsageError(
            f"{path} is already a folder of this kind ({kind}); give another output folder, or --overwrite to replace it"
        )


def folder_size(path: Path) -> int:
    """Bytes of all files under a folder."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def shown_size(size: int) -> str:
    """Bytes for people: `547 MB`."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"


def hint(command: str, **paths: Path) -> None:
    """The next command with these paths, for a person who typed this one."""
    if not os.environ.get(NO_HINTS):
        quoted = {name: shlex.quote(str(path)) for name, path in paths.items()}
        message(f"next: {command.format(**quoted)}")
