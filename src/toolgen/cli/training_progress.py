"""How a running training shows itself: a bar on a terminal, plain lines elsewhere.

Knows the records of `metrics.jsonl` and nothing else of training.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from toolgen.cli import console as shared
from toolgen.cli.console import console, message

OnStep = Callable[[Mapping[str, Any]], None]


@contextmanager
def training_progress(stage: str, steps: int) -> Iterator[OnStep]:
    """Shows loss or reward, tokens a second and the time that is left, through the callback it gives (one record a step)."""
    if not console.is_terminal:
        yield _Lines(stage, steps)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[aim]}"),
        TextColumn("{task.fields[speed]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, speed_estimate_period=120) as bar:
        task = bar.add_task(stage, total=steps, aim="", speed="")
        speed = Speed()

        def on_step(record: Mapping[str, Any]) -> None:
            speed.add(record)
            shown = f"{speed.tokens_per_second:,.0f} tokens/s" if speed.tokens_per_second else ""
            bar.update(task, completed=record["step"], aim=shown_aim(record), speed=shown)

        yield on_step


class Speed:
    """Tokens and steps a second since the first record that was seen: a resumed run does not count what came before."""

    def __init__(self) -> None:
        self._first: Mapping[str, Any] | None = None
        self._last: Mapping[str, Any] = {}

    def add(self, record: Mapping[str, Any]) -> None:
        """One more step."""
        self._first = self._first or record
        self._last = record

    @property
    def tokens_per_second(self) -> float:
        """0 until two steps are known."""
        return self._rate("tokens")

    def seconds_left(self, steps: int) -> float | None:
        """Until that many steps are done; None until two steps are known."""
        rate = self._rate("step")
        return (steps - self._last["step"]) / rate if rate else None

    def _rate(self, key: str) -> float:
        if self._first is None or self._last["seconds"] <= self._first["seconds"]:
            return 0.0
        return float((self._last[key] - self._first[key]) / (self._last["seconds"] - self._first["seconds"]))


class _Lines:
    """`retrieval: step 20/100, loss 1.234, 560 tokens/s, 3 min left`, now and then and at the end."""

    def __init__(self, stage: str, steps: int) -> None:
        self._stage, self._steps = stage, steps
        self._speed = Speed()
        self._last_line = 0.0

    def __call__(self, record: Mapping[str, Any]) -> None:
        self._speed.add(record)
        finished = record["step"] >= self._steps
        if not finished and time.monotonic() - self._last_line < shared.SECONDS_BETWEEN_LINES:
            return
        self._last_line = time.monotonic()
        parts = [f"{self._stage}: step {record['step']}/{self._steps}", shown_aim(record)]
        if rate := self._speed.tokens_per_second:
            parts.append(f"{rate:,.0f} tokens/s")
        left = self._speed.seconds_left(self._steps)
        if left and not finished:
            parts.append(f"{duration(left)} left")
        message(", ".join(parts))


def shown_aim(record: Mapping[str, Any]) -> str:
    """What a step is after: a small loss, or, where there is one, a large reward."""
    name = "reward" if "reward" in record else "loss"
    return f"{name} {record[name]:.3f}"


def duration(seconds: float) -> str:
    """`12 s`, `3 min 20 s`, `1 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
