"""Runs one `toolgen` command in a process of its own, as if it had been typed.

A process a step bounds the memory (training keeps what it once took) and makes each step what its stand-alone command
is. Knows no step.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from toolgen.cli.outputs import NO_HINTS

STDERR = 2
TOOLGEN = (sys.executable, "-P", "-m", "toolgen.cli")


def run_command(arguments: Sequence[str], *, debug: bool = False) -> int:
    """Runs `toolgen ARGUMENTS` and returns its exit code; below zero if a signal ended it.

    Both of its streams go to stderr: stdout is for our own answer. A signal that asks us to stop is passed on, and we
    wait for the command to save its state.
    """
    with _deferred_signals() as signals:
        process = subprocess.Popen(
            [*TOOLGEN, *(["--debug"] if debug else []), *arguments],
            stdout=STDERR,
            env={**os.environ, NO_HINTS: "1"},
            # In a group of its own, so that one Ctrl-C arrives once: a second one makes a training stop without saving.
            start_new_session=True,
        )
        signals.pass_to(process)
        return process.wait()


def shown_command(arguments: Sequence[str]) -> str:
    """The same command as a person would type it here."""
    return shlex.join([*program(), *arguments])


def program() -> list[str]:
    """How `toolgen` is called: by its name if that finds this installation, else by its path from here."""
    script = Path(sys.executable).with_name("toolgen")
    found = shutil.which("toolgen")
    if found and Path(found).parent == script.parent:
        return ["toolgen"]
    if script.is_file():
        return [os.path.relpath(script) if script.is_relative_to(Path.cwd()) else str(script)]
    return [Path(sys.executable).name, "-m", "toolgen.cli"]


class _Signals:
    """Requests to stop, for the process that runs; one that came before it was there is passed on as soon as it is."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._early: list[int] = []

    def receive(self, number: int, _frame: FrameType | None) -> None:
        """A terminal that is closed (SIGHUP) asks like SIGTERM does: save, then end."""
        number = number if number == signal.SIGINT else signal.SIGTERM
        if self._process is None:
            self._early.append(number)
        else:
            self._process.send_signal(number)

    def pass_to(self, process: subprocess.Popen[bytes]) -> None:
        """From now on signals go to this process."""
        self._process = process
        for number in self._early:
            process.send_signal(number)


@contextmanager
def _deferred_signals() -> Iterator[_Signals]:
    signals = _Signals()
    previous: dict[int, Any] = {}
    try:
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            if number := getattr(signal, name, None):
                previous[number] = signal.signal(number, signals.receive)
    except ValueError:  # not the main thread: signals are somebody else's
        pass
    try:
        yield signals
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
