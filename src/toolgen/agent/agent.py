"""Agent: a checkpoint's model at work on requests in plain language, for programs that are not about agents.

What it does is `run_agent` with the model's policy; what it may call are Python functions or an environment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from toolgen.agent.environments.protocol import Environment, ToolResult
from toolgen.agent.environments.python_functions import Given, PythonEnvironment
from toolgen.agent.loop import AgentEvent, Budget, OnEvent, run_agent
from toolgen.agent.policy import GenerativePolicy, Policy
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
    """What became of one request: all that was said and done (`trajectory`), and its steps as they happened (`events`)."""

    trajectory: Trajectory
    events: tuple[AgentEvent, ...]

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
        """The calls that were carried out, in order."""
        made = (event.action for event in self.events if event.kind == "result" and event.action)
        return tuple(Call(tool=action.tool, arguments=action.arguments) for action in made)

    @property
    def results(self) -> tuple[ToolResult, ...]:
        """What each of the calls came back with."""
        return tuple(event.result for event in self.events if event.result)


class Agent:
    """Lets the model of a checkpoint carry out requests, with `functions` or in an `environment` (one of the two).

    `functions` are what `PythonEnvironment` takes: functions, modules or files, or a mapping from tool ids to functions. Each
    must be a tool of the checkpoint: by its id, by where it is defined, or as the only tool of its name with its parameters.
    UsageError names one that is none. They run for at most `timeout` seconds a call. The model chooses among them alone.

    `budget` bounds each request, `think` lets the model write a thought before each action, `options` say how it decodes. An
    agent has one conversation at a time. Leaving the context ends what was started for the functions; an environment that was
    given stays open.

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
        think: bool = False,
        options: DecodingOptions | None = None,
        timeout: float = 30.0,
    ) -> None:
        self._own: Environment | None = None
        if functions is not None and environment is None:
            self._own = environment = _environment(functions, checkpoint.catalog, timeout)
        elif functions is not None or environment is None:
            raise UsageError(
                "an agent needs functions=[...] or an environment=..., one of the two; "
                "DryRunEnvironment(checkpoint.catalog) only records its calls"
            )
        self.environment = environment
        self.policy: Policy = GenerativePolicy(checkpoint, think=think, options=options)
        self.budget = budget or Budget()

    def run(self, request: str | Task, *, on_event: OnEvent | None = None) -> AgentRun:
        """Carries out a request; `on_event` hears of each step as it happens. A call that fails is a result that the model
        sees, and a budget that is used up a status: neither is an exception."""
        if isinstance(request, str) and request.strip():
            request = Task.from_text(request)
        if not isinstance(request, Task):
            raise UsageError(f"an agent runs a text that is not empty, or a Task; got {request!r:.60}")
        events: list[AgentEvent] = []

        def notify(event: AgentEvent) -> None:
            events.append(event)
            if on_event:
                on_event(event)

        trajectory = run_agent(self.policy, self.environment, request, budget=self.budget, on_event=notify)
        return AgentRun(trajectory=trajectory, events=tuple(events))

    def close(self) -> None:
        """Ends what was started for the functions."""
        if self._own:
            self._own.close()

    def __enter__(self) -> Agent:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _environment(functions: Any, catalog: Catalog, timeout: float) -> PythonEnvironment:
    """The functions, all of them tools of the catalog."""
    environment = PythonEnvironment(functions, catalog=catalog, timeout=timeout)
    if environment.unknown:
        environment.close()
        name = environment.unknown[0]
        hint = nearest(name, catalog.ids, f"; it has tools such as {catalog.ids[0]!r}.")
        raise UsageError(
            f"the checkpoint has no tool for the function {name!r}{hint} For a tool of another name give functions={{tool id: "
            "function}; a new one is added by add_tools(checkpoint, [tool_from_function(function)])"
        )
    return environment
