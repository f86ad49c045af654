"""Environment: where calls are executed. A task resets it, calls change its state, results come back as text.

Knows no model, no prompt and no benchmark. A failing *tool* is a `ToolResult`, not an exception; an exception
(`EnvironmentSetupError`) means that the environment itself could not be started.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from toolgen.catalog.catalog import Catalog
from toolgen.catalog.schema import best_fault
from toolgen.catalog.tool import Tool
from toolgen.datasets.task import Task, Turn

ResultStatus = Literal["ok", "error", "timeout", "refused"]

CALL_SECONDS = 60.0
"""What one call may take, where nobody says otherwise."""


@dataclass(frozen=True, kw_only=True)
class ToolResult:
    """What one call came back with.

    `status` is "ok"; "error" when the tool failed; "timeout" when no answer came in time, so that it is unknown whether the
    call took effect; "refused" when it was not carried out: the user did not agree, or the run was ended before.
    """

    content: str
    status: ResultStatus = "ok"

    @property
    def is_error(self) -> bool:
        """Whether the call did not come back with what was asked for."""
        return self.status != "ok"


class Environment(Protocol):
    """Executes calls. One task at a time: `reset`, then for each turn of the user `start_turn` and any number of calls.

    `tools` are the ids that can be called now; it may differ after `reset` and `start_turn`. A call of another tool
    gets an error result. Calls may come from several threads at once; `close` ends those that are under way, if it can.
    """

    name: str

    @property
    def tools(self) -> tuple[str, ...]: ...

    def reset(self, task: Task) -> None:
        """Begins a task: whatever the last one left behind is gone."""

    def start_turn(self, turn: Turn) -> None:
        """The user's next turn begins; state is kept. Most environments have nothing to do here."""

    def call(self, tool_id: str, arguments: Mapping[str, Any], *, within: float = CALL_SECONDS) -> ToolResult:
        """Executes one call, in at most `within` seconds; never raises for a failing tool."""

    def close(self) -> None:
        """Frees what the environment holds."""


@runtime_checkable
class World(Protocol):
    """What an environment has, too, whose state is its own."""

    def facts(self) -> Any:
        """What there is now, as JSON has it."""


@runtime_checkable
class Reversible(Protocol):
    """What an environment has, too, that can go back, since none of its calls has an effect outside."""

    def save(self) -> object:
        """The state now."""

    def restore(self, saved: object) -> None:
        """Goes back to a state that `save` gave, as often as wanted; a call that is still under way does not change it."""


class PlainEnvironment:
    """The base of environments that have nothing to do where a task or a turn begins, and nothing to free."""

    def reset(self, task: Task) -> None:
        """See `Environment`."""

    def start_turn(self, turn: Turn) -> None:
        """See `Environment`."""

    def close(self) -> None:
        """See `Environment`."""


class StatelessEnvironment(PlainEnvironment):
    """The base of those whose calls change nothing, so that going back is nothing either."""

    def save(self) -> object:
        """See `Reversible`."""
        return None

    def restore(self, saved: object) -> None:
        """See `Reversible`."""


def not_available(tool_id: str, environment: str) -> ToolResult:
    """The result of calling a tool that the environment cannot execute (now)."""
    return failed(f"tool {tool_id} is not available in the environment {environment}")


def failed(message: str) -> ToolResult:
    """The result of a call that could not be made or that failed."""
    return ToolResult(content=error_text(message), status="error")


def argument_fault(tool: Tool, arguments: Mapping[str, Any]) -> str | None:
    """Why the tool cannot be called with these arguments, if so."""
    fault = best_fault(dict(arguments), tool.parameters)
    return fault and f"invalid arguments: {fault}"


def functions_of_world(catalog: Catalog, world: str, group: str, function: str) -> dict[str, tuple[str, str]]:
    """Tool ids of a simulated world to what their endpoints say under `group` and `function`, such as class and method."""
    return {
        tool.id: (str(tool.endpoint[group]), str(tool.endpoint[function]))
        for tool in catalog
        if tool.endpoint and tool.endpoint.get("kind") == "simulated" and tool.endpoint.get("environment") == world
    }


def no_answer(within: float) -> ToolResult:
    """The result of a call that did not come back in time."""
    note = f"no answer within {within:g} seconds; whether the call took effect is unknown"
    return ToolResult(content=error_text(note), status="timeout")


def error_text(message: str) -> str:
    """An error as the JSON text that a tool result carries."""
    return json.dumps({"error": message}, ensure_ascii=False)
