"""Tools of MCP servers, with the official SDK: a server is started or reached, as its endpoint says, at its first call.

A catalog is data: it starts nothing that its user did not name or agree to. The servers that the user names himself (a
command, an address, a client's file) are taken with what his file says; of others the user is asked. A call that gets no
answer in time, a server that ends or sends nonsense are results; the server is started anew for the next call.
"""

from __future__ import annotations

import json
import math
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from toolgen.agent.environments.protocol import ToolResult, error_text, not_available
from toolgen.catalog.catalog import Catalog
from toolgen.catalog.loaders.mcp_client_files import NamedServer, servers_at
from toolgen.catalog.loaders.mcp_connection import (
    Options,
    connection,
    fault_of,
    last_words,
    quiet_sdk,
    require_sdk,
    with_words,
)
from toolgen.catalog.loaders.mcp_endpoint import McpServer, endpoint_of, filled_in, server_of, shown_server
from toolgen.catalog.tool import Tool
from toolgen.datasets.task import Task, Turn
from toolgen.errors import CatalogError
from toolgen.foreign.data import clean_text

if TYPE_CHECKING:
    from anyio import Event
    from anyio.from_thread import BlockingPortal
    from mcp import Client
    from mcp_types import CallToolResult

Approve = Callable[[str], bool]
"""Whether a server that only the catalog names may be started or reached; it gets the command line or address."""

MAX_BYTES = 32 << 20  # of one answer
MAX_TEXT = 1 << 20  # characters of one result; the agent's loop cuts further


class McpEnvironment:
    """Calls the MCP tools of a catalog.

    `servers` are the places that the user names, as for `toolgen catalog build mcp:`: commands, addresses, clients' files
    (`losses` are entries of these that cannot be used). Of any other that the catalog names `approve` is asked once, and
    without it none is started. An answer may take `seconds`, and so may the start of a server. What a server holds in
    memory lasts for one task; `reset` does not undo what it has written elsewhere.
    """

    name = "mcp"

    def __init__(
        self,
        catalog: Catalog,
        *,
        servers: Iterable[str] = (),
        approve: Approve | None = None,
        seconds: float = 60.0,
    ) -> None:
        require_sdk()
        places = [servers_at(place) for place in servers]
        self.losses = tuple(loss for place in places for loss in place.losses)
        named = [server for place in places for server in place.servers]
        known: dict[str, _Server] = {}
        self._tools: dict[str, tuple[Tool, _Server]] = {}
        for tool in catalog:
            endpoint = tool.endpoint or {}
            own = next((one for one in named if _is_named(one, endpoint)), None)
            if endpoint.get("kind") != "mcp" or (own is None and approve is None):
                continue
            key = json.dumps([endpoint.get(part) for part in ("server", "command", "env", "cwd", "url", "headers")])
            if key not in known:
                known[key] = _Server(endpoint, own.ready if own else None, approve, seconds)
            self._tools[tool.id] = (tool, known[key])

    @property
    def tools(self) -> tuple[str, ...]:
        return tuple(tool_id for tool_id, (_, server) in self._tools.items() if not server.refused)

    def reset(self, task: Task) -> None:
        self.close()

    def start_turn(self, turn: Turn) -> None:
        pass

    def call(self, tool_id: str, arguments: Mapping[str, Any]) -> ToolResult:
        if tool_id not in self._tools:
            return not_available(tool_id, self.name)
        tool, server = self._tools[tool_id]
        return server.call(str((tool.endpoint or {}).get("tool") or tool.name), dict(arguments))

    def close(self) -> None:
        for server in {id(server): server for _, server in self._tools.values()}.values():
            server.stop()


def _is_named(named: NamedServer, endpoint: Mapping[str, Any]) -> bool:
    """Whether an endpoint is a server that the user names: started or reached in the same way, or of the same name."""
    name = named.written.name
    return endpoint_of(named.written).record.items() <= endpoint.items() or (
        name != "" and name == endpoint.get("server")
    )


class _Server:
    """One server, running or not. Its connection lives in a thread of its own, which ends with this process."""

    def __init__(
        self, endpoint: Mapping[str, Any], own: McpServer | None, approve: Approve | None, seconds: float
    ) -> None:
        self._endpoint, self._own, self._approve, self._seconds = endpoint, own, approve, seconds
        self._name = str(endpoint.get("server") or "")
        self._lock = threading.Lock()
        self._running: _Running | None = None
        self.refused = False

    def call(self, tool: str, arguments: dict[str, Any]) -> ToolResult:
        """The result of a call; the server is started before if it is not running."""
        with self._lock:
            try:
                running = self._started()
            except Exception as error:  # the SDK, the transport and the system all have families of their own
                return _error(f"the server of this tool cannot be used: {fault_of(error, self._seconds)}")
        result = running.call(tool, arguments, self._seconds)
        if running.is_over:
            self.stop()
        return result

    def stop(self) -> None:
        """Ends the server, if it is running."""
        with self._lock:
            running, self._running = self._running, None
        if running is not None:
            running.stop()

    def _started(self) -> _Running:
        if self._running is not None and self._running.is_over:  # it has ended since the last call
            self._running.stop()
            self._running = None
        if self._running is None:
            server = self._own or server_of(self._name, self._endpoint)
            if self._own is None:
                self._ask(shown_server(server))
                server = filled_in(server)
            self._running = _Running(server, self._seconds, trusted=self._own is not None)
        return self._running

    def _ask(self, shown: str) -> None:
        if self.refused or self._approve is None or not self._approve(shown):
            self.refused = True
            raise CatalogError("the user did not agree to start it")
        self._approve = lambda _shown: True


class _Running:
    """A connection that is open until it is stopped or the server ends. Raises what happens when it is opened."""

    def __init__(self, server: McpServer, seconds: float, *, trusted: bool) -> None:
        self.is_over = False
        self._server, self._seconds = server, seconds
        self._options = Options(seconds, limit=MAX_BYTES, lasting=True, trusted=trusted)
        self._portal: BlockingPortal | None = None
        self._client: Client | None = None
        self._done: Event | None = None
        self._fault: BaseException | None = None
        self._words = ""
        self._opened = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name=f"MCP server {server}")
        self._thread.start()
        self._opened.wait()
        if self._client is None:
            self._thread.join()
            raise CatalogError(with_words(fault_of(self._fault or TimeoutError(), seconds), self._words))

    def call(self, tool: str, arguments: dict[str, Any], seconds: float) -> ToolResult:
        """The result of one call."""
        from mcp.shared.exceptions import MCPError
        from mcp_types import CONNECTION_CLOSED
        from pydantic import ValidationError

        assert self._portal is not None
        try:
            return _result(self._portal.call(self._call, tool, arguments, seconds))
        except TimeoutError:
            self.is_over = True  # it may never listen again
            note = f"no answer within {seconds:g} seconds; whether the call took effect is unknown"
            return ToolResult(content=error_text(note), status="timeout")
        except ValidationError as error:
            return _error(f"its answer is no result of MCP: {fault_of(error, seconds)}")
        except MCPError as error:
            if error.code == CONNECTION_CLOSED:
                self.stop()
                note = "the server ended during the call; whether it took effect is unknown"
                return _error(with_words(note, self._words))
            self.is_over = bool(self._server.url)  # perhaps its session is gone; to connect anew costs little
            return _error(clean_text(str(error)))
        except Exception as error:  # the portal is closed, or the transport broke
            self.is_over = True
            return _error(f"the connection to the server broke: {fault_of(error, seconds)}")

    def stop(self) -> None:
        """Ends the server and waits for that."""
        self.is_over = True
        if self._portal is not None and self._done is not None:
            with suppress(RuntimeError):  # it has ended already
                self._portal.start_task_soon(self._done.set)
        self._thread.join()

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
        from mcp import Client

        transport = connection(self._server, errors, self._options, on_end=self._end)
        with anyio.CancelScope(deadline=anyio.current_time() + self._seconds) as starting:
            async with BlockingPortal() as portal, Client(transport, cache=None) as client:
                starting.deadline = math.inf
                self._done = anyio.Event()
                self._portal, self._client = portal, client
                self._opened.set()
                await self._done.wait()

    def _end(self) -> None:
        self.is_over = True

    async def _call(self, tool: str, arguments: dict[str, Any], seconds: float) -> CallToolResult:
        """Through the session: the client would check the answer against the server's own schema, patterns included."""
        import anyio
        from mcp_types import CallToolRequest, CallToolRequestParams, CallToolResult

        assert self._client is not None
        request = CallToolRequest(params=CallToolRequestParams(name=tool, arguments=arguments))
        with anyio.fail_after(seconds):
            return await self._client.session.send_request(request, CallToolResult)


def _error(message: str) -> ToolResult:
    return ToolResult(content=error_text(message), status="error")


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
