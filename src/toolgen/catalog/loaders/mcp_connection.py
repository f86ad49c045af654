"""Connections to MCP servers for the official SDK's client: over stdio, streamable HTTP or the older SSE transport, bounded.

A server is foreign code or a foreign machine. What it sends is counted unpacked, and mended where one odd value would cost
a message. A server that was started ends with this process, killed too. An address that the user named may be anywhere;
another must be public; each is resolved once; redirects stay on it (the SDK's rule).
"""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from toolgen.catalog.loaders.mcp_endpoint import McpServer
from toolgen.catalog.loaders.mcp_messages import readable
from toolgen.errors import InputError, MissingExtraError
from toolgen.foreign.data import clean_text
from toolgen.foreign.web import Unpacking, public_addresses, resolved

if TYPE_CHECKING:
    import httpx2

MAX_BYTES = 128 << 20  # of one answer: what a server writes between two requests
_GUARD = Path(__file__).with_name("mcp_guard.py")


@dataclass(frozen=True)
class Options:
    """How a connection is bounded: seconds of silence over HTTP; whether it is `lasting`, so that bytes are counted for each
    answer and not in all; whether the user named the server himself, so that it is `trusted` to be anywhere."""

    timeout: float
    lasting: bool = False
    trusted: bool = True


class UnreadableMessageError(Exception):
    """A server sent a message that is none."""


@asynccontextmanager
async def connection(
    server: McpServer, errors: IO[bytes], options: Options, on_message: Callable[[Any], None] | None = None
) -> AsyncIterator[Any]:
    """The SDK's transport to a server whose variables are filled in.

    `on_message` sees each message before the SDK, and may change it. What a started server says on standard error is in
    `errors` when it has ended. A message that cannot be read ends the connection: whoever waits for it would wait for ever.
    """
    import anyio

    async with _transport(server, errors, options) as (incoming, outgoing):
        sender, receiver = anyio.create_memory_object_stream[Any](0)

        async def pass_on() -> None:
            try:
                async with sender:
                    async for message in incoming:
                        if isinstance(message, Exception):
                            message = _read_again(message)
                        if message is not None and on_message is not None:
                            on_message(message)
                        if message is not None:
                            await sender.send(message)
            except UnreadableMessageError as error:
                errors.write(f"\na message of it cannot be read: {error}".encode())
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                pass  # the session has ended

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pass_on)
            try:
                yield receiver, outgoing
            finally:
                tasks.cancel_scope.cancel()


def _read_again(error: Exception) -> Any:
    """A message that the SDK could not parse, mended; None if its line is no message; UnreadableMessageError if it is one that
    cannot be mended."""
    from mcp.shared.message import SessionMessage
    from mcp_types import jsonrpc_message_adapter
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return error
    fault = error.errors()[0]
    given = fault["input"]
    if fault["type"] == "json_invalid" and isinstance(given, str):
        try:
            mended = readable(given.encode("utf-8", "replace"))
            return SessionMessage(jsonrpc_message_adapter.validate_json(mended, by_name=False))
        except ValueError:
            pass
    if not (isinstance(given, (str, dict)) and "jsonrpc" in given):  # a log line
        return None
    raise UnreadableMessageError(fault["msg"])


def _transport(server: McpServer, errors: IO[bytes], options: Options) -> Any:
    if server.url:
        return _http(server, errors, options)
    from mcp import StdioServerParameters
    from mcp.client.stdio import stdio_client

    parameters = StdioServerParameters(
        command=sys.executable,
        args=["-I", str(_GUARD), str(MAX_BYTES), "answer" if options.lasting else "whole", *server.command],
        env=dict(server.env),
        cwd=server.cwd or None,
        encoding_error_handler="replace",
    )
    return stdio_client(parameters, errlog=errors)  # type: ignore[arg-type]  # only its file descriptor is used


@asynccontextmanager
async def _http(server: McpServer, errors: IO[bytes], options: Options) -> AsyncIterator[Any]:
    import httpx2
    from mcp.client.sse import sse_client
    from mcp.client.streamable_http import streamable_http_client

    def client(*_: Any, **__: Any) -> httpx2.AsyncClient:
        headers = {"Accept-Encoding": "identity", "User-Agent": "toolgen", **server.headers}
        return httpx2.AsyncClient(headers=headers, transport=_bounded(errors, options), timeout=options.timeout)

    if server.sse:
        async with sse_client(server.url, httpx_client_factory=client) as streams:
            yield streams
        return
    async with (
        client() as http,
        streamable_http_client(server.url, http_client=http, max_sse_event_size=None) as streams,
    ):
        yield streams


def _bounded(errors: IO[bytes], options: Options) -> httpx2.AsyncBaseTransport:
    """A transport that resolves each host once, counts what comes unpacked, and mends JSON."""
    import anyio
    import httpx2

    addresses: dict[str, str] = {}
    received = 0

    class Bounded(httpx2.AsyncHTTPTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            nonlocal received
            host = request.url.host
            if host not in addresses:
                look = resolved if options.trusted else public_addresses
                addresses[host] = (await anyio.to_thread.run_sync(look, host, 0, abandon_on_cancel=True))[0]
            there = httpx2.Request(
                request.method,
                request.url.copy_with(host=addresses[host]),
                headers=request.headers,
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": host},
            )
            response = await super().handle_async_request(there)
            if response.status_code >= 400:
                errors.write(b"\nthe server answers %d" % response.status_code)
            if options.lasting and request.method == "POST":
                received = 0
            unpacking = Unpacking(response.headers.get("content-encoding", ""), MAX_BYTES, str(request.url))
            kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            for name in ("content-encoding", "content-length"):
                response.headers.pop(name, None)
            response.stream = Mended(response.stream, unpacking, kind)
            return response

    class Mended(httpx2.AsyncByteStream):
        def __init__(self, stream: Any, unpacking: Unpacking, kind: str) -> None:
            self._stream, self._unpacking, self._kind = stream, unpacking, kind

        async def __aiter__(self) -> AsyncIterator[bytes]:
            pending = bytearray()
            async for chunk in self._plain():
                pending += chunk
                if self._kind == "text/event-stream" and b"\n" in chunk:
                    lines, _, rest = bytes(pending).rpartition(b"\n")
                    pending = bytearray(rest)
                    yield b"".join(_mended_line(line) + b"\n" for line in lines.split(b"\n"))
            if pending:
                yield _mended_body(bytes(pending))

        async def _plain(self) -> AsyncIterator[bytes]:
            nonlocal received
            try:
                async for chunk in self._stream:
                    plain = self._unpacking.take(chunk)
                    received += len(plain)
                    if received > MAX_BYTES:
                        raise InputError(f"it wrote more than {MAX_BYTES >> 20} MB")
                    yield plain
                self._unpacking.end()
            except InputError as error:
                errors.write(b"\n" + str(error).encode())
                raise httpx2.ReadError(str(error)) from None

        async def aclose(self) -> None:
            await self._stream.aclose()

    return Bounded()


def _mended_line(line: bytes) -> bytes:
    """A line of an event stream; what it says is one JSON message."""
    return b"data: " + _mended_body(line[5:].strip()) if line.startswith(b"data:") and b"{" in line else line


def _mended_body(body: bytes) -> bytes:
    try:
        return readable(body)
    except ValueError:  # the SDK says why
        return body


# --- around it --------------------------------------------------------------------------------------------------------


def fault_of(error: BaseException, timeout: float) -> str:
    """Why a connection failed, in one line."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, TimeoutError):
        return f"it did not answer within {timeout:g} s"
    return " ".join(str(error).split())[:300] or type(error).__name__


def last_words(errors: IO[bytes]) -> str:
    """What a server that failed said last on standard error, or its HTTP status."""
    errors.seek(0)
    lines = errors.read(1 << 16).decode("utf-8", "replace").split("\n")
    words = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return clean_text(words)[:200]


@contextmanager
def quiet_sdk() -> Iterator[None]:
    """The SDK logs a traceback for each line that is no message; a server can write millions."""
    logger = logging.getLogger("mcp")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)


def require_sdk() -> None:
    """MissingExtraError without the package mcp, or with one before version 2."""
    try:
        major = int(version("mcp").partition(".")[0])
    except (PackageNotFoundError, ValueError):
        major = 0
    if major < 2:
        raise MissingExtraError("mcp>=2.2", "mcp")
