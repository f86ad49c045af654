"""The gateway as a server of the Model Context Protocol: three tools, whatever the catalog holds.

Revision 2026-07-28 and the older handshakes; the official SDK speaks both. The list of tools never changes, so a client may
keep it, and its model's prompt with it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import anyio.to_thread
import mcp_types as types
from mcp.server.caching import CacheHint
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp_types.version import is_version_at_least

from toolgen import __version__
from toolgen.agent import ToolResult
from toolgen.catalog.schema import best_fault
from toolgen.errors import InputError
from toolgen.serving.gateway import LARGEST, Gateway

if TYPE_CHECKING:
    from mcp.server.context import ServerRequestContext
    from starlette.applications import Starlette

    Context = ServerRequestContext[Any]

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
                "confidence": {"type": "number", "description": "that the first one fits, from 0 to 1"},
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
Confirm = Literal["never", "where possible", "always"]
"""Whether a person is asked before a call that may change something, and what happens where the client cannot ask: with
"always" the call is refused."""


def mcp_server(gateway: Gateway, confirm: Confirm = "never") -> Server[Any]:
    """The server, not yet running: `Server.run` over streams, or `http_app`."""
    limiter = anyio.CapacityLimiter(AT_ONCE)
    work: Mapping[str, Callable[[Mapping[str, Any]], types.CallToolResult]] = {
        "search_tools": lambda given: _search(gateway, given),
        "get_tool_details": lambda given: _structured(gateway.details([given["name"]])[0]),
        "call_tool": lambda given: _result(gateway.call(given["name"], given.get("arguments") or {})),
    }

    async def list_tools(_context: Any, _params: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=list(TOOLS))

    async def call_tool(
        context: Context, params: types.CallToolRequestParams
    ) -> types.CallToolResult | types.InputRequiredResult:
        if params.name not in work:
            raise MCPError(types.INVALID_PARAMS, f"there is no tool {params.name!r}; there are {', '.join(work)}")
        given = params.arguments or {}
        if fault := best_fault(given, _SCHEMAS[params.name]):
            return _failed(f"invalid arguments for {params.name}: {fault}")
        try:
            if confirm != "never" and params.name == "call_tool":
                held = await _held(gateway, context, params, given, must_ask=confirm == "always")
                if held is not None:
                    return held
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


async def _held(
    gateway: Gateway, context: Context, params: types.CallToolRequestParams, given: Mapping[str, Any], *, must_ask: bool
) -> types.CallToolResult | types.InputRequiredResult | None:
    """What comes of a call that has to be confirmed first; None where it may be made.

    Since 2026-07-28 a question is a result, and the client repeats the call with the answer; before, a request of its own.
    """
    name, arguments = given["name"], given.get("arguments") or {}
    question = await anyio.to_thread.run_sync(gateway.question, name, arguments)
    if question is None:
        return None
    if not _can_ask(context.session.client_capabilities):
        reason = "a person has to confirm this call, and this client cannot ask one: it declares no elicitation"
        return _result(gateway.refuse(name, arguments, reason)) if must_ask else None
    form = types.ElicitRequestFormParams(message=question, requested_schema={"type": "object", "properties": {}})
    answer: Any
    if is_version_at_least(context.protocol_version, "2026-07-28"):
        # The key is of this call alone: consent to another does not answer it.
        key = hashlib.sha256(json.dumps([name, arguments], sort_keys=True).encode()).hexdigest()
        answer = (params.input_responses or {}).get(key)
        if answer is None:
            return types.InputRequiredResult(input_requests={key: types.ElicitRequest(params=form)})
    else:
        answer = await context.session.elicit_form(question, form.requested_schema, context.request_id)
    if isinstance(answer, types.ElicitResult) and answer.action == "accept":
        return None
    return _result(gateway.refuse(name, arguments, "the user did not agree to this call; do not try it again unasked"))


def _can_ask(capabilities: types.ClientCapabilities | None) -> bool:
    """Whether a client shows forms: `elicitation: {}` says so, too."""
    found = capabilities.elicitation if capabilities else None
    return found is not None and (found.form is not None or found.url is None)


async def serve_stdio(gateway: Gateway, confirm: Confirm = "never") -> None:
    """Serves one client over this process's standard input and output, until it closes them."""
    from mcp.server.stdio import stdio_server

    server = mcp_server(gateway, confirm)
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())


def http_app(gateway: Gateway, host: str = "127.0.0.1", confirm: Confirm = "never") -> Starlette:
    """The server over streamable HTTP, at /mcp. Requests to this machine's own addresses must name them (DNS rebinding)."""
    return mcp_server(gateway, confirm).streamable_http_app(host=host)


def _search(gateway: Gateway, given: Mapping[str, Any]) -> types.CallToolResult:
    found = gateway.search(given["query"], given.get("limit", 5))
    lines = [f"{one.name}: {one.description}" for one in found.tools] or ["nothing was found"]
    if found.is_declined:
        lines.insert(0, "probably no tool of the catalog fits; the nearest are")
    value: dict[str, Any] = {
        "tools": [one.to_dict() for one in found.tools],
        "probably_none_fits": found.is_declined,
    }
    if found.confidence is not None:
        value["confidence"] = round(found.confidence, 4)
    return _structured(value, "\n".join(lines))


def _structured(value: dict[str, Any], text: str | None = None) -> types.CallToolResult:
    shown = json.dumps(value, ensure_ascii=False) if text is None else text
    return types.CallToolResult(content=[types.TextContent(text=shown)], structured_content=value)


def _result(result: ToolResult) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(text=result.content)], is_error=result.is_error)


def _failed(text: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(text=text)], is_error=True)
