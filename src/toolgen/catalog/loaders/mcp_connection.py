"""Connections to MCP servers for the official SDK's client: over stdio, streamable HTTP or the older SSE transport, bounded.

A server is foreign code or a foreign machine. What it sends is counted unpacked, and mended where one odd value would cost
a message. A server that was started ends with this process, killed too. An address that the user named may be anywhere;
another must be public; each is resolved once; redirects stay on it (the SDK's rule).
"""

from __future__ import annotations

import logging
import re
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from toolgen.catalog.loaders.mcp_endpoint import McpServer, check_address
from toolgen.catalog.loaders.mcp_messages import readable
from toolgen.errors import MissingExtraError
from toolgen.foreign.data import clean_text

if TYPE_CHECKING:
    from mcp import Client

_GUARD = Path(__file__).with_name("mcp_guard.py")


@dataclass(frozen=True)
class Options:
    """How a connection is bounded: seconds of silence over HTTP, in one that is `lasting` only until it is connected; bytes, in
    all or for each answer if it is `lasting`; whether the user named the server himself, so that it is `trusted` to be
    anywhere."""

    timeout: float
    limit: int
    lasting: bool = False
    trusted: bool = True


class UnreadableMessageError(Exception):
    """A server sent a message that is none."""


@asynccontextmanager
async def connected(
    server: McpServer,
    errors: IO[bytes],
    options: Options,
    on_message: Callable[[Any], None] = lambda _message: None,
    on_end: Callable[[], None] = lambda: None,
) -> AsyncIterator[Client]:
    """A client of a server whose variables are filled in, after the handshake.

    `on_message` sees each message before the SDK, and may change it; `on_end` is called when no more can come, or the server
    has lost the session. What a started server says on standard error is in `errors` when it has ended.

    Servers of older SDKs do not survive the first question of revision 2026-07-28, `server/discover`, and newer ones say that
    their tools have changed only to who has asked it. So a server that is started to be listed is asked to initialize, as
    all revisions before have it, and next, where the answer is an error, in the newer way. One that is to last is
    greeted in the newer way first, and once more in the older where it ends of that.
    """
    from mcp import Client

    older, newer = "legacy", "auto"
    modes = (newer,) if server.url else (newer, older) if options.lasting else (older, newer)
    for mode in modes:
        async with AsyncExitStack() as opened:
            ended = _Ended(on_end)
            transport = _connection(server, errors, options, on_message, ended)
            try:
                client = await opened.enter_async_context(Client(transport, cache=None, mode=mode))
            except Exception as error:
                if mode == modes[-1] or not _is_worth_another(error, ended=mode == newer):
                    raise
                continue
            ended.tell()
            yield client
            return


def _is_worth_another(error: Exception, *, ended: bool) -> bool:
    """Whether a handshake failed as it may where the server knows only the other one: by its end, or by an answer."""
    from mcp.shared.exceptions import MCPError
    from mcp_types import CONNECTION_CLOSED

    fault = _first(error)
    return isinstance(fault, MCPError) and (fault.code == CONNECTION_CLOSED) == ended


class _Ended:
    """Hands on that no more can come, once there is somebody to tell."""

    def __init__(self, on_end: Callable[[], None]) -> None:
        self._on_end = on_end
        self._told = self._over = False

    def __call__(self) -> None:
        self._over = True
        if self._told:
            self._on_end()

    def tell(self) -> None:
        self._told = True
        if self._over:
            self._on_end()


@asynccontextmanager
async def _connection(
    server: McpServer,
    errors: IO[bytes],
    options: Options,
    on_message: Callable[[Any], None],
    on_end: Callable[[], None],
) -> AsyncIterator[Any]:
    """The SDK's transport to a server. A message that cannot be read ends it: whoever waits for that would wait for ever."""
    import anyio

    async with _transport(server, errors, options, on_end) as (incoming, outgoing):
        sender, receiver = anyio.create_memory_object_stream[Any](0)

        async def pass_on() -> None:
            try:
                async with sender:
                    async for message in incoming:
                        if isinstance(message, Exception):
                            message = _read_again(message)
                        if message is not None:
                            on_message(message)
                            await sender.send(message)
            except UnreadableMessageError as error:
                errors.write(f"\na message of it cannot be read: {error}".encode())
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                pass  # the session has ended
            finally:
                on_end()

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


def _transport(server: McpServer, errors: IO[bytes], options: Options, on_lost: Callable[[], None]) -> Any:
    if server.url:
        check_address(server.url)
        from toolgen.catalog.loaders.mcp_http import http_transport

        return http_transport(
            server,
            timeout=options.timeout,
            limit=options.limit,
            lasting=options.lasting,
            trusted=options.trusted,
            on_fault=lambda words: errors.write(f"\n{words}".encode()),
            on_lost=on_lost,
        )
    from mcp import StdioServerParameters
    from mcp.client.stdio import stdio_client

    parameters = StdioServerParameters(
        command=sys.executable,
        args=["-I", str(_GUARD), str(options.limit), "answer" if options.lasting else "whole", *server.command],
        env=dict(server.env),
        cwd=server.cwd or None,
        encoding_error_handler="replace",
    )
    return stdio_client(parameters, errlog=errors)  # type: ignore[arg-type]  # only its file descriptor is used


# --- around it --------------------------------------------------------------------------------------------------------


def fault_of(error: BaseException, timeout: float) -> str:
    """Why a connection failed, in one line."""
    error = _first(error)
    if isinstance(error, TimeoutError):
        return f"it did not answer within {timeout:g} s"
    return " ".join(str(error).split())[:300] or type(error).__name__


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def with_words(fault: str, words: str) -> str:
    """A fault and what the server said last, if that says more."""
    return f"{fault} ({words})" if words and words not in fault else fault


# Lines of standard error that say where a fault was, not which: stack frames of Node and Python, brackets, a version.
_WHERE = re.compile(r"at \S|File \"|Node\.js v\d|[^A-Za-z]*$")
_FAULT = re.compile(r"error|exception|fatal|panic", re.IGNORECASE)


def last_words(errors: IO[bytes]) -> str:
    """What a server that failed said last on standard error of a fault, or of anything; or its HTTP status."""
    errors.seek(0)
    lines = [line.strip() for line in errors.read(1 << 16).decode("utf-8", "replace").split("\n")]
    said = [line for line in lines if not _WHERE.match(line)]
    words = [*said[-1:], *(line for line in said if _FAULT.search(line))]
    return clean_text(words[-1] if words else "")[:300]


_QUIET = threading.Lock()
_quiet_for = 0  # how many connections there are


@contextmanager
def quiet_sdk() -> Iterator[None]:
    """The SDK logs a traceback for each line that is no message; a server can write millions."""
    _be_quiet(1)
    try:
        yield
    finally:
        _be_quiet(-1)


def _be_quiet(more: int) -> None:
    global _quiet_for
    with _QUIET:
        _quiet_for += more
        logging.getLogger("mcp").setLevel(logging.CRITICAL + 1 if _quiet_for else logging.NOTSET)


def require_sdk() -> None:
    """MissingExtraError without the package mcp, or with one before version 2."""
    try:
        major = int(version("mcp").partition(".")[0])
    except (PackageNotFoundError, ValueError):
        major = 0
    if major < 2:
        raise MissingExtraError("mcp>=2.2", "mcp")
