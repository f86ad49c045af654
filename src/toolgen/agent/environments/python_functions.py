"""Plain Python functions as an environment: a call is a function call, an exception is an error result.

Knows no model. The functions are trusted code of the user: they run in this process with its rights.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any

from toolgen.agent.environments.protocol import ToolResult, error_text, not_available, result_text
from toolgen.catalog.loaders.python_functions import import_source
from toolgen.catalog.tool import Tool
from toolgen.datasets.task import Task, Turn
from toolgen.errors import CatalogError, EnvironmentSetupError

Function = Callable[..., Any]


class PythonEnvironment:
    """Executes the tools whose endpoint is a Python function (`{"kind": "python", "module" | "file", "function"}`).

    Arguments are converted to the types of the function's hints (dates, enumerations, dataclasses) where pydantic can.
    A call that takes longer than `timeout` seconds ends with the status "timeout"; Python cannot stop a running
    function, so it goes on in a daemon thread and may still take effect. State lives in the user's module: `reset` does
    not undo it.
    """

    name = "python"

    def __init__(self, tools: Iterable[Tool], *, timeout: float = 30.0) -> None:
        self._timeout = timeout
        # One module object a source, so that its functions share the module's state.
        modules: dict[str, ModuleType] = {}
        self._functions = {tool.id: _function_of(tool, modules) for tool in tools if _is_python(tool)}
        if not self._functions:
            raise EnvironmentSetupError("none of these tools is a Python function; give tools loaded with python:FILE")

    @property
    def tools(self) -> tuple[str, ...]:
        return tuple(self._functions)

    def reset(self, task: Task) -> None:
        pass

    def start_turn(self, turn: Turn) -> None:
        pass

    def call(self, tool_id: str, arguments: Mapping[str, Any]) -> ToolResult:
        if tool_id not in self._functions:
            return not_available(tool_id, self.name)
        results: list[ToolResult] = []
        function = self._functions[tool_id]
        worker = threading.Thread(
            target=lambda: results.append(_run(function, arguments)), daemon=True, name=f"call {tool_id}"
        )
        worker.start()
        worker.join(self._timeout)
        if not results:
            note = f"no answer within {self._timeout:g} seconds; whether the call took effect is unknown"
            return ToolResult(content=error_text(note), status="timeout")
        return results[0]

    def close(self) -> None:
        pass


def _is_python(tool: Tool) -> bool:
    return tool.endpoint is not None and tool.endpoint.get("kind") == "python"


def _function_of(tool: Tool, modules: dict[str, ModuleType]) -> Function:
    endpoint = tool.endpoint or {}
    try:
        source = str(endpoint.get("file") or endpoint["module"])
        if source not in modules:
            modules[source] = import_source(source)
        function: Function = getattr(modules[source], str(endpoint["function"]))
    except (CatalogError, KeyError, AttributeError) as error:
        raise EnvironmentSetupError(f"cannot load the function of tool {tool.id}: {error}") from error
    return _converting(function)


def _converting(function: Function) -> Function:
    """The function with JSON arguments converted to the types of its hints, or itself where hints cannot be read."""
    from pydantic import PydanticUserError, validate_call

    try:
        converting: Function = validate_call(function)
    except (PydanticUserError, NameError, TypeError):
        return function
    return converting


def _run(function: Function, arguments: Mapping[str, Any]) -> ToolResult:
    try:
        return ToolResult(content=result_text(function(**arguments)))
    # Also SystemExit: whatever a tool raises is its result, not the end of the agent.
    except BaseException as error:
        return ToolResult(content=error_text(f"{type(error).__name__}: {error}"), status="error")
