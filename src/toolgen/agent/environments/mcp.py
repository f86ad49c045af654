"""Tools of MCP servers, with the official SDK: a server is started or reached, as its endpoint says, at its first call.

A catalog is data: it starts nothing that its user did not name or agree to. The servers that the user names himself (a
command, an address, a client's file) are taken with what his file says; of others the user is asked. A call that gets no
answer in time, a server that ends or sends nonsense are results. A server that has ended, lost its session or answers nothing
at all any more is started or reached anew for the next call; calls that are under way by then may still come back.
"""

from __future__ import annotations

import asyncio
import json
import math
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from toolgen.agent.environments.mcp_watch import Watch
from toolgen.agent.environments.protocol import (
    CALL_SECONDS,
    PlainEnvironment,
    ToolResult,
    failed,
    no_answer,
    not_available,
)
from toolgen.catalog.catalog import Catalog
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
from toolgen.catalog.loaders.mcp_endpoint import McpServer, endpoint_of, filled_in, server_of, shown_server
from toolgen.catalog.loaders.mcp_servers import Listing, tools_of
from toolgen.catalog.tool import Tool
from toolgen.datasets.task import Task
from toolgen.errors import CatalogError
from toolgen.foreign.data import clean_text

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from anyio import CancelScope, Event
    from anyio.from_thread import BlockingPortal
    from mcp import Client
    from mcp_types import CallToolResult

Approve = Callable[[str], bool]
"""Whether a server that only the catalog names may be started or reached; it gets the command line or address."""

OnTools = Callable[[str, Sequence[str], Sequence[Tool]], None]
"""Hears, in a thread of the server's own, which server it is, the ids of its tools in the catalog, and the tools it lists."""

MAX_BYTES = 32 << 20  # of one answer
MAX_TEXT = 1 << 20  # characters of one result; the agent's loop cuts further
PING_SECONDS = 2.0
"""For a server that left a call without its answer to show that it still answers others."""
T = TypeVar("T")


class McpEnvironment(PlainEnvironment):
    """Calls the MCP tools of a catalog.

    `servers` are the places that the user names, as for `toolgen catalog build mcp:`: commands, addresses, clients' files
    (`losses` are entries of these that cannot be used). Of any other that the catalog names `approve` is asked once, by
    `agree` or at its first call, and without it none is started. The time of a call holds the start of its server. What a
    server holds in memory lasts for one task; `reset` does not undo what it has written elsewhere.
    """

    name = "mcp"

    def __init__(
        self,
        catalog: Catalog,
        *,
        servers: Iterable[str] = (),
        approve: Approve | None = None,
    ) -> None:
        require_sdk()
        places = [servers_at(place) for place in servers]
        self.losses = tuple(loss for place in places for loss in place.losses)
        self._named = [server for place in places for server in place.servers]
        self._approve = approve
        self._servers: dict[str, _Server] = {}
        self.take(catalog)

    def take(self, catalog: Catalog) -> None:
        """From now on the tools are those of this catalog; servers that run go on."""
        tools: dict[str, tuple[Tool, _Server]] = {}
        for tool in catalog:
            endpoint = tool.endpoint or {}
            own = next((one for one in self._named if _is_named(one, endpoint)), None)
            if endpoint.get("kind") != "mcp" or (own is None and self._approve is None):
                continue
            key = json.dumps([endpoint.get(part) for part in ("server", "command", "env", "cwd", "url", "headers")])
            if key not in self._servers:
                self._servers[key] = _Server(endpoint, own, self._approve)
            tools[tool.id] = (tool, self._servers[key])
        self._tools = tools

    def watch(self, on_tools: OnTools) -> None:
        """Starts the servers that the user names, without waiting for them, and tells their tools, now and whenever they say
        that these have changed."""
        import mcp.server  # noqa: F401  # whole, before several threads need parts of it

        for key, server in self._servers.items():
            server.watch(partial(self._tell, on_tools, key))

    def _tell(self, on_tools: OnTools, key: str, listed: Sequence[Tool]) -> None:
        own = [tool_id for tool_id, (_, server) in self._tools.items() if server is self._servers[key]]
        on_tools(key, own, listed)

    @property
    def tools(self) -> tuple[str, ...]:
        return tuple(tool_id for tool_id, (_, server) in self._tools.items() if not server.refused)

    def reset(self, task: Task) -> None:
        self.close()

    def call(self, tool_id: str, arguments: Mapping[str, Any], *, within: float = CALL_SECONDS) -> ToolResult:
        if tool_id not in self._tools:
            return not_available(tool_id, self.name)
        tool, server = self._tools[tool_id]
        return server.call(str((tool.endpoint or {}).get("tool") or tool.name), dict(arguments), within)

    def agree(self, tool_id: str) -> bool:
        """Whether the server of a tool may be started; `approve` is asked now if it has to be. A person takes time to answer,
        which should not be that of a call."""
        return tool_id not in self._tools or self._tools[tool_id][1].agree()

    def close(self) -> None:
        for server in self._servers.values():
            server.stop()


def _is_named(named: NamedServer, endpoint: Mapping[str, Any]) -> bool:
    """Whether an endpoint is a server that the user names: started or reached in the same way, or of the same name."""
    name = named.written.name
    return endpoint_of(named.written).record.items() <= endpoint.items() or (
        name != "" and name == endpoint.get("server")
    )


class _Server:
    """One server, running or not. Its connection lives in a thread of its own, which ends with this process."""

    def __init__(self, endpoint: Mapping[str, Any], own: NamedServer | None, approve: Approve | None) -> None:
        self._on_tools: Callable[[Sequence[Tool]], None] | None = None
        self._endpoint, self._own, self._approve = endpoint, own, approve
        self._name = str(endpoint.get("server") or "")
        self._lock = threading.Lock()
        self._running: _Running | None = None
        self._calls: Counter[_Running] = Counter()  # under way, also on connections that take no new ones
        self.refused = False

    def call(self, tool: str, arguments: dict[str, Any], within: float) -> ToolResult:
        """The result of a call; the server is started before if it is not running."""
        end = time.monotonic() + within
        try:
            with self._open(within) as running:
                result = running.call(tool, arguments, max(0.1, end - time.monotonic()))
        except Exception as error:  # the SDK, the transport and the system all have families of their own
            return failed(f"the server of this tool cannot be used: {fault_of(error, within)}")
        return no_answer(within) if result.status == "timeout" else result

    @contextmanager
    def _open(self, within: float) -> Iterator[_Running]:
        """The connection for one call. When it is over it takes no new calls, and is stopped with the last one under way."""
        with self._lock:
            running = self._started(within)
            self._calls[running] += 1
        try:
            running.wait()
            yield running
        finally:
            with self._lock:
                self._calls[running] -= 1
                if is_last := not self._calls[running]:
                    del self._calls[running]
            if is_last and running.is_over:
                running.stop()

    def watch(self, on_tools: Callable[[Sequence[Tool]], None]) -> None:
        """Starts it, if the user named it, and tells its tools whenever they may have changed."""
        if self._own is not None:
            self._on_tools = on_tools
            with self._lock, suppress(Exception):  # whoever calls one of its tools will hear why
                self._started(CALL_SECONDS)

    def agree(self) -> bool:
        """Whether it may be started."""
        try:
            with self._lock:
                self._ask(server_of(self._name, self._endpoint))
        except CatalogError:
            return False
        return True

    def stop(self) -> None:
        """Ends the server, if it is running, and calls that are under way."""
        with self._lock:
            running = {self._running, *self._calls}
            self._running = None
        for one in running:
            if one is not None:
                one.stop()

    def _started(self, within: float) -> _Running:
        if self._running is not None and self._running.is_over:  # it has ended since the last call
            if self._running not in self._calls:
                self._running.stop()
            self._running = None
        if self._running is None:
            if self._own is None:
                server = server_of(self._name, self._endpoint)
                self._ask(server)
                self._running = _Running(filled_in(server), within, trusted=False)
            else:
                self._running = _Running(self._own.ready, within, trusted=True, on_listing=self._listed())
        return self._running

    def _listed(self) -> Callable[[Listing], None] | None:
        own, on_tools = self._own, self._on_tools
        if own is None or on_tools is None:
            return None
        same = {key: value for key, value in self._endpoint.items() if key not in ("tool", "annotations")}

        def tell(listing: Listing) -> None:
            tools = tools_of(listing, own, [])
            on_tools([replace(tool, endpoint={**(tool.endpoint or {}), **same}) for tool in tools])

        return tell

    def _ask(self, server: McpServer) -> None:
        if self._own is not None:
            return
        if self.refused or self._approve is None or not self._approve(shown_server(server)):
            self.refused = True
            raise CatalogError("the user did not agree to start it")
        self._approve = lambda _shown: True


class _Running:
    """A connection, begun but not waited for, that is open until it is stopped or the server ends. `on_listing` hears what the
    server lists, at first and whenever that has changed."""

    def __init__(
        self,
        server: McpServer,
        seconds: float,
        *,
        trusted: bool,
        on_listing: Callable[[Listing], None] | None = None,
    ) -> None:
        self._watch = Watch(server, on_listing) if on_listing else None
        self.is_over = False
        self._server, self._seconds = server, seconds
        self._options = Options(seconds, limit=MAX_BYTES, lasting=True, trusted=trusted)
        self._portal: BlockingPortal | None = None
        self._client: Client | None = None
        self._done: Event | None = None
        self._loop: AbstractEventLoop | None = None
        self._starting: CancelScope | None = None
        self._fault: BaseException | None = None
        self._words = ""
        self._opened = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name=f"MCP server {server}")
        self._thread.start()

    def wait(self) -> None:
        """Until it is open; raises why it cannot be opened."""
        self._opened.wait()
        if self._client is None:
            self._thread.join()
            raise CatalogError(with_words(fault_of(self._fault or TimeoutError(), self._seconds), self._words))

    def call(self, tool: str, arguments: dict[str, Any], seconds: float) -> ToolResult:
        """The result of one call."""
        from mcp.shared.exceptions import MCPError
        from mcp_types import CONNECTION_CLOSED
        from pydantic import ValidationError

        try:
            return _result(self._wait(seconds, self._call, tool, arguments))
        except TimeoutError:
            self._is_open()
            return no_answer(seconds)
        except ValidationError as error:
            return failed(f"its answer is no result of MCP: {fault_of(error, seconds)}")
        except MCPError as error:
            if error.code != CONNECTION_CLOSED or self._is_open():  # some servers number errors of their tools so
                return failed(clean_text(str(error)))
            self.stop()
            note = "the server ended during the call; whether it took effect is unknown"
            return failed(with_words(note, self._words))
        except Exception as error:  # the portal is closed, or the transport broke
            self.is_over = True
            return failed(f"the connection to the server broke: {fault_of(error, seconds)}")

    def _wait(self, seconds: float, request: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        """What a request gives; TimeoutError if it takes longer, and then the server is told that nobody waits."""
        assert self._portal is not None
        answer = self._portal.start_task_soon(request, *arguments)
        try:
            return answer.result(seconds)
        finally:
            answer.cancel()

    def _is_open(self) -> bool:
        """Whether more may come. A server that does not answer a ping, if only that it knows none, gets no new calls."""
        from mcp.shared.exceptions import MCPError
        from mcp_types import CONNECTION_CLOSED

        try:
            self._wait(PING_SECONDS, self._ping)
            return True
        except TimeoutError:
            is_open = True
        except MCPError as error:
            if error.code != CONNECTION_CLOSED:
                return True
            is_open = False
        except Exception:  # as in `call`
            is_open = False
        self.is_over = True
        return is_open

    def stop(self) -> None:
        """Ends the server, one that is being started too, and waits for that."""
        self.is_over = True
        if self._loop is not None:
            with suppress(RuntimeError):  # it has ended already
                self._loop.call_soon_threadsafe(self._let_go)
        self._thread.join()

    def _let_go(self) -> None:
        if self._done is not None:
            self._done.set()
        elif self._starting is not None:
            self._starting.cancel()

    def _run(self) -> None:
        import anyio

        with tempfile.TemporaryFile() as errors, quiet_sdk():
            try:
                anyio.run(self._connected, errors)
            except BaseException as error:  # a thread has nobody to raise it to
                self._fault = error
            self._words = last_words(errors)
        self.is_over = True
        self._opened.set()

    async def _connected(self, errors: Any) -> None:
        import anyio
        from anyio.from_thread import BlockingPortal

        see = self._watch.see if self._watch else lambda _message: None
        opening = connected(self._server, errors, self._options, see, on_end=self._end)
        with anyio.CancelScope(deadline=anyio.current_time() + self._seconds) as starting:
            self._starting, self._loop = starting, asyncio.get_running_loop()
            if self.is_over:  # stopped before it began
                return
            async with BlockingPortal() as portal, opening as client:
                starting.deadline = math.inf
                self._done = anyio.Event()
                self._portal, self._client = portal, client
                self._opened.set()
                async with anyio.create_task_group() as tasks:
                    if self._watch:
                        tasks.start_soon(self._watch.run, client)
                    await self._done.wait()
                    tasks.cancel_scope.cancel()

    def _end(self) -> None:
        self.is_over = True

    async def _call(self, tool: str, arguments: dict[str, Any]) -> CallToolResult:
        """Through the session: the client would check the answer against the server's own schema, patterns included."""
        from mcp_types import CallToolRequest, CallToolRequestParams, CallToolResult

        assert self._client is not None
        request = CallToolRequest(params=CallToolRequestParams(name=tool, arguments=arguments))
        return await self._client.session.send_request(request, CallToolResult)

    async def _ping(self) -> None:
        from mcp_types import EmptyResult, PingRequest

        assert self._client is not None
        await self._client.session.send_request(PingRequest(), EmptyResult)


def _result(answer: CallToolResult) -> ToolResult:
    parts = [_block(block) for block in answer.content]
    if answer.structured_content is not None and not _repeats(parts, answer.structured_content):
        parts.append(json.dumps(answer.structured_content, ensure_ascii=False))
    text = clean_text("\n".join(part for part in parts if part))
    if len(text) > MAX_TEXT:
        text = f"{text[:MAX_TEXT]} ... ({len(text) - MAX_TEXT:,} more characters)"
    return ToolResult(content=text or "(no content)", status="error" if answer.is_error else "ok")


def _block(block: Any) -> str:
    """A part of an answer as text; what is none is named."""
    if block.type == "text":
        return str(block.text)
    if block.type == "resource" and hasattr(block.resource, "text"):
        return str(block.resource.text)
    if block.type in ("resource", "resource_link"):
        return f"[{block.type}: {getattr(block, 'resource', block).uri}]"
    return f"[{block.type}: {block.mime_type}, {len(block.data) * 3 // 4:,} bytes]"


def _repeats(parts: list[str], value: Any) -> bool:
    """Whether a text says the structured content already, as the protocol asks for; many leave out its only key."""
    inner = next(iter(value.values())) if isinstance(value, dict) and len(value) == 1 else value
    for part in parts:
        with suppress(ValueError):
            if json.loads(part) in (value, inner):
                return True
    return isinstance(inner, str) and inner.strip() in [part.strip() for part in parts]
