"""Results without a tool: those of a recorded run, or made up from a tool's response schema. Neither calls anything."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from random import Random
from threading import Lock
from typing import Any

from toolgen.agent.environments.protocol import (
    CALL_SECONDS,
    PlainEnvironment,
    StatelessEnvironment,
    ToolResult,
    argument_fault,
    failed,
    not_available,
)
from toolgen.catalog.catalog import Catalog
from toolgen.datasets.query import Call
from toolgen.datasets.results import result_for
from toolgen.datasets.task import Task


class RecordedEnvironment(PlainEnvironment):
    """Answers with recorded results, found by tool and arguments; what was not recorded is an error that says so.

    `results` are calls with what they came back with, as `recorded_results(read_run(path))` gives them. A call that was made
    several times gets its results in their order, then the last one again. With a `catalog` all its tools are offered, else
    those that were recorded.
    """

    name = "recorded"

    def __init__(self, results: Iterable[tuple[Call, ToolResult]], catalog: Catalog | None = None) -> None:
        self._results: dict[str, list[ToolResult]] = {}
        recorded: dict[str, None] = {}
        for call, result in results:
            self._results.setdefault(_key(call.tool, call.arguments), []).append(result)
            recorded[call.tool] = None
        self._tools = tuple(recorded) if catalog is None else catalog.ids
        self._used: dict[str, int] = {}
        self._lock = Lock()

    @property
    def tools(self) -> tuple[str, ...]:
        return self._tools

    def reset(self, task: Task) -> None:
        self._used = {}

    def call(self, tool_id: str, arguments: Mapping[str, Any], *, within: float = CALL_SECONDS) -> ToolResult:
        if tool_id not in self._tools:
            return not_available(tool_id, self.name)
        key = _key(tool_id, arguments)
        found = self._results.get(key)
        if found is None:
            text = f"no call of {tool_id} with these arguments was recorded; it was not carried out"
            return failed(text)
        with self._lock:
            place = self._used.get(key, 0)
            self._used[key] = place + 1
        return found[min(place, len(found) - 1)]

    def save(self) -> object:
        with self._lock:
            return dict(self._used)

    def restore(self, saved: object) -> None:
        assert isinstance(saved, dict)
        with self._lock:
            self._used = dict(saved)


class SimulatedEnvironment(StatelessEnvironment):
    """Answers with values made up from the tool's response schema (`returns`) and its examples, or else from its name.

    The same tool and arguments give the same answer. Each says that it is simulated, `{"simulated": true, "result":
    ...}`, unless they are not `marked`. Arguments that do not fit the tool's schema are an error.
    """

    name = "simulated"

    def __init__(self, catalog: Catalog, *, marked: bool = True) -> None:
        self._catalog, self._marked = catalog, marked

    @property
    def tools(self) -> tuple[str, ...]:
        return self._catalog.ids

    def call(self, tool_id: str, arguments: Mapping[str, Any], *, within: float = CALL_SECONDS) -> ToolResult:
        if tool_id not in self._catalog:
            return not_available(tool_id, self.name)
        tool = self._catalog.get(tool_id)
        if fault := argument_fault(tool, arguments):
            return failed(fault)
        random = Random(f"0 {_key(tool_id, arguments)}")  # with the 0, answers are those of earlier recordings
        try:
            value = result_for(tool, arguments, random)
        except (
            AttributeError,
            KeyError,
            OverflowError,
            TypeError,
            ValueError,
        ):  # a catalog's response schema is never checked
            return failed(f"the response schema of {tool_id} is not valid")
        shown = {"simulated": True, "result": value} if self._marked else value
        return ToolResult(content=json.dumps(shown, ensure_ascii=False))


def _key(tool_id: str, arguments: Mapping[str, Any]) -> str:
    """A call as a text that does not depend on the order of its arguments."""
    return json.dumps([tool_id, arguments], sort_keys=True, default=str)
