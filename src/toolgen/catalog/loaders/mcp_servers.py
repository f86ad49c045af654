"""Reads the tools of MCP servers, with the official SDK: over stdio, over HTTP, or all of a client's file.

A place is a command line (`python -m mcp_server_time`, run without a shell), an address (`https://host/mcp`), or the file
of a client (`mcp.json`). Every page of `tools/list` is read. A server is foreign code: time, bytes and number of tools are
bounded, it is never left running, and a tool that breaks the protocol is one loss instead of a lost page. Nothing is
called.

Source: Model Context Protocol, revisions 2025-11-25 and 2026-07-28.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from toolgen.catalog.loaders.common import LoadedTools
from toolgen.catalog.loaders.mcp_client_files import NamedServer, servers_at
from toolgen.catalog.loaders.mcp_connection import (
    Options,
    connected,
    fault_of,
    last_words,
    quiet_sdk,
    require_sdk,
    with_words,
)
from toolgen.catalog.loaders.mcp_endpoint import McpServer, endpoint_of
from toolgen.catalog.loaders.report import LoadReport, Loss
from toolgen.catalog.naming import tool_id, unique_ids
from toolgen.catalog.normalization import normalize_schema, normalize_value_schema
from toolgen.catalog.tool import Tool
from toolgen.errors import CatalogError
from toolgen.foreign.data import clean

if TYPE_CHECKING:
    from mcp import Client

MAX_BYTES = 128 << 20
TIMEOUT = 60.0  # seconds for one server, from its start to its last page
AT_ONCE = 8  # servers that run at the same time
MAX_TOOLS = 100_000
MAX_PAGES = 10_000
_NAMED = 3  # servers, in the line of a report; more are counted
_HINTS = ("readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint")


@dataclass
class Listing:
    """What one server has sent so far, and the `fault` that ended it, if one did."""

    provider: str = ""
    fault: str = ""
    records: list[dict[str, Any]] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def lose(self, name: str, reason: str) -> None:
        self.losses.append(Loss(name, reason))


def load_mcp(
    place: str, *, timeout: float = TIMEOUT, on_progress: Callable[[int, int], None] | None = None
) -> LoadedTools:
    """The tools of the servers behind `place`, providers named as the servers name themselves or as the file does.

    Of several servers, one that cannot be read is a loss. One that ends or hangs half-way keeps the tools that it had
    sent, and the rest is a loss. CatalogError if the only server cannot be read at all; UsageError for a place that is
    none; MissingExtraError without the package mcp. Takes at most `timeout` seconds and some for stopping, a server, of
    which several run at once; `on_progress` hears how many are done, of how many.
    """
    require_sdk()
    found = servers_at(place)
    tools: list[Tool] = []
    losses = list(found.losses)
    notes = list(found.notes)
    listings = _listings([server.ready for server in found.servers], timeout, on_progress)
    for server, listing in zip(found.servers, listings, strict=True):
        name = str(server.ready)
        losses += listing.losses
        if listing.fault and listing.records:
            losses.append(Loss(name, f"{listing.fault}; {len(listing.records):,} tools read before were kept"))
        elif listing.fault and found.several:
            losses.append(Loss(name, listing.fault))
        elif listing.fault:
            raise CatalogError(f"MCP server {name}: {listing.fault}")
        tools += tools_of(listing, server, notes)
    ids = unique_ids(tool.id for tool in tools)
    notes += [f"{new}: id {given!r} was taken" for given, new in ids.renamed]
    tools = [replace(tool, id=unique) for tool, unique in zip(tools, ids.ids, strict=True)]
    names = ", ".join(str(server.ready) for server in found.servers)
    source = f"{Path(place).name} ({len(found.servers)} servers)" if len(found.servers) > _NAMED else names
    report = LoadReport(source=f"mcp:{source}", loaded=len(tools), losses=tuple(losses), notes=tuple(notes))
    return LoadedTools(tuple(tools), report)


# --- the protocol -----------------------------------------------------------------------------------------------------


def _listings(
    servers: Sequence[McpServer], timeout: float, on_progress: Callable[[int, int], None] | None
) -> list[Listing]:
    """What each server lists, or the fault because of which it lists nothing."""
    import anyio

    with suppress(RuntimeError):
        asyncio.get_running_loop()
        raise CatalogError("MCP servers cannot be read inside a running event loop; use a thread")
    listings = [Listing() for _ in servers]

    async def list_all() -> None:
        limiter = anyio.CapacityLimiter(AT_ONCE)
        done = 0

        async def list_one(server: McpServer, listing: Listing) -> None:
            nonlocal done
            async with limiter:
                await _list_tools(server, listing, timeout)
            done += 1
            if on_progress:
                on_progress(done, len(servers))

        async with anyio.create_task_group() as tasks:
            for server, listing in zip(servers, listings, strict=True):
                tasks.start_soon(list_one, server, listing)

    with quiet_sdk():
        anyio.run(list_all)
    return listings


async def _list_tools(server: McpServer, listing: Listing, timeout: float) -> None:
    if server.command and not _is_installed(server):
        listing.fault = f"there is no program {server.command[0]!r}; is it installed?"
        return
    with tempfile.TemporaryFile() as errors:
        try:
            await _read_pages(server, listing, timeout, errors)
        except Exception as error:  # SDK, transport and validation all have families of their own
            listing.fault = with_words(fault_of(error, timeout), last_words(errors))


def _is_installed(server: McpServer) -> bool:
    program = server.command[0]
    program = os.path.join(server.cwd, program) if os.path.dirname(program) else program
    return shutil.which(program, path=server.env.get("PATH")) is not None


async def _read_pages(server: McpServer, listing: Listing, timeout: float, errors: IO[bytes]) -> None:
    import anyio

    options = Options(timeout, MAX_BYTES)
    with anyio.fail_after(timeout):
        async with connected(server, errors, options, lambda message: record_tools(message, listing)) as client:
            await read_pages(client, server, listing)


async def read_pages(client: Client, server: McpServer, listing: Listing) -> None:
    """Reads every page of a server's tools over a connection whose messages `record_tools` sees, too."""
    introduced = client.server_info.name if client.server_info else ""
    listing.provider = server.name or clean(introduced).strip() or str(server)
    cursor: str | None = None
    seen: set[str] = set()
    while True:
        before = len(listing.records)
        page = await client.list_tools(cursor=cursor)
        kept = {tool.name for tool in page.tools}
        for refused in [one for one in listing.records[before:] if one["name"] not in kept]:
            listing.lose(refused["name"], "the SDK refuses it: its x-mcp-header is invalid")
        listing.records[before:] = [one for one in listing.records[before:] if one["name"] in kept]
        cursor = page.next_cursor
        if not cursor:  # some say "" for the end
            return
        if cursor in seen:
            return listing.lose(str(server), "its pages go round in circles; they were read once")
        seen.add(cursor)
        if len(listing.records) >= MAX_TOOLS or len(seen) >= MAX_PAGES:
            bound = f"{MAX_TOOLS:,} tools or {MAX_PAGES:,} pages"
            return listing.lose(str(server), f"it lists more than {bound}; the rest was not read")


def record_tools(message: Any, listing: Listing) -> None:
    """Takes the tools out of an answer as they were sent. The SDK gets what it cannot refuse, since it would refuse a whole
    page for one odd value: names, and schemas for their headers."""
    result = getattr(getattr(message, "message", None), "result", None)
    if not isinstance(result, dict) or not isinstance(result.get("tools"), list):
        return
    sound: list[dict[str, Any]] = []
    for position, one in enumerate(clean(result["tools"]), start=len(listing.records) + 1):
        name = one.get("name") if isinstance(one, dict) else None
        if problem := _problem(one):
            listing.lose(str(name or f"tool {position}")[:200], f"not a tool of MCP: {problem}")
        else:
            sound.append(one)
    listing.records += sound
    cursor = result.get("nextCursor")
    if isinstance(cursor, (dict, list)):
        listing.lose("later pages", f"not a page of MCP: its nextCursor is a {type(cursor).__name__}, not a text")
    following = {} if isinstance(cursor, (dict, list)) or cursor in (None, "") else {"nextCursor": str(cursor)}
    minimal = [{"name": one["name"], "inputSchema": one["inputSchema"] | {"type": "object"}} for one in sound]
    result.clear()
    result.update(tools=minimal, resultType="complete", ttlMs=0, cacheScope="private", **following)


def _problem(tool: Any) -> str:
    """Why something is no tool; empty if it is one."""
    if not isinstance(tool, dict):
        return f"an object was expected, got {type(tool).__name__}"
    if not isinstance(tool.get("name"), str) or not tool["name"].strip():
        return "it has no name"
    schema = tool.get("inputSchema")
    if not isinstance(schema, dict):
        return f"its inputSchema is {'missing' if schema is None else 'no object'}"
    kind = schema.get("type", "object")
    if kind not in ("object", ["object"]) and not (isinstance(kind, list) and "object" in kind):
        return f"its inputSchema is of type {str(kind)[:60]!r}; arguments are an object"
    return ""


# --- results ----------------------------------------------------------------------------------------------------------


def tools_of(listing: Listing, server: NamedServer, notes: list[str]) -> list[Tool]:
    """What a server has listed, without what the user has switched off."""
    kept = [record for record in listing.records if server.ready.has(record["name"])]
    if off := len(listing.records) - len(kept):
        notes.append(f"{listing.provider}: {off} tools that the file switches off were left out")
    endpoint = endpoint_of(server.written)
    if endpoint.variables and kept:
        names = ", ".join(endpoint.variables)
        where = "its keys and variables are not in the catalog"
        notes.append(f"{listing.provider}: {where}; to call its tools, name it (--mcp-server) or set '{names}'")
    return [_tool(record, listing.provider, endpoint.record, notes) for record in kept]


def _tool(record: Mapping[str, Any], provider: str, endpoint: Mapping[str, Any], notes: list[str]) -> Tool:
    name = record["name"]
    identity = tool_id(provider, name)
    schema, returns = record["inputSchema"], record.get("outputSchema")
    if not {"type", "properties", "allOf", "anyOf", "oneOf", "$ref"} & schema.keys():
        notes.append(f"{identity}: its inputSchema says nothing; taken as no arguments")
    if returns is not None and not isinstance(returns, dict):
        notes.append(f"{identity}: its outputSchema is no object; left out")
    hints = _annotations(record, notes)
    return Tool(
        id=identity,
        provider=provider,
        name=name,
        description=_text(record, "description", notes),
        parameters=normalize_schema(schema, on_note=lambda line: notes.append(f"{identity}: {line}")),
        returns=normalize_value_schema(returns) if isinstance(returns, dict) else None,
        endpoint={"kind": "mcp", "server": provider, "tool": name, **endpoint}
        | ({"annotations": hints} if hints else {}),
        source={"format": "mcp", "name": name},
    )


def _annotations(record: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    given = record.get("annotations")
    hints = given if isinstance(given, dict) else {}
    known = {key: hints[key] for key in _HINTS if isinstance(hints.get(key), bool)}
    odd = [key for key in _HINTS if hints.get(key) is not None and key not in known]
    if odd or (given is not None and hints is not given):
        notes.append(
            f"{record['name']}: its annotations are not those of MCP ({', '.join(odd) or 'no object'}); left out"
        )
    title = _text(record, "title", notes) or _text({"name": record["name"], **hints}, "title", notes)
    return known | ({"title": title} if title else {})


def _text(record: Mapping[str, Any], key: str, notes: list[str]) -> str:
    value = record.get(key)
    if value is not None and not isinstance(value, str):
        notes.append(f"{record['name']}: its {key} is no text; left out")
    return value.strip() if isinstance(value, str) else ""
