"""Sets of tools without requests: ToolUniverse, the MCP servers of Toucan and of Docker's registry."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from toolgen.catalog.loaders.report import Loss
from toolgen.catalog.tool import Tool
from toolgen.datasets.training_sets.reading import Intake, LoadedSet, Unusable, make_tool

_CRAWLED = re.compile(r"^Deploy Server .*Try in Playground\s*\S*\s*", re.DOTALL)  # buttons of the directory's page
_NO_DESCRIPTION = "Description not available"
_TYPES = {"string", "number", "integer", "boolean", "array", "object"}


def load_tooluniverse(folder: Path) -> LoadedSet:
    """`tools.jsonl.gz`: science tools; their example arguments are the `examples` of the parameters' schema."""
    return _load("tooluniverse", folder / "tools.jsonl.gz", lambda record: [record], _science_tool)


def _science_tool(record: Any, _tool: Any) -> Tool:
    schema = dict(record["parameter"] or {})
    examples = [one for one in record.get("test_examples") or () if isinstance(one, dict)]
    if examples:
        schema["examples"] = examples
    provider = str(record.get("type") or "").removesuffix("Tool")
    return make_tool(record["name"], provider, record["description"] or "", schema, "tooluniverse")


def load_toucan(folder: Path) -> LoadedSet:
    """`servers.jsonl.gz`: MCP servers' tools, as they listed them or as a directory page describes them."""
    return _load("toucan-mcp-servers", folder / "servers.jsonl.gz", lambda record: record["tools"], _toucan_tool)


def _toucan_tool(record: Any, tool: Any) -> Tool:
    schema = tool.get("input_schema")
    if schema is None:
        schema = _listed(tool.get("parameters") or ())
    return _server_tool(record["server"], tool, schema, "toucan-mcp-servers")


def load_docker(folder: Path) -> LoadedSet:
    """`servers.jsonl.gz`: the tools of Docker's MCP registry."""
    return _load("docker-mcp-registry", folder / "servers.jsonl.gz", lambda record: record["tools"], _docker_tool)


def _docker_tool(record: Any, tool: Any) -> Tool:
    schema = tool.get("inputSchema") or _listed(tool.get("arguments") or ())
    return _server_tool(record["server"], tool, schema, "docker-mcp-registry")


def _server_tool(server: str, tool: Any, schema: Any, set_name: str) -> Tool:
    description = _CRAWLED.sub("", (tool.get("description") or "").strip())
    if not description or description.startswith(_NO_DESCRIPTION):
        raise Unusable("it has no description")
    return make_tool(tool["name"], server, description, schema, set_name)


def _listed(parameters: Iterable[Any]) -> dict[str, Any]:
    """The schema of parameters that are listed as name, type and description."""
    properties, required = {}, []
    for one in parameters:
        kind = str(one.get("type") or "string").lower()
        properties[one["name"]] = {
            "type": kind if kind in _TYPES else "string",
            "description": str(one.get("desc") or one.get("description") or ""),
        }
        if one.get("required"):
            required.append(one["name"])
    return {"type": "object", "properties": properties, "required": required}


def _load(name: str, path: Path, tools_of: Callable[[Any], Any], read: Callable[[Any, Any], Tool]) -> LoadedSet:
    """Reads every tool of every record; one whose id occurs again is a loss."""
    intake = Intake(name)
    tools: dict[str, Tool] = {}
    for identifier, record in intake.records(path):
        for number, one in enumerate(tools_of(record) or (), start=1):
            tool = intake.attempt(f"{identifier}-{number}", read, record, one)
            if tool and tool.id in tools:
                intake.losses.append(Loss(tool.id, "its id occurs again; the first one was kept"))
            elif tool:
                tools[tool.id] = tool
    return intake.loaded(tools.values())
