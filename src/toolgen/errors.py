"""Every expected failure of toolgen, as one family.

    ToolgenError
    ├── UsageError            the request itself is wrong: unknown option, key, name (exit code 2)
    ├── InputError            a file or record that was given cannot be read as what it should be
    │   ├── CatalogError      a tool or catalog breaks its rules (duplicate id, invalid schema)
    │   └── DatasetError      a dataset folder is incomplete, damaged or of another version
    ├── FetchError            a download failed: no network, wrong checksum, full disk
    ├── CheckpointError       a checkpoint folder is not what its metadata says
    ├── LanguageModelError    a language model that was asked for text cannot be opened or reached
    ├── DeadlineError         a request took longer than it was given
    ├── ProcessesError        one of several processes that train together has ended
    ├── DivergenceError       a training whose loss or weights are no longer numbers
    ├── OutputError           a file or folder cannot be written: full disk, no permission
    ├── MissingExtraError     an optional dependency is not installed
    └── EnvironmentSetupError an environment could not be started (a failing *tool* is a result, not an error)

A message is one line that says what was given, what was expected and what to do. The command line prints it
without a traceback; `--debug` shows the traceback. EXIT_CODES are its answers to whoever called it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path

EXIT_CODES: Mapping[int, str] = {
    0: "done",
    1: "the input cannot be used, or the work failed: a missing or damaged file, a full disk, no network, an invalid dataset",
    2: "wrong usage, nothing was attempted: an unknown option, name or split, an option that would change nothing, a value out "
    "of range, an output that stands for something else",
    130: "interrupted (Ctrl-C)",
    143: "ended (SIGTERM)",
}


class Terminated(KeyboardInterrupt):
    """SIGTERM asks to end, as Ctrl-C does."""


class ToolgenError(Exception):
    """Base of every expected failure. `exit_code` is what the command line returns."""

    exit_code = 1


class UsageError(ToolgenError):
    """The request itself is wrong; nothing was attempted."""

    exit_code = 2


class InputError(ToolgenError):
    """Input that cannot be read as what it should be."""


class CatalogError(InputError):
    """A tool or catalog breaks its rules."""


class DatasetError(InputError):
    """A dataset folder is incomplete, damaged or of another version."""


class FetchError(ToolgenError):
    """A download failed; nothing half-written was left behind."""


class CheckpointError(ToolgenError):
    """A checkpoint folder is not what its metadata says."""


class LanguageModelError(ToolgenError):
    """A language model that was asked for text cannot be opened or reached."""


class DeadlineError(ToolgenError):
    """A request took longer than it was given."""


class ProcessesError(ToolgenError):
    """One of several processes that train together has ended."""


class DivergenceError(ToolgenError):
    """A training whose loss, gradient or weights are no longer numbers; what was saved before is kept."""

    def __init__(self, step: int, reason: str) -> None:
        super().__init__(
            f"training diverged at step {step}: {reason}; lower the learning rates and start over (--restart where a state "
            "was saved); nothing was written since"
        )


class OutputError(ToolgenError):
    """A file or folder cannot be written; what was there before is unchanged."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"cannot write {path}: {reason}; make room there or choose another place")
        self.reason = reason


class MissingExtraError(ToolgenError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"this needs the package '{package}', which is not installed; run: pip install 'toolgen[{extra}]'"
        )


class EnvironmentSetupError(ToolgenError):
    """An environment could not be started."""


def nearest(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """The end of a message about a name that is not known: the known one that it is most like, or `otherwise`."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.4)
    return f"; did you mean {near[0]!r}?" if near else otherwise
