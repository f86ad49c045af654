"""The gateway as a server of the Model Context Protocol: three tools, whatever the catalog holds.

Revision 2026-07-28 and the older handshakes; the official SDK speaks both. The list of tools never changes, so a client may
keep it, and its model's prompt with it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import mcp_types as types
from mcp.server.caching import CacheHint
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError

from toolgen import __version__
from toolgen.agent import ToolResult
from toolgen.catalog.schema import best_fault
from toolgen.errors import InputError
from toolgen.serving.gateway import LARGEST, Gateway

if TYPE_CHECKING:
    from starlette.applications import Starlette

AT_ONCE = 32
"""Calls that wait for their tools at the same time."""
DAY = 24 * 3600 * 1000
INSTRUCTIONS = (
    "{size:,} tools are behind these three. Search for what you need in plain words, read the definition of the tool that "
    "fits, then call it. If the search finds nothing that fits, say so; do not guess names."
)
_NAME = {"type": "string", "description": "the tool's name, as the search gave it"}
TOOLS = (
    types.Tool(
        name="search_tools",
        title="Search tools",
        description="Find tools by what they do. Returns names and one-line descriptions, the best first.",
        input_schema={
            "type": "object",
            "properties": {
                "query": {"type": "string", "description": "what is to be done, in plain language"},
                "limit": {"type": "integer", "minimum": 1, "maximum": LARGEST, "default": 5},
            },
            "required": ["query"],
            "additionalProperties": False,
        },
        output_schema={
            "type": "object",
            "properties": {
                "tools": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {
                            "name": {"type": "string"},
                            "description": {"type": "string"},
                            "score": {"type": "number"},
                        },
                        "required": ["name", "description", "score"],
                    },
                },
                "probably_none_fits": {"type": "boolean"},
            },
            "required": ["tools", "probably_none_fits"],
        },
        annotations=types.ToolAnnotations(read_only_hint=True, open_world_hint=False),
    ),
    types.Tool(
        name="get_tool_details",
        title="Read a tool's definition",
        description="The full definition of a tool, with the schema of its arguments. Read it before you call the tool.",
        input_schema={
            "type": "object",
            "properties": {"name": _NAME},
            "required": ["name"],
            "additionalProperties": False,
        },
        annotations=types.ToolAnnotations(read_only_hint=True, open_world_hint=False),
    ),
    types.Tool(
        name="call_tool",
        title="Call a tool",
        description="Call a tool with arguments that fit its definition; returns what the tool returns.",
        input_schema={
            "type": "object",
            "properties": {"name": _NAME, "arguments": {"type": "object", "description": "as the definition asks"}},
            "required": ["name"],
            "additionalProperties": False,
        },
        annotations=types.ToolAnnotations(read_only_hint=False, open_world_hint=True),
    ),
)
_SCHEMAS = {tool.name: tool.input_schema for tool in TOOLS}


def mcp_server(gateway: Gateway) -> Server[Any]:
    """The server, not yet running: `Server.run` over streams, or `http_app`."""
    limiter = anyio.CapacityLimiter(AT_ONCE)
    work: Mapping[str, Callable[[Mapping[str, Any]], types.CallToolResult]] = {
        "search_tools": lambda given: _search(gateway, given),
        "get_tool_details": lambda given: _structured(gateway.details([given["name"]])[0]),
        "call_tool": lambda given: _result(gateway.call(given["name"], given.get("arguments") or {})),
    }

    async def list_tools(_context: Any, _params: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=list(TOOLS))

    async def call_tool(_context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        if params.name not in work:
            raise MCPError(types.INVALID_PARAMS, f"there is no tool {params.name!r}; there are {', '.join(work)}")
        given = params.arguments or {}
        if fault := best_fault(given, _SCHEMAS[params.name]):
            return _failed(f"invalid arguments for {params.name}: {fault}")
        try:
            # A client that goes away leaves the thread to its deadline: a tool cannot be taken back half done.
            return await anyio.to_thread.run_sync(work[params.name], given, limiter=limiter, abandon_on_cancel=True)
        except InputError as error:
            return _failed(str(error))

    return Server(
        "toolgen",
        version=__version__,
        instructions=INSTRUCTIONS.format(size=gateway.size),
        cache_hints={"tools/list": CacheHint(ttl_ms=DAY, scope="public")},
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


async def serve_stdio(gateway: Gateway) -> None:
    """Serves one client over this process's standard input and output, until it closes them."""
    from mcp.server.stdio import stdio_server

    server = mcp_server(gateway)
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())


def http_app(gateway: Gateway, host: str = "127.0.0.1") -> Starlette:
    """The server over streamable HTTP, at /mcp. Requests to this machine's own addresses must name them (DNS rebinding)."""
    return mcp_server(gateway).streamable_http_app(host=host)


def _search(gateway: Gateway, given: Mapping[str, Any]) -> types.CallToolResult:
    found = gateway.search(given["query"], given.get("limit", 5))
    lines = [f"{one.name}: {one.description}" for one in found.tools] or ["nothing was found"]
    if found.is_declined:
        lines.insert(0, "probably no tool of the catalog fits; the nearest are")
    value = {"tools": [one.to_dict() for one in found.tools], "probably_none_fits": found.is_declined}
    return _structured(value, "\n".join(lines))


def _structured(value: dict[str, Any], text: str | None = None) -> types.CallToolResult:
    shown = json.dumps(value, ensure_ascii=False) if text is None else text
    return types.CallToolResult(content=[types.TextContent(text=shown)], structured_content=value)


def _result(result: ToolResult) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(text=result.content)], is_error=result.is_error)


def _failed(text: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(text=text)], is_error=True)
