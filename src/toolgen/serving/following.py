"""Following: what a gateway serves stays what the MCP servers behind it list. Knows no protocol and no connection."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

from toolgen.agent import McpEnvironment
from toolgen.catalog import Catalog, Tool
from toolgen.catalog.naming import tool_id, unique_ids
from toolgen.errors import ToolgenError
from toolgen.serving.gateway import Gateway


class Following:
    """Takes over into `gateway` how the lists of the servers of `mcp` change from now on: what the catalog has otherwise than a
    server's first list, its user wanted so. `select` says which of the tools that are new are served; `on_catalog` hears of the
    new catalog, so that calls of its tools are carried out; `tell` hears in a line what was done."""

    def __init__(
        self,
        gateway: Gateway,
        mcp: McpEnvironment,
        select: Callable[[Sequence[Tool]], Sequence[Tool]],
        on_catalog: Callable[[Catalog], None],
        tell: Callable[[str], None],
    ) -> None:
        self._gateway, self._select, self._on_catalog, self._tell = gateway, select, on_catalog, tell
        self._changing = threading.Lock()
        self._lists: dict[str, dict[str, Tool]] = {}
        mcp.watch(self._hear)

    def _hear(self, server: str, tool_ids: Sequence[str], tools: Sequence[Tool]) -> None:
        now = {tool.name: tool for tool in tools}
        with self._changing:
            before = self._lists.setdefault(server, now)
            catalog = self._gateway.catalog
            had = {tool.name: tool for tool in map(catalog.get, tool_ids)}
            new = [tool for name, tool in now.items() if name not in before and name not in had]
            new = _as_new(catalog, [*had.values()], self._select(new))
            changed = [
                _as_known(tool, had[name])
                for name, tool in now.items()
                if name in before and name in had and tool.content_hash != before[name].content_hash
            ]
            removed = [had[name].id for name in before if name in had and name not in now]
            if not (new or changed or removed):
                return
            try:
                self._gateway.change(new, changed, removed)
            except ToolgenError as error:
                self._tell(f"not taken over, what a server lists now: {error}")
                return
            self._lists[server] = now
            self._on_catalog(self._gateway.catalog)
            self._tell(f"tools of a server: {len(new)} new, {len(changed)} changed, {len(removed)} gone")


def _as_known(tool: Tool, before: Tool) -> Tool:
    """The tool under the id and provider that it has in the catalog."""
    return replace(tool, id=before.id, provider=before.provider, category=before.category, source=before.source)


def _as_new(catalog: Catalog, others: Sequence[Tool], tools: Sequence[Tool]) -> list[Tool]:
    """Tools under ids of their own, and the provider of the `others` of the server."""
    providers = [other.provider for other in others[:1]] or [tool.provider for tool in tools[:1]]
    named = [replace(tool, provider=one, id=tool_id(one, tool.name)) for one in providers for tool in tools]
    ids = unique_ids((tool.id for tool in named), catalog.ids).ids
    return [replace(tool, id=unique) for tool, unique in zip(named, ids, strict=True)]
