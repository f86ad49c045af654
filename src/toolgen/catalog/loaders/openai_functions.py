"""Reads tool lists in OpenAI's form: JSON or JSON lines.

Accepted records: `{"type": "function", "function": {"name", "description", "parameters"}}` (chat completions), the same
fields flat beside `"type": "function"` (responses), and bare function objects; in a list, under the key `tools` or
`functions`, or one a line. Only reads: nothing is called, no reference is followed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from toolgen.catalog.loaders.common import LoadedTools
from toolgen.catalog.loaders.json_records import described_tool, load_tool_records
from toolgen.catalog.tool import Tool
from toolgen.errors import CatalogError


def load_openai_functions(path: Path, *, provider: str | None = None) -> LoadedTools:
    """The tools of one file; `provider` defaults to the file's name without its ending.

    A record that is no function, or has no name, is a loss with its reason. CatalogError if the file cannot be read or
    is neither JSON nor JSON lines.
    """
    return load_tool_records(path, "openai", _tool, provider)


def _tool(record: Any, provider: str, notes: list[str]) -> Tool:
    function = _function(record)
    return described_tool(function, function.get("parameters", function.get("input_schema")), provider, "openai", notes)


def _function(record: Any) -> dict[str, Any]:
    if not isinstance(record, dict):
        raise CatalogError(f"expected a function object, got {type(record).__name__}")
    if isinstance(record.get("function"), dict):
        return dict(record["function"])
    if record.get("type", "function") not in ("function", "custom"):
        raise CatalogError(f"type {record['type']!r} is not a function")
    return record
