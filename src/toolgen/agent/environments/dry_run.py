"""Dry run: records and validates calls, executes nothing. For tools that are only described, and for trying out.

Knows no model. Its answer to a valid call says what happened: the call was recorded, not carried out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from toolgen.agent.environments.protocol import (
    CALL_SECONDS,
    PlainEnvironment,
    ToolResult,
    argument_fault,
    failed,
    not_available,
)
from toolgen.catalog.catalog import Catalog
from toolgen.datasets.query import Call
from toolgen.datasets.task import Task

RECORDED = '{"status": "recorded"}'


class DryRunEnvironment(PlainEnvironment):
    """Accepts every tool of a catalog; `calls` holds what was called since `reset`, valid or not."""

    name = "dry-run"

    def __init__(self, catalog: Catalog, *, validate: bool = True) -> None:
        self.calls: list[Call] = []
        self._catalog = catalog
        self._validate = validate

    @property
    def tools(self) -> tuple[str, ...]:
        return self._catalog.ids

    def reset(self, task: Task) -> None:
        self.calls = []

    def call(self, tool_id: str, arguments: Mapping[str, Any], *, within: float = CALL_SECONDS) -> ToolResult:
        if tool_id not in self._catalog:
            return not_available(tool_id, self.name)
        self.calls.append(Call(tool=tool_id, arguments=arguments))
        if self._validate and (fault := argument_fault(self._catalog.get(tool_id), arguments)):
            return failed(fault)
        return ToolResult(content=RECORDED)

    def save(self) -> object:
        return tuple(self.calls)

    def restore(self, saved: object) -> None:
        assert isinstance(saved, tuple)
        self.calls = [*saved]
