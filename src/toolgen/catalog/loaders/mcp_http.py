"""MCP servers over HTTP, streamable or the older SSE transport: each host is resolved once, what comes is counted unpacked,
and JSON is mended before the SDK parses it. Imported only where the package mcp is installed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx2
from mcp.client.sse import sse_client
from mcp.client.streamable_http import MCP_SESSION_ID, streamable_http_client

from toolgen.catalog.loaders.mcp_endpoint import McpServer
from toolgen.catalog.loaders.mcp_messages import readable
from toolgen.errors import InputError
from toolgen.foreign.web import Unpacking, check_headers, public_addresses, resolved

OnFault = Callable[[str], object]
OnLost = Callable[[], object]

CONNECT_SECONDS = 10.0  # at most, for each address
STOP_SECONDS = 2.0  # for a server to hear that its session ends


@asynccontextmanager
async def http_transport(
    server: McpServer, *, timeout: float, limit: int, lasting: bool, trusted: bool, on_fault: OnFault, on_lost: OnLost
) -> AsyncIterator[Any]:
    """The SDK's transport. At most `limit` bytes come in answer to one request if it is `lasting`, else in all, and after at
    most `timeout` seconds of silence if it is not. Hosts of a server that is not `trusted` must be public. `on_fault` is told
    what the SDK does not say, such as a status; `on_lost` is called when the server knows the session no more."""
    check_headers(server.headers)
    bounds = _Bounds(limit, lasting, trusted, on_fault, on_lost)
    seconds = httpx2.Timeout(None if lasting else timeout, connect=min(timeout, CONNECT_SECONDS))

    def client(*_: Any, **__: Any) -> httpx2.AsyncClient:
        own = {"Accept-Encoding": "identity", "User-Agent": "toolgen", **server.headers}
        headers = httpx2.Headers(own, encoding="latin-1")
        return httpx2.AsyncClient(headers=headers, transport=_Transport(bounds), timeout=seconds)

    if server.sse:
        async with sse_client(server.url, httpx_client_factory=client) as streams:
            yield streams
        return
    async with (
        client() as http,
        streamable_http_client(server.url, http_client=http, max_sse_event_size=None) as streams,
    ):
        yield streams


class _Bounds:
    """What all answers of one server have in common."""

    def __init__(self, limit: int, lasting: bool, trusted: bool, on_fault: OnFault, on_lost: OnLost) -> None:
        self.limit, self.lasting, self.on_fault, self.on_lost = limit, lasting, on_fault, on_lost
        self._trusted = trusted
        self._received = 0
        self._addresses: dict[str, list[str]] = {}

    async def addresses(self, host: str) -> list[str]:
        """Where a host was at the first look: a name that resolves otherwise later leads nowhere else."""
        if host not in self._addresses:
            look = resolved if self._trusted else public_addresses
            try:
                self._addresses[host] = await anyio.to_thread.run_sync(look, host, 0, abandon_on_cancel=True)
            except InputError as error:
                raise self.fault(error) from None
        return self._addresses[host]

    def start(self) -> None:
        """A request is sent."""
        if self.lasting:
            self._received = 0

    def count(self, size: int) -> None:
        """InputError if that is too much."""
        self._received += size
        if self._received > self.limit:
            raise InputError(f"it wrote more than {self.limit >> 20} MB")

    def fault(self, error: Exception) -> httpx2.TransportError:
        """An error that the SDK knows."""
        self.on_fault(str(error))
        return httpx2.ReadError(str(error))


class _Transport(httpx2.AsyncHTTPTransport):
    def __init__(self, bounds: _Bounds) -> None:
        super().__init__()
        self._bounds = bounds

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.method != "DELETE":
            return await self._answer(request)
        with anyio.fail_after(STOP_SECONDS):  # it ends the session; nobody needs the answer
            response = await self._answer(request)
            await response.stream.aclose()  # type: ignore[union-attr]  # which is asynchronous here
        return httpx2.Response(response.status_code, headers=response.headers)

    async def _answer(self, request: httpx2.Request) -> httpx2.Response:
        if request.method == "POST":
            self._bounds.start()
        response = await self._reached(request)
        if response.status_code >= 400:
            self._bounds.on_fault(f"the server answers {response.status_code}")
        if response.status_code == 404 and request.method == "POST" and MCP_SESSION_ID in request.headers:
            self._bounds.on_lost()
        try:
            packing = response.headers.get("content-encoding", "")
            unpacking = Unpacking(packing, self._bounds.limit, str(request.url))
        except InputError as error:
            await response.stream.aclose()  # type: ignore[union-attr]  # which is asynchronous here
            raise self._bounds.fault(error) from None
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        for name in ("content-encoding", "content-length"):
            response.headers.pop(name, None)
        response.stream = _Mended(response.stream, unpacking, self._bounds, is_events=kind == "text/event-stream")
        return response

    async def _reached(self, request: httpx2.Request) -> httpx2.Response:
        """From the first address of the host that lets itself be connected to; it is the first to be tried the next time."""
        host = request.url.host
        addresses = await self._bounds.addresses(host)
        problem: httpx2.TransportError | None = None
        for address in tuple(addresses):
            there = httpx2.Request(
                request.method,
                request.url.copy_with(host=address),
                headers=request.headers,
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": host},
            )
            try:
                response = await super().handle_async_request(there)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                problem = error
                continue
            addresses.sort(key=address.__ne__)
            return response
        raise problem or httpx2.ConnectError("the name has no address")


class _Mended(httpx2.AsyncByteStream):
    """An answer without its packing, counted, and with JSON that the SDK can parse."""

    def __init__(self, stream: Any, unpacking: Unpacking, bounds: _Bounds, *, is_events: bool) -> None:
        self._stream, self._unpacking, self._bounds, self._is_events = stream, unpacking, bounds, is_events

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pending = bytearray()
        async for chunk in self._plain():
            pending += chunk
            if self._is_events and b"\n" in chunk:
                lines, _, rest = bytes(pending).rpartition(b"\n")
                pending = bytearray(rest)
                yield b"".join(_line(line) + b"\n" for line in lines.split(b"\n"))
        if pending:
            yield bytes(pending) if self._is_events else _body(bytes(pending))

    async def _plain(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._stream:
                plain = self._unpacking.take(chunk)
                self._bounds.count(len(plain))
                yield plain
            self._unpacking.end()
        except InputError as error:
            raise self._bounds.fault(error) from None

    async def aclose(self) -> None:
        await self._stream.aclose()


def _line(line: bytes) -> bytes:
    """A line of an event stream; what it says is one JSON message."""
    return b"data: " + _body(line[5:].strip()) if line.startswith(b"data:") and b"{" in line else line


def _body(body: bytes) -> bytes:
    try:
        return readable(body)
    except ValueError:  # the SDK says why
        return body
