"""Reads the tools of MCP servers, with the official SDK: over stdio, over streamable HTTP, or all of a client's file.

A place is a command line (`python -m mcp_server_time`, run without a shell), an address (`https://host/mcp`), or a JSON
file with the key `mcpServers` as MCP clients have it. Every page of `tools/list` is read. A server is foreign code: time,
bytes and number of tools are bounded, it is never left running, and a tool that breaks the protocol is one loss instead
of a lost page. Nothing is called.

Source: Model Context Protocol, revisions 2025-11-25 and 2026-07-28.
"""

from __future__ import annotations

import asyncio
import json
import logging
import shlex
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

from toolgen.catalog.loaders.common import LoadedTools
from toolgen.catalog.loaders.report import LoadReport, Loss
from toolgen.catalog.naming import tool_id, unique_ids
from toolgen.catalog.normalization import normalize_schema, normalize_value_schema
from toolgen.catalog.tool import Tool
from toolgen.errors import CatalogError, MissingExtraError, UsageError
from toolgen.foreign.data import clean
from toolgen.foreign.web import is_url, shown_url

TIMEOUT = 60.0  # seconds for one server, from its start to its last page
MAX_BYTES = 128 << 20
MAX_TOOLS = 100_000
_LIMITED_OUTPUT = Path(__file__).with_name("limited_output.py")


@dataclass(frozen=True)
class Server:
    """How to reach one server: `command` (program and arguments) with more environment, or `url` with more headers.
    `name` is what the user calls it, empty for the name that it gives itself."""

    name: str = ""
    command: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name or (shown_url(self.url) if self.url else Path(self.command[0]).name)


@dataclass
class _Listing:
    """What one server has sent so far."""

    provider: str = ""
    records: list[dict[str, Any]] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    unreadable: str = ""  # the first of its messages that is none, as the SDK says it


def load_mcp(place: str, *, timeout: float = TIMEOUT) -> LoadedTools:
    """The tools of the servers behind `place`, providers named as the servers name themselves or as the file does.

    Of several servers, one that cannot be read is a loss. One that ends or hangs half-way keeps the tools that it had
    sent, and the rest is a loss. CatalogError if the only server cannot be read at all; UsageError for a place that is
    none; MissingExtraError without the package mcp. Takes at most `timeout` seconds and some for stopping, a server.
    """
    _require_sdk()
    servers = _servers(place)
    tools: list[Tool] = []
    losses: list[Loss] = []
    notes: list[str] = []
    for server in servers:
        try:
            listing = _list_tools(server, timeout)
        except CatalogError as error:
            if len(servers) == 1:
                raise
            losses.append(Loss(str(server), str(error)))
            continue
        losses += listing.losses
        tools += [_tool(record, server, listing.provider, notes) for record in listing.records]
    ids = unique_ids(tool.id for tool in tools)
    notes += [f"{new}: id {given!r} was taken" for given, new in ids.renamed]
    tools = [replace(tool, id=unique) for tool, unique in zip(tools, ids.ids, strict=True)]
    report = LoadReport(
        source=f"mcp:{', '.join(map(str, servers))}", loaded=len(tools), losses=tuple(losses), notes=tuple(notes)
    )
    return LoadedTools(tuple(tools), report)


# --- places -----------------------------------------------------------------------------------------------------------


def _servers(place: str) -> list[Server]:
    if is_url(place):
        return [Server(url=place)]
    if place.lower().endswith(".json") and Path(place).is_file():
        return _from_file(Path(place))
    try:
        command = tuple(shlex.split(place))
    except ValueError as error:
        raise UsageError(f"mcp:{place}: the command line cannot be read: {error}") from error
    if not command:
        raise UsageError("mcp: lacks a server; write a command, an address, or a JSON file with the key mcpServers")
    return [Server(command=command)]


def _from_file(path: Path) -> list[Server]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise CatalogError(f"cannot read {path}: {error}") from error
    listed = content.get("mcpServers") if isinstance(content, dict) else None
    if not isinstance(listed, dict) or not listed:
        raise CatalogError(f"{path} has no servers; expected {{'mcpServers': {{name: {{'command': ...}}}}}}")
    return [_server(name, entry, path) for name, entry in listed.items()]


def _server(name: str, entry: Any, path: Path) -> Server:
    entry = entry if isinstance(entry, dict) else {}
    if isinstance(entry.get("url"), str):
        return Server(name=name, url=entry["url"], headers=_texts(entry.get("headers")))
    if isinstance(entry.get("command"), str) and isinstance(arguments := entry.get("args", []), list):
        command = (entry["command"], *map(str, arguments))
        return Server(name=name, command=command, env=_texts(entry.get("env")))
    raise CatalogError(f"{path}: server {name!r} needs a 'command' with a list 'args', or a 'url'")


def _texts(value: Any) -> dict[str, str]:
    return {str(key): str(one) for key, one in value.items()} if isinstance(value, dict) else {}


# --- the protocol -----------------------------------------------------------------------------------------------------


def _list_tools(server: Server, timeout: float) -> _Listing:
    """Everything that a server lists; CatalogError if it lists nothing because of a fault."""
    import anyio

    if server.command and not shutil.which(server.command[0]):
        raise CatalogError(f"MCP server {server}: there is no program {server.command[0]!r}; is it installed?")
    with suppress(RuntimeError):
        asyncio.get_running_loop()
        raise CatalogError("MCP servers cannot be read inside a running event loop; use a thread")
    listing = _Listing()
    with tempfile.TemporaryFile() as errors, _quiet_sdk():
        try:
            anyio.run(_read_pages, server, listing, timeout, errors)
        except Exception as error:  # SDK, transport and validation all have families of their own
            words = _last_words(errors) or listing.unreadable
            reason = f"MCP server {server}: {_reason(error, timeout)}" + (f" ({words})" if words else "")
            if not listing.records:
                raise CatalogError(reason) from error
            listing.losses.append(Loss(str(server), f"{reason}; {len(listing.records):,} tools read before were kept"))
    return listing


async def _read_pages(server: Server, listing: _Listing, timeout: float, errors: IO[bytes]) -> None:
    import anyio
    from mcp import Client

    with anyio.fail_after(timeout):
        async with Client(_recording(_transport(server, errors), listing), cache=None) as client:
            introduced = client.server_info.name if client.server_info else ""
            listing.provider = server.name or clean(introduced).strip() or str(server)
            cursor: str | None = None
            seen: set[str] = set()
            while True:
                before = len(listing.records)
                page = await client.list_tools(cursor=cursor)
                kept = {tool.name for tool in page.tools}
                refused = [one for one in listing.records[before:] if one["name"] not in kept]
                listing.losses += [
                    Loss(one["name"], "the SDK refuses it: its x-mcp-header is invalid") for one in refused
                ]
                listing.records[before:] = [one for one in listing.records[before:] if one["name"] in kept]
                cursor = page.next_cursor
                if cursor is None:
                    return
                if cursor in seen:
                    listing.losses.append(Loss(str(server), "its pages go round in circles; they were read once"))
                    return
                if len(listing.records) >= MAX_TOOLS:
                    listing.losses.append(
                        Loss(str(server), f"it lists more than {MAX_TOOLS:,} tools; the rest was not read")
                    )
                    return
                seen.add(cursor)


def _transport(server: Server, errors: IO[bytes]) -> Any:
    """The SDK's transport, with a bound on what the server can send."""
    if server.url:
        return _http_transport(server)
    from mcp import StdioServerParameters
    from mcp.client.stdio import stdio_client

    parameters = StdioServerParameters(
        command=sys.executable,
        args=["-I", str(_LIMITED_OUTPUT), str(MAX_BYTES), *server.command],
        env=dict(server.env),
        encoding_error_handler="replace",
    )
    return stdio_client(parameters, errlog=errors)  # type: ignore[arg-type]  # only its file descriptor is used


@asynccontextmanager
async def _http_transport(server: Server) -> AsyncIterator[Any]:
    import httpx2
    from mcp.client.streamable_http import streamable_http_client

    class Limited(httpx2.AsyncHTTPTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            response = await super().handle_async_request(request)
            response.stream = _LimitedStream(response.stream)
            return response

    class _LimitedStream(httpx2.AsyncByteStream):
        received = 0

        def __init__(self, stream: Any) -> None:
            self._stream = stream

        async def __aiter__(self) -> AsyncIterator[bytes]:
            async for chunk in self._stream:
                _LimitedStream.received += len(chunk)
                if _LimitedStream.received > MAX_BYTES:
                    raise httpx2.ReadError(f"it wrote more than {MAX_BYTES >> 20} MB")
                yield chunk

        async def aclose(self) -> None:
            await self._stream.aclose()

    async with (
        httpx2.AsyncClient(headers=dict(server.headers), transport=Limited(), timeout=TIMEOUT) as client,
        streamable_http_client(server.url, http_client=client) as streams,
    ):
        yield streams


@asynccontextmanager
async def _recording(transport: Any, listing: _Listing) -> AsyncIterator[Any]:
    """The transport, with the tools of each page recorded as they were sent. Tools that break the protocol are taken out
    of the page: the SDK would refuse all of it."""
    import anyio

    async with transport as (incoming, outgoing):
        sender, receiver = anyio.create_memory_object_stream[Any](0)

        async def pass_on() -> None:
            try:
                async with sender:
                    async for message in incoming:
                        if isinstance(message, Exception) and not listing.unreadable:
                            listing.unreadable = f"a message of it cannot be read: {_one_line(message)}"
                        _record(message, listing)
                        await sender.send(message)
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                pass  # the session has ended

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pass_on)
            try:
                yield receiver, outgoing
            finally:
                tasks.cancel_scope.cancel()


def _record(message: Any, listing: _Listing) -> None:
    from mcp_types import Tool as ProtocolTool
    from pydantic import ValidationError

    result = getattr(getattr(message, "message", None), "result", None)
    if not isinstance(result, dict) or not isinstance(result.get("tools"), list):
        return
    sound = []
    for position, one in enumerate(clean(result["tools"]), start=len(listing.records) + 1):
        try:
            tool = ProtocolTool.model_validate(one, by_name=False)
            if not tool.name.strip():
                raise ValueError("it has no name")
        except (ValidationError, ValueError) as error:
            fault = error.errors()[0] if isinstance(error, ValidationError) else {"loc": ("name",), "msg": str(error)}
            name = one.get("name") if isinstance(one, dict) else None
            where = ".".join(map(str, fault["loc"])) or "tool"
            listing.losses.append(Loss(str(name or f"tool {position}"), f"not a tool of MCP: {where}: {fault['msg']}"))
            continue
        sound.append(one)
    result["tools"] = sound
    listing.records += sound


# --- results ----------------------------------------------------------------------------------------------------------


def _tool(record: Mapping[str, Any], server: Server, provider: str, notes: list[str]) -> Tool:
    name = record["name"]
    returns = record.get("outputSchema")
    annotations = {key: value for key, value in (record.get("annotations") or {}).items() if value is not None}
    if title := record.get("title"):
        annotations["title"] = title
    return Tool(
        id=tool_id(provider, name),
        provider=provider,
        name=name,
        description=(record.get("description") or "").strip(),
        parameters=normalize_schema(record["inputSchema"], on_note=lambda line: notes.append(f"{name}: {line}")),
        returns=normalize_value_schema(returns) if isinstance(returns, dict) else None,
        endpoint={"kind": "mcp", "server": provider, "tool": name}
        | ({"url": shown_url(server.url)} if server.url else {})
        | ({"annotations": annotations} if annotations else {}),
        source={"dataset": provider, "format": "mcp", "name": name},
    )


def _reason(error: BaseException, timeout: float) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, TimeoutError):
        return f"it did not answer within {timeout:g} s"
    return _one_line(error) or type(error).__name__


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


def _last_words(errors: IO[bytes]) -> str:
    """What a server that failed wrote last on standard error."""
    errors.seek(0)
    lines = errors.read(1 << 16).decode("utf-8", "replace").split("\n")
    words = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return str(clean(words))[:200]


@contextmanager
def _quiet_sdk() -> Iterator[None]:
    """The SDK logs a traceback for each line that is no message; a server can write millions."""
    logger = logging.getLogger("mcp")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)


def _require_sdk() -> None:
    try:
        major = int(version("mcp").partition(".")[0])
    except (PackageNotFoundError, ValueError):
        major = 0
    if major < 2:
        raise MissingExtraError("mcp>=2.2", "mcp")
