"""tau2's domains as an environment: an airline, a shop, a telephone company with its customer's telephone, a list of tasks.

The state is the package's own environment of a domain, changed as the task says. It lives for one task. Knows no model and no
check; `evaluation/scorers/tau2.py` asks the package's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from threading import Lock
from typing import Any

from toolgen.agent.environments.protocol import (
    CALL_SECONDS,
    PlainEnvironment,
    ToolResult,
    functions_of_world,
    not_available,
)
from toolgen.catalog.catalog import Catalog
from toolgen.datasets.payloads import Tau2Task
from toolgen.datasets.task import Task
from toolgen.datasets.tau2 import DATASET_NAME, new_world
from toolgen.datasets.worlds import world_module


class Tau2Environment(PlainEnvironment):
    """Executes calls of the functions of a task's domain; results read as tau2 writes them. `world` is that of the task."""

    name = DATASET_NAME

    def __init__(self, package: Path, catalog: Catalog) -> None:
        self.world: Any = None
        self._package = package
        self._functions = functions_of_world(catalog, self.name, "domain", "function")
        self._domain = ""
        self._lock = Lock()

    @property
    def tools(self) -> tuple[str, ...]:
        return tuple(tool_id for tool_id, (domain, _) in self._functions.items() if domain == self._domain)

    def reset(self, task: Task) -> None:
        assert isinstance(task.payload, Tau2Task), "other tasks are carried out elsewhere"
        self._domain = task.payload.domain
        self.world = new_world(self._package, self._domain, task.payload.solo)
        begin = (
            world_module(self._package, "tau2.data_model.tasks").Task.model_validate(task.payload.record).initial_state
        )
        if begin is not None:
            self.world.set_state(begin.initialization_data, begin.initialization_actions, [])

    def call(self, tool_id: str, arguments: Mapping[str, Any], *, within: float = CALL_SECONDS) -> ToolResult:
        domain, function = self._functions.get(tool_id, ("", ""))
        if not domain or domain != self._domain:
            return not_available(tool_id, self.name)
        call = world_module(self._package, "tau2.data_model.message").ToolCall(name=function, arguments=dict(arguments))
        with self._lock:
            answer = self.world.get_response(call)
        return ToolResult(content=answer.content, status="error" if answer.error else "ok")

    def facts(self) -> Any:
        with self._lock:
            return self.world.tools.db.model_dump(mode="json")

    def save(self) -> object:
        with self._lock:
            return deepcopy(self.world)

    def restore(self, saved: object) -> None:
        self.world = deepcopy(saved)

    def close(self) -> None:
        self.world, self._domain = None, ""
