"""What all commands say and how: results on stdout; messages, progress and errors on stderr.

All output goes through here, and no text that is shown is more than text: it is no markup, holds no character that a terminal
obeys, and does not begin a line of its own. Knows no command.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.segment import Segment
from rich.text import Text

from toolgen.foreign.shown import one_line

JsonOption = Annotated[bool, typer.Option("--json", help="Print the answer as JSON, for programs.")]

MAX_SEED = 2**63 - 1
"""The largest seed that every generator of numbers takes."""

OnProgress = Callable[[int, int], None]
"""Called with (done, total); total 0 means that it is not known."""

IS_FIRST_PROCESS = os.environ.get("RANK", "0") == "0"
"""False in all but one of the processes that `torchrun` or `accelerate launch` starts: these only report errors."""

SECONDS_BETWEEN_LINES = 5.0
# A table that is piped into a file must not be cut at the 80 columns that rich assumes there.
WIDTH_WHEN_PIPED = 160

_NOT_PLAIN_JSON = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

Answer = RenderableType | Sequence[str]
"""A line, several, or what rich draws."""


def write_in_any_locale() -> None:
    """From now on letters that the terminal's encoding lacks are written as escapes, instead of ending the command."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


class _Console(Console):
    """Draws every text, also inside tables and progress bars, as one line without markup, links or emoji."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **settings)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """See rich; what tables and bars draw comes by here too."""
        if isinstance(renderable, str):
            renderable = one_line(renderable)
        elif isinstance(renderable, Text) and one_line(renderable.plain) != renderable.plain:
            renderable = renderable.copy()
            renderable.plain = one_line(renderable.plain)
        return super().render(renderable, options)


console = _Console(stderr=True, quiet=not IS_FIRST_PROCESS)


def message(text: str, style: str = "") -> None:
    """One line of information on stderr."""
    console.print(Text(one_line(text), style), soft_wrap=True)


def fail(text: str) -> None:
    """One line `error: ...` on stderr, from every process."""
    line = Text.assemble(("error:", "bold red"), " ", one_line(" ".join(text.split())))
    _Console(stderr=True).print(line, soft_wrap=True)


def agrees(question: str) -> bool:
    """Whether the person at the terminal says yes. Ctrl-C there ends the command as it does elsewhere."""
    try:
        return typer.confirm(question, err=True)
    except typer.Abort:
        raise KeyboardInterrupt from None


def show_traceback(text: str) -> None:
    """A traceback on stderr, moved to the right: what it quotes cannot begin a line."""
    for line in text.split("\n"):
        message(f"  {line}")


def show(answer: Answer) -> None:
    """A result on stdout: a line, a list of lines, or a table as rich draws it."""
    if not IS_FIRST_PROCESS:
        return
    if isinstance(answer, str):
        typer.echo(one_line(answer))
    elif isinstance(answer, Sequence):
        for line in answer:
            typer.echo(one_line(line))
    else:
        stdout = _Console()
        if not stdout.is_terminal:
            stdout = _Console(width=WIDTH_WHEN_PIPED)
        stdout.print(answer)


def show_json(data: Any, *, indent: int | None = None) -> None:
    """A JSON document on stdout, whose strings are whole: what may not be shown as it is, is written as an escape."""
    if IS_FIRST_PROCESS:
        ascii_only = "utf" not in (getattr(sys.stdout, "encoding", None) or "utf-8").lower()
        text = json.dumps(data, ensure_ascii=ascii_only, indent=indent)
        typer.echo(_NOT_PLAIN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text))


def emit(data: Any, as_json: bool, render: Callable[[], Answer]) -> None:
    """The answer of a command: `data` as one JSON document with `--json`, else what `render` returns."""
    if as_json:
        show_json(data, indent=2)
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
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(one_line(description), total=None)

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
