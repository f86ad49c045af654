"""One environment out of several: each call goes where its tool's `endpoint.kind` is carried out."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from toolgen.agent.environments.protocol import CALL_SECONDS, Environment, ToolResult, failed, not_available
from toolgen.catalog.catalog import Catalog
from toolgen.datasets.task import Task, Turn


class ComposedEnvironment:
    """`by_kind` are environments by the kind of endpoint that they carry out. Closing it closes them."""

    name = "composed"

    def __init__(self, catalog: Catalog, by_kind: Mapping[str, Environment]) -> None:
        self.by_kind = dict(by_kind)
        self.take(catalog)

    def take(self, catalog: Catalog) -> None:
        """From now on the tools are those of this catalog. Its environments are told by whoever made them."""
        self._kinds = {tool.id: str((tool.endpoint or {}).get("kind") or "none") for tool in catalog}

    @property
    def tools(self) -> tuple[str, ...]:
        offered = {kind: frozenset(environment.tools) for kind, environment in self.by_kind.items()}
        return tuple(tool for tool, kind in self._kinds.items() if tool in offered.get(kind, ()))

    def reset(self, task: Task) -> None:
        for environment in self.by_kind.values():
            environment.reset(task)

    def start_turn(self, turn: Turn) -> None:
        for environment in self.by_kind.values():
            environment.start_turn(turn)

    def call(self, tool_id: str, arguments: Mapping[str, Any], *, within: float = CALL_SECONDS) -> ToolResult:
        kind = self._kinds.get(tool_id)
        if kind is None:
            return not_available(tool_id, self.name)
        if kind not in self.by_kind:
            known = ", ".join(self.by_kind) or "none"
            text = f"tool {tool_id} is of the kind {kind!r}, which is not carried out here; carried out are {known}"
            return failed(text)
        return self.by_kind[kind].call(tool_id, arguments, within=within)

    def close(self) -> None:
        with ExitStack() as stack:  # one that fails to close does not keep the others open
            for environment in self.by_kind.values():
                stack.callback(environment.close)
