"""AgentDojo's suites as an environment: a company's mail, calendar and files, travel bookings, a bank account, a chat.

The state is the package's own model of a suite, with the task's injections written into it. It lives for one task. Knows no
model and no check; `evaluation/scorers/agentdojo.py` asks the package's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any

from toolgen.agent.environments.protocol import (
    CALL_SECONDS,
    PlainEnvironment,
    ToolResult,
    failed,
    functions_of_world,
    not_available,
)
from toolgen.catalog.catalog import Catalog
from toolgen.datasets.agentdojo import DATASET_NAME, load_suite
from toolgen.datasets.payloads import AgentDojoTask
from toolgen.datasets.task import Task
from toolgen.datasets.worlds import world_module


def initial_state(package: Path, task: Task) -> Any:
    """The state in which a task of AgentDojo begins."""
    assert isinstance(task.payload, AgentDojoTask), "other tasks are carried out elsewhere"
    suite = load_suite(package, task.payload.suite)
    state = suite.load_and_inject_default_environment(dict(task.state.get("injections", {})))
    user = suite.user_tasks.get(task.payload.user_task)
    return user.init_environment(state) if user else state


class AgentDojoEnvironment(PlainEnvironment):
    """Executes calls of the functions of a task's suite; results read as AgentDojo writes them. `state` is that of the task."""

    name = DATASET_NAME

    def __init__(self, package: Path, catalog: Catalog) -> None:
        self.state: Any = None
        self._package = package
        self._functions = functions_of_world(catalog, self.name, "suite", "function")
        self._suite = ""
        self._runtime: Any = None
        self._lock = Lock()

    @property
    def tools(self) -> tuple[str, ...]:
        return tuple(tool_id for tool_id, (suite, _) in self._functions.items() if suite == self._suite)

    def reset(self, task: Task) -> None:
        self.state = initial_state(self._package, task)
        assert isinstance(task.payload, AgentDojoTask)
        self._suite = task.payload.suite
        runtime = world_module(self._package, "agentdojo.functions_runtime").FunctionsRuntime
        self._runtime = runtime(load_suite(self._package, self._suite).tools)

    def call(self, tool_id: str, arguments: Mapping[str, Any], *, within: float = CALL_SECONDS) -> ToolResult:
        suite, function = self._functions.get(tool_id, ("", ""))
        if not suite or suite != self._suite:
            return not_available(tool_id, self.name)
        written = world_module(self._package, "agentdojo.agent_pipeline.tool_execution").tool_result_to_str
        with self._lock:
            value, error = self._runtime.run_function(self.state, function, dict(arguments))
            if error:
                return failed(error)
            return ToolResult(content=written(value))

    def facts(self) -> Any:
        with self._lock:
            return self.state.model_dump(mode="json")

    def save(self) -> object:
        with self._lock:
            return self.state.model_copy(deep=True)

    def restore(self, saved: Any) -> None:
        self.state = saved.model_copy(deep=True)

    def close(self) -> None:
        self.state, self._suite = None, ""
