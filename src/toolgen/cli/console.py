"""What all commands say and how: results on stdout; messages, progress and errors on stderr.

Knows no command and no package of toolgen.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

JsonOption = Annotated[bool, typer.Option("--json", help="Print the answer as JSON, for programs.")]

OnProgress = Callable[[int, int], None]
"""Called with (done, total); total 0 means that it is not known."""

IS_FIRST_PROCESS = os.environ.get("RANK", "0") == "0"
"""False in all but one of the processes that `torchrun` or `accelerate launch` starts: these only report errors."""

console = Console(stderr=True, quiet=not IS_FIRST_PROCESS)

SECONDS_BETWEEN_LINES = 5.0
# A table that is piped into a file must not be cut at the 80 columns that rich assumes there.
WIDTH_WHEN_PIPED = 160


def message(text: str) -> None:
    """One line of information on stderr; the text is not markup."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def fail(text: str) -> None:
    """One line `error: ...` on stderr. Line breaks inside the text are folded so that it stays one line."""
    Console(stderr=True).print(f"[bold red]error:[/] {escape(' '.join(text.split()))}", highlight=False, soft_wrap=True)


def show(result: RenderableType) -> None:
    """A result on stdout: text as it is, anything else as rich draws it."""
    if not IS_FIRST_PROCESS:
        return
    if isinstance(result, str):
        typer.echo(result)
        return
    stdout = Console()
    if not stdout.is_terminal:
        stdout = Console(width=WIDTH_WHEN_PIPED)
    stdout.print(result)


def emit(data: Any, as_json: bool, render: Callable[[], RenderableType]) -> None:
    """The answer of a command: `data` as one JSON document with `--json`, else what `render` returns."""
    if as_json:
        show(json.dumps(data, ensure_ascii=False, indent=2))
    else:
        show(render())


@contextmanager
def progress(description: str) -> Iterator[OnProgress]:
    """Shows the progress of one piece of long work through the callback it gives.

    with progress("encoding tools") as on_progress:
        retriever.index(catalog, on_progress=on_progress)

    On a terminal a bar; otherwise a plain line at most every five seconds, and one at the end.
    """
    if console.is_terminal:
        with _bar(description) as on_progress:
            yield on_progress
    else:
        lines = _ProgressLines(description)
        yield lines
        lines.finish()


@contextmanager
def _bar(description: str) -> Iterator[OnProgress]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(escape(description), total=None)

        def on_progress(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total or None)

        yield on_progress


class _ProgressLines:
    """Progress where no bar can be drawn: `description: 120/1400 (8%, 12 s)`."""

    def __init__(self, description: str) -> None:
        self._description = description
        self._start = self._last_line = time.monotonic()
        self._state = (0, 0)
        self._printed: tuple[int, int] | None = None

    def __call__(self, done: int, total: int) -> None:
        self._state = (done, total)
        if time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._print()

    def finish(self) -> None:
        """The last line, unless it has been printed or nothing was ever reported."""
        if self._state not in ((0, 0), self._printed):
            self._print()

    def _print(self) -> None:
        self._last_line = time.monotonic()
        self._printed = self._state
        done, total = self._state
        seconds = f"{self._last_line - self._start:.0f} s"
        if total:
            message(f"{self._description}: {done}/{total} ({100 * done // total}%, {seconds})")
        else:
            message(f"{self._description}: {done} ({seconds})")
