"""Reads tool lists of the Anthropic Messages API: JSON or JSON lines.

Accepted records: `{"name", "description", "input_schema"}`, with or without `"type": "custom"`, `cache_control`,
`strict`, `defer_loading` and `input_examples` (kept as the schema's `examples`); in a list, under the key `tools` of a
request, or one a line. A tool that runs at Anthropic (`"type": "web_search_20250305"`, `"mcp_toolset"`, ...) describes no
arguments and is a loss. Only reads.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from toolgen.catalog.loaders.common import LoadedTools
from toolgen.catalog.loaders.json_records import described_tool, load_tool_records
from toolgen.catalog.tool import Tool
from toolgen.errors import CatalogError


def load_anthropic(path: Path, *, provider: str | None = None) -> LoadedTools:
    """The tools of one file; `provider` defaults to the file's name without its ending.

    InputError if the file cannot be read or is neither JSON nor JSON lines.
    """
    return load_tool_records(path, "anthropic", _tool, provider)


def _tool(record: Any, provider: str, notes: list[str]) -> Tool:
    if not isinstance(record, dict):
        raise CatalogError(f"expected a tool object, got {type(record).__name__}")
    kind = record.get("type") or "custom"
    if kind != "custom":
        raise CatalogError(f"type {kind!r} is a tool that runs at Anthropic and describes no arguments")
    if "function" in record or "input_schema" not in record:
        raise CatalogError(f"expected an object with 'name' and 'input_schema', got {str(record)[:80]!r}")
    schema = record["input_schema"]
    if isinstance(schema, dict) and isinstance(examples := record.get("input_examples"), list):
        schema = {"examples": examples, **schema}
    return described_tool(record, schema, provider, "anthropic", notes)
