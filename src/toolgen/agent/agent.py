"""Agent: a checkpoint's model at work on requests in plain language, for programs that are not about agents.

What it does is `run_agent` with the model's policy; what it may call are Python functions or an environment.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolgen.agent.acting import acting_policy
from toolgen.agent.calls import Confirm, asking_before_changes
from toolgen.agent.environments.protocol import Environment, ToolResult
from toolgen.agent.environments.python_functions import Given, PythonEnvironment
from toolgen.agent.loop import AgentEvent, Budget, OnEvent, Search, run_agent
from toolgen.agent.policy import Policy
from toolgen.agent.record import RunRecorder, unfinished
from toolgen.agent.search import reversible
from toolgen.catalog.catalog import Catalog
from toolgen.datasets.query import Call
from toolgen.datasets.task import Task
from toolgen.datasets.trajectory import Status, Trajectory
from toolgen.errors import UsageError, nearest

if TYPE_CHECKING:
    from toolgen.checkpoint import Checkpoint
    from toolgen.decoding import DecodingOptions


@dataclass(frozen=True, kw_only=True)
class AgentRun:
    """What became of one request: all that was said and done (`trajectory`), its steps as they happened (`events`), and the
    `file` that has them, where the agent records."""

    trajectory: Trajectory
    events: tuple[AgentEvent, ...]
    file: Path | None = None

    @property
    def answer(self) -> str | None:
        """What the model answered; None if it did not, `status` says why."""
        return self.trajectory.outcome.answer

    @property
    def status(self) -> Status:
        """How it ended: "finished", "gave_up", "declined" (no tool fits), or by a limit or error."""
        return self.trajectory.outcome.status

    @property
    def calls(self) -> tuple[Call, ...]:
        """The calls, in order, of a search those that it undid too; `results` say what became of each."""
        made = (event.action for event in self._results if event.action)
        return tuple(Call(tool=action.tool, arguments=action.arguments) for action in made)

    @property
    def results(self) -> tuple[ToolResult, ...]:
        """What each of the calls came back with."""
        return tuple(event.result for event in self._results if event.result)

    @property
    def _results(self) -> list[AgentEvent]:
        """In the order of the calls."""
        found = (event for event in self.events if event.kind == "result")
        return sorted(found, key=lambda event: (event.turn, event.step, event.call))


class Agent:
    """Lets the model of a checkpoint carry out requests, with `functions` or in an `environment` (one of the two).

    `functions` are what `PythonEnvironment` takes: functions, modules or files, or a mapping from tool ids to functions. Each
    must be a tool of the checkpoint: by its id, by where it is defined, or as the only tool of its name with its parameters.
    UsageError names one that is none. The model chooses among them alone.

    `budget` bounds each request and each call, `options` say how it decodes (with `thought_tokens` it writes a thought before
    each action). It acts as `toolgen run` does (see `acting_policy`), or `alone`. `confirm` is asked before each call of a tool
    that does not say that it only reads. `record` is a folder, made if need be, into which each run writes its steps as they
    happen, a file a run (`AgentRun.file`).

    An agent has one conversation at a time. Leaving the context ends what was started for the functions; an environment that
    was given stays open.

        with Agent(checkpoint, functions=[get_forecast]) as agent:
            print(agent.run("Will it rain in Oslo?").answer)
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        functions: Given | Sequence[Given] | Mapping[str, Callable[..., Any]] | None = None,
        environment: Environment | None = None,
        budget: Budget | None = None,
        options: DecodingOptions | None = None,
        alone: bool = False,
        confirm: Confirm | None = None,
        record: Path | None = None,
        search: Search = "chain",
    ) -> None:
        self._own: Environment | None = None
        if functions is not None and environment is None:
            self._own = environment = _environment(functions, checkpoint.catalog)
        elif functions is not None or environment is None:
            raise UsageError(
                "an agent needs functions=[...] or an environment=..., one of the two; "
                "DryRunEnvironment(checkpoint.catalog) only records its calls"
            )
        if search == "dfs":
            try:
                reversible(environment)
            except UsageError:
                self.close()
                raise
        self.environment = environment
        self._search = search
        self.policy: Policy = acting_policy(checkpoint, alone=alone, options=options)
        self.budget = budget or Budget()
        self._confirm = asking_before_changes(checkpoint.catalog, confirm) if confirm else None
        self._record = None if record is None else Path(record)

    def run(
        self, request: str | Task, *, on_event: OnEvent | None = None, cancel: threading.Event | None = None
    ) -> AgentRun:
        """Carries out a request; `on_event` hears of each step as it happens, and the run ends when `cancel` is set. A call
        that fails is a result that the model sees, and a budget that is used up a status: neither is an exception."""
        if isinstance(request, str) and request.strip():
            request = Task.from_text(request)
        if not isinstance(request, Task):
            raise UsageError(f"an agent runs a text that is not empty, or a Task; got {request!r:.60}")
        recorder = RunRecorder.in_folder(self._record) if self._record else None
        return self._run(request, (), recorder, on_event, cancel)

    def resume(
        self, file: Path | str, *, on_event: OnEvent | None = None, cancel: threading.Event | None = None
    ) -> AgentRun:
        """Goes on with a recorded run where it was broken off, and writes to its file. No call is made again; of one that was
        under way the model is told that nobody knows whether it took effect. UsageError for a run that is done."""
        past = unfinished(Path(file))
        return self._run(past.task, past.events, RunRecorder(Path(file), resume=True), on_event, cancel)

    def _run(
        self,
        task: Task,
        past: tuple[AgentEvent, ...],
        recorder: RunRecorder | None,
        on_event: OnEvent | None,
        cancel: threading.Event | None,
    ) -> AgentRun:
        events = [*past]
        listeners = [one for one in (recorder, on_event) if one]

        def notify(event: AgentEvent) -> None:
            for listener in listeners:
                listener(event)
            events.append(event)

        with ExitStack() as stack:
            if recorder:
                stack.callback(recorder.close)
            trajectory = run_agent(
                self.policy,
                self.environment,
                task,
                budget=self.budget,
                on_event=notify,
                confirm=self._confirm,
                cancel=cancel,
                past=past,
                search=self._search,
            )
        return AgentRun(trajectory=trajectory, events=tuple(events), file=recorder.path if recorder else None)

    def close(self) -> None:
        """Ends what was started for the functions."""
        if self._own:
            self._own.close()

    def __enter__(self) -> Agent:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _environment(functions: Any, catalog: Catalog) -> PythonEnvironment:
    """The functions, all of them tools of the catalog."""
    environment = PythonEnvironment(functions, catalog=catalog)
    if environment.unknown:
        environment.close()
        name = environment.unknown[0]
        hint = nearest(name, catalog.ids, f"; it has tools such as {catalog.ids[0]!r}.")
        raise UsageError(
            f"the checkpoint has no tool for the function {name!r}{hint} For a tool of another name give functions={{tool id: "
            "function}; a new one is added by add_tools(checkpoint, [tool_from_function(function)])"
        )
    return environment
