"""The file of a run: every event as a line of JSON, written whole when it happens, so that a run can be shown again and its
results replayed.

The first line says what the file is. A last line without its end was cut off by a crash and does not count. Knows no policy
and no environment.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from toolgen.agent.environments.protocol import ToolResult
from toolgen.agent.loop import AgentEvent
from toolgen.datasets.query import Call
from toolgen.datasets.task import Task
from toolgen.datasets.trajectory import TURN_DONE
from toolgen.errors import InputError, OutputError, UsageError
from toolgen.files import append_whole, check_file, drop_cut_line, named_failure, whole_lines
from toolgen.foreign.data import decode, parse_json, read_bytes
from toolgen.foreign.typed import typed

FORMAT = {"format": "toolgen run", "version": 2}


@dataclass(frozen=True)
class Unfinished:
    """A run that was broken off: its task and the events so far."""

    task: Task
    events: tuple[AgentEvent, ...]


class RunRecorder:
    """Writes the events of a run to a new file, or to that of a run which is resumed. It is an `on_event`.

    OutputError where the file cannot be written: the run ends there, and the file holds all events before.

        with RunRecorder(Path("run.jsonl")) as recorder:
            run_agent(policy, environment, task, on_event=recorder)
    """

    def __init__(self, path: Path, *, resume: bool = False) -> None:
        check_file(path)
        self.path = path
        try:
            self._file = path.open("r+b" if resume else "xb", buffering=0)
            if resume:
                drop_cut_line(self._file)
        except FileExistsError:
            raise UsageError(f"{path} exists; give another file to record the run in") from None
        except OSError as error:
            raise OutputError(path, error.strerror or str(error)) from error
        try:
            if not resume:
                self._write(FORMAT)
        except OutputError:
            self.close()
            path.unlink()
            raise

    @classmethod
    def in_folder(cls, folder: Path) -> RunRecorder:
        """In a new file of a folder, `run-1.jsonl`, `run-2.jsonl`, ..."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(folder, error.strerror or str(error)) from error
        number = 1
        while True:
            path = folder / f"run-{number}.jsonl"
            if not path.exists():
                with suppress(UsageError):  # somebody else was faster
                    return cls(path)
            number += 1

    def __call__(self, event: AgentEvent) -> None:
        self._write({key: value for key, value in asdict(event).items() if value not in (None, "", ())})

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def __enter__(self) -> RunRecorder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, record: dict[str, Any]) -> None:
        # What UTF-8 lacks, a lone surrogate, becomes the escape that JSON has for it.
        line = json.dumps(record, ensure_ascii=False, default=str).encode("utf-8", "backslashreplace") + b"\n"
        with named_failure(self.path):
            append_whole(self._file, line)


def read_run(path: Path) -> tuple[AgentEvent, ...]:
    """The events of a run's file. InputError names the first line that is not what it should be."""
    lines = whole_lines(read_bytes(path)).split(b"\n")[:-1]
    if not lines or parse_json(decode(lines[0], f"{path}, line 1"), f"{path}, line 1") != FORMAT:
        raise InputError(f"{path} is no file of a run; expected one that 'toolgen run --record FILE' wrote")
    return tuple(_event(line, f"{path}, line {number}") for number, line in enumerate(lines[1:], start=2))


def unfinished(path: Path) -> Unfinished:
    """A recorded run to go on with. UsageError for one that is done, is a search, or has several turns: what is said next is
    not known."""
    events = read_run(path)
    users = [event for event in events if event.kind == "user"]
    if len(users) != 1:
        raise UsageError(f"{path} has {len(users)} requests; only a run of one request can be resumed")
    if any(event.kind in ("back", "path") for event in events):
        raise UsageError(f"the run in {path} is a search, which has no effects; begin it anew")
    last = events[-1]
    if last.kind == "end" and last.text in TURN_DONE:
        raise UsageError(f"the run in {path} is done ({last.text.replace('_', ' ')}); begin a new one")
    return Unfinished(Task.from_text(users[0].text), events)


def recorded_results(events: Iterable[AgentEvent]) -> list[tuple[Call, ToolResult]]:
    """The calls of a run with what they came back with, for `RecordedEnvironment`."""
    made = ((event.action, event.result) for event in events if event.kind == "result")
    return [
        (Call(tool=action.tool, arguments=action.arguments), result) for action, result in made if action and result
    ]


def _event(line: bytes, place: str) -> AgentEvent:
    try:
        event = typed(AgentEvent, parse_json(decode(line, place), place))
    except (ValueError, UsageError) as error:
        raise InputError(f"{place}: {error}; expected an event of a run") from None
    if (event.kind in ("action", "result") and event.action is None) or (
        event.kind == "result" and event.result is None
    ):
        raise InputError(f"{place}: the event is of the kind {event.kind!r} but lacks its action or result")
    return event
