"""A graph of toolgen commands: which of them are done, running the others, and what they took.

`toolgen quickstart` and `toolgen experiment` are such graphs. Stopped at any point, a graph is resumed by running it again.

    steps.json      in the folder of the graph: one record a step, rewritten after each
    .holder.json    who works in the folder, while somebody does

Knows no step; only that commands which write a model replace one with `--overwrite`, and that stages of training resume.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import typer

from toolgen.catalog.tool import canonical_json
from toolgen.cli import signals
from toolgen.cli.app import INTERRUPTED, TERMINATED
from toolgen.cli.console import message
from toolgen.cli.subcommand import shown_command
from toolgen.cli.training_progress import duration
from toolgen.errors import InputError, ToolgenError, UsageError
from toolgen.files import locked, sha256_of, write_json
from toolgen.foreign.data import read_json
from toolgen.foreign.typed import typed
from toolgen.training import STAGES

LEDGER, HOLDER = "steps.json", ".holder.json"

RunCommand = Callable[[Sequence[str]], int]
"""Runs `toolgen ARGUMENTS` and returns its exit code, below zero if a signal ended it."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One command of toolgen. A Path in `command`, and a relative `output`, lie in the graph's folder.

    `group` is the heading under which it is shown. `needs` names the steps whose outputs it reads; the contents of those of
    `inputs` that are files make another result, too. `is_present` says of the output's path whether it is there as a whole.
    An `intermediate` output matters only while another step reads it. `adopts`: an output that is there already, made by
    somebody else, counts as done. `may_fail`: a failure does not stop the others.
    """

    name: str
    group: str
    command: tuple[str | Path, ...]
    output: Path
    needs: tuple[str, ...] = ()
    inputs: tuple[Path, ...] = ()
    is_present: Callable[[Path], bool] = Path.exists
    intermediate: bool = False
    adopts: bool = False
    may_fail: bool = False


@dataclass(frozen=True, kw_only=True)
class Record:
    """What is known of a step: the identity of its result, wall time with that of interrupted attempts, and the local time at
    which it was finished, empty if it was not."""

    key: str
    seconds: float
    finished: str = ""


class Graph:
    """Steps in an order in which they can run, and what the folder remembers of them.

    `title` names the command that runs them; `groups` maps headings to what they are about; `salt` is a part of every
    identity.
    """

    def __init__(
        self, folder: Path, steps: Sequence[Step], groups: Mapping[str, str], *, title: str, salt: str = ""
    ) -> None:
        self.folder, self.steps, self.groups, self.title, self.salt = folder, tuple(steps), groups, title, salt
        self._by_name = {step.name: step for step in steps}
        self._records = self._read()

    # --- what is done ---------------------------------------------------------------------------------------------

    def arguments(self, step: Step) -> list[str]:
        """The arguments of `toolgen`."""
        return [str(self.folder / part) if isinstance(part, Path) else part for part in step.command]

    def key(self, step: Step) -> str:
        """Identity of the result: the command, the identities of what it needs, and the contents of its inputs."""
        needs = [self.key(self._by_name[name]) for name in step.needs]
        contents = [sha256_of(path) for path in step.inputs if path.is_file()]
        identity = canonical_json([self.salt, [str(part) for part in step.command], needs, contents])
        return hashlib.sha256(identity.encode()).hexdigest()[:16]

    def is_recorded(self, step: Step) -> bool:
        """Whether this very step was finished here."""
        record = self._records.get(step.name)
        return record is not None and bool(record.finished) and record.key == self.key(step)

    def is_present(self, step: Step) -> bool:
        """Whether its whole output is there."""
        return step.is_present(self.folder / step.output)

    def is_current(self, step: Step) -> bool:
        """Whether the output is there and is the one that this step would make."""
        known = self.is_recorded(step) or (step.adopts and step.name not in self._records)
        return known and self.is_present(step)

    def seconds(self, *steps: Step) -> float:
        """Wall time of steps, as far as they are recorded."""
        return sum(self._records[step.name].seconds for step in steps if step.name in self._records)

    def choose(self, *, only: str | None = None, start: str | None = None) -> list[Step]:
        """The steps to run, in order: those of the group `only`, or of `start` and all after it, or else whatever is not done
        and what reads it. What one of them reads and is gone or out of date is made again first."""
        order = list(self.groups)
        for group in (only, start):
            if group is not None and group not in order:
                raise UsageError(f"there is no step {group!r}; steps are {', '.join(order)}")
        if only and start:
            raise UsageError("give --only or --from, not both")
        wanted: set[str] = set()
        for step in self.steps:
            if only:
                is_wanted = step.group == only
            elif start:
                is_wanted = order.index(step.group) >= order.index(start)
            else:
                done = self.is_current(step) or (step.intermediate and self.is_recorded(step))
                is_wanted = not done or not wanted.isdisjoint(step.needs)
            if is_wanted:
                wanted.add(step.name)
        for step in reversed(self.steps):
            if step.name in wanted:
                wanted |= {name for name in step.needs if not self.is_current(self._by_name[name])}
        chosen = [step for step in self.steps if step.name in wanted]
        if group := only or start:
            before = [step.name for step in chosen if order.index(step.group) < order.index(group)]
            if before:
                message(f"{group} reads what is gone or out of date in {self.folder}; first again: {', '.join(before)}")
        return chosen

    def rows(self) -> list[dict[str, Any]]:
        """A record a step for `--list`: whether it is done, its seconds and its command."""
        todo = {step.name for step in self.choose()}
        return [
            {
                "step": step.group,
                "name": step.name,
                "done": step.name not in todo,
                "seconds": self.seconds(step),
                "command": shown_command(self.arguments(step)),
            }
            for step in self.steps
        ]

    # --- running --------------------------------------------------------------------------------------------------

    def run(self, chosen: Sequence[Step], run: RunCommand, *, keep: bool = False) -> list[str]:
        """Runs the chosen steps under their headings and returns the names of those that may fail and did.

        Intermediate outputs in the folder go when the last step that reads them is done, unless `keep`. typer.Exit with the
        code of a step that failed or was stopped.
        """
        failed = []
        for number, (group, about) in enumerate(self.groups.items(), start=1):
            steps = [step for step in self.steps if step.group == group]
            todo = [step for step in steps if step in chosen]
            heading = f"[{number}/{len(self.groups)}] {group}: {about}"
            if todo:
                message(heading, "bold")
            elif steps and all(map(self.is_recorded, steps)):
                message(f"{heading} (done before)", "dim")
            for step in steps:
                if step not in todo:
                    self._adopt(step)
                elif not self._run(step, run):
                    failed.append(step.name)
                elif not keep:
                    self._remove_read_by(step)
        return failed

    def _run(self, step: Step, run: RunCommand) -> bool:
        """Whether it ended well; typer.Exit if it did not, and must."""
        arguments = [*self.arguments(step), *self._flags(step)]
        message(f"  $ {shown_command(arguments)}", "cyan")
        started = time.monotonic()
        self.record(step, 0.0, finished=False)  # now, so that even a process that is killed leaves a trace
        code = run(arguments)
        seconds = time.monotonic() - started
        done = code == 0 and self.is_present(step)
        self.record(step, seconds, finished=done)
        if done:
            message(f"  {duration(seconds)}", "dim")
            return True
        if code in (INTERRUPTED, TERMINATED) or -code in signals.NUMBERS:
            message(f"{self.title} stopped at {step.name}; rerun to resume")
            raise typer.Exit(code if code > 0 else INTERRUPTED)
        reason = _reason(code)
        if step.may_fail:
            message(f"{step.name} failed ({reason})")
            return False
        message(f"{self.title} stopped: {step.name} failed ({reason}); fix it and rerun to resume")
        raise typer.Exit(128 - code if code < 0 else code or 1)

    def _flags(self, step: Step) -> list[str]:
        """What a repeated step also needs: permission to replace its output, and to drop an attempt with other settings."""
        command, kind = step.command[0], step.command[1]
        record = self._records.get(step.name)
        flags = []
        if command in ("virtualize", "train") and self.is_present(step):
            flags.append("--overwrite")
        if command == "train" and kind in STAGES and record and not record.finished and record.key != self.key(step):
            flags.append("--restart")
        return flags

    def _adopt(self, step: Step) -> None:
        """Remembers what somebody else has made, so that a change of the command is seen."""
        if step.adopts and step.name not in self._records and self.is_present(step):
            self.record(step, 0.0, finished=True)

    def _remove_read_by(self, step: Step) -> None:
        later = self.steps[self.steps.index(step) + 1 :]
        for one in map(self._by_name.__getitem__, step.needs):
            still_read = any(one.name in other.needs for other in later)
            if one.intermediate and not one.output.is_absolute() and not still_read:
                shutil.rmtree(self.folder / one.output, ignore_errors=True)

    # --- memory ---------------------------------------------------------------------------------------------------

    def record(self, step: Step, seconds: float, *, finished: bool) -> None:
        """Adds the time of an attempt, and whether it ended well."""
        before, key = self._records.get(step.name), self.key(step)
        if before is not None and before.key == key and not before.finished:
            seconds += before.seconds
        now = datetime.now().isoformat(timespec="seconds") if finished else ""
        self._records[step.name] = Record(key=key, seconds=round(seconds, 2), finished=now)
        content = {name: asdict(record) for name, record in self._records.items()}
        write_json(self.folder / LEDGER, {"steps": content})

    def _read(self) -> dict[str, Record]:
        path = self.folder / LEDGER
        try:
            return typed(dict[str, Record], read_json(path)["steps"]) if path.exists() else {}
        except (InputError, ValueError, KeyError, TypeError) as error:
            message(f"{path} cannot be read ({error}); every step counts as not done")
            return {}


def _reason(code: int) -> str:
    """Why a step counts as failed."""
    if code < 0:
        killed = " - out of memory?" if -code == signal.SIGKILL else ""
        named = {one.value: one.name for one in signal.Signals}  # real-time signals have no name
        return f"ended by {named.get(-code, f'signal {-code}')}{killed}"
    return f"exit code {code}" if code else "it left no output"


@contextmanager
def working_in(folder: Path, title: str) -> Iterator[None]:
    """Holds the folder, which is made; ToolgenError says who else does."""

    def refuse() -> None:
        raise ToolgenError(
            f"another {title} is at work in {folder} ({_holder(folder)}); wait for it, or take another folder"
        )

    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / LEDGER, refuse):
        since = datetime.now().isoformat(sep=" ", timespec="seconds")
        write_json(folder / HOLDER, {"process": os.getpid(), "host": platform.node(), "since": since})
        try:
            yield
        finally:
            with suppress(OSError):
                (folder / HOLDER).unlink()


def listing(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The rows of a graph for people: what is done and how long it took, and each command."""
    width = max(len(row["name"]) for row in rows)
    lines = []
    for row in rows:
        took = f" in {duration(row['seconds'])}" if row["seconds"] else ""
        lines.append(f"{row['name']:<{width}}  {f'done{took}' if row['done'] else 'to do':<14}  $ {row['command']}")
    return lines


def _holder(folder: Path) -> str:
    try:
        holder = json.loads((folder / HOLDER).read_text(encoding="utf-8"))
        return f"process {holder['process']} on {holder['host']}, since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "which has only just begun or ended"
