"""MCP servers over HTTP that send too much, too slowly, from elsewhere, or JSON that no parser takes."""

from __future__ import annotations

import gzip
import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from toolgen.catalog.loaders.mcp_connection import Options, connected
from toolgen.catalog.loaders.mcp_endpoint import McpServer
from toolgen.catalog.loaders.mcp_servers import load_mcp
from toolgen.errors import CatalogError

pytest.importorskip("mcp")

TOOL = {"name": "a", "inputSchema": {"type": "object"}}
Answer = Callable[[BaseHTTPRequestHandler, dict[str, Any]], None]


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], str]]:
    """Starts a server of revision 2025-11-25 whose `tools/list` is answered by a function; gives its address."""
    servers: list[ThreadingHTTPServer] = []

    def start(answer: Answer) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                asked.append(self.headers["Host"])
                if message["method"] == "tools/list":
                    answer(self, message)
                elif "id" not in message:
                    self.send_response(202)
                    self.end_headers()
                elif message["method"] == "initialize":
                    about = {"capabilities": {"tools": {}}, "serverInfo": {"name": "web", "version": "1"}}
                    send(self, message, {"protocolVersion": "2025-11-25", **about})
                else:
                    self.send_error(404)

            def log_message(self, *_: Any) -> None:
                pass

        asked: list[str] = []
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://localhost:{server.server_address[1]}/mcp"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def send(handler: BaseHTTPRequestHandler, message: dict[str, Any], result: Any, kind: str = "application/json") -> None:
    """Answers with a result, as JSON text or as the one event of a stream."""
    body = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}).encode()
    if kind == "text/event-stream":
        body = b"event: message\ndata: " + body + b"\n\n"
    reply(handler, body, {"Content-Type": kind})


def reply(handler: BaseHTTPRequestHandler, body: bytes, headers: dict[str, str]) -> None:
    """Answers with these bytes."""
    handler.send_response(200)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


@pytest.mark.parametrize("kind", ["application/json", "text/event-stream"])
def test_odd_values_cost_nothing_in_json_and_in_events(serve: Callable[[Answer], str], kind: str) -> None:
    deep: Any = {}
    for _ in range(300):
        deep = {"type": "object", "properties": {"x": deep}}
    tools = [TOOL | {"description": "x\ud800"}, {"name": "deep", "inputSchema": deep}, 7, TOOL | {"name": "b"}]
    loaded = load_mcp(serve(lambda handler, message: send(handler, message, {"tools": tools}, kind)), timeout=20)
    assert [tool.id for tool in loaded.tools] == ["web&&a", "web&&deep", "web&&b"]
    assert len(loaded.report.losses) == 1


@pytest.mark.parametrize("kind", ["application/json", "text/event-stream"])
def test_what_is_packed_is_counted_unpacked(
    serve: Callable[[Answer], str], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("toolgen.catalog.loaders.mcp_servers.MAX_BYTES", 4 << 20)
    bomb = gzip.compress(b"data: {" + b" " * (64 << 20), 9)
    headers = {"Content-Type": kind, "Content-Encoding": "gzip"}
    begin = time.monotonic()
    with pytest.raises(CatalogError, match="more than 4 MB"):
        load_mcp(serve(lambda handler, _: reply(handler, bomb, headers)), timeout=20)
    assert len(bomb) < 100_000 and time.monotonic() - begin < 15


def test_an_honest_packed_answer_is_read(serve: Callable[[Answer], str]) -> None:
    def answer(handler: BaseHTTPRequestHandler, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": {"tools": [TOOL]}}).encode()
        reply(handler, gzip.compress(body), {"Content-Type": "application/json", "Content-Encoding": "gzip"})

    assert [tool.name for tool in load_mcp(serve(answer), timeout=20).tools] == ["a"]


def test_the_deadline_covers_headers(serve: Callable[[Answer], str]) -> None:
    def drip(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
        for letter in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 600:
            handler.wfile.write(bytes([letter]))
            time.sleep(0.1)

    begin = time.monotonic()
    with pytest.raises(CatalogError, match="it did not answer within 2 s"):
        load_mcp(serve(drip), timeout=2)
    assert time.monotonic() - begin < 10


def test_a_redirect_to_another_host_is_not_followed(serve: Callable[[Answer], str]) -> None:
    reached: list[str] = []

    def reach(handler: BaseHTTPRequestHandler, message: dict[str, Any]) -> None:
        reached.append("inner")
        send(handler, message, {"tools": [TOOL]})

    inner = serve(reach)

    def redirect(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
        handler.send_response(307)
        handler.send_header("Location", inner)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    with pytest.raises(CatalogError, match="not followed"):
        load_mcp(serve(redirect), timeout=20)
    assert reached == []


def test_a_name_is_resolved_once(serve: Callable[[Answer], str], monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []

    def look(host: str, _port: int) -> list[str]:
        looks.append(host)
        return ["127.0.0.1"] if len(looks) == 1 else ["10.0.0.1"]

    monkeypatch.setattr("toolgen.catalog.loaders.mcp_http.resolved", look)
    address = serve(lambda handler, message: send(handler, message, {"tools": [TOOL]}))
    loaded = load_mcp(address.replace("localhost", "rebinding.example"), timeout=20)
    assert len(loaded.tools) == 1 and looks == ["rebinding.example"]


def test_headers_are_sent_in_latin_1_and_one_that_cannot_be_is_named_without_its_value(
    serve: Callable[[Answer], str], tmp_path: Path
) -> None:
    sent: list[str] = []

    def answer(handler: BaseHTTPRequestHandler, message: dict[str, Any]) -> None:
        sent.append(handler.headers["X-Key"])
        send(handler, message, {"tools": [TOOL]})

    file = tmp_path / "mcp.json"
    address = serve(answer)
    file.write_text(json.dumps({"mcpServers": {"a": {"url": address, "headers": {"X-Key": "é"}}}}))
    assert len(load_mcp(str(file), timeout=20).tools) == 1 and sent == ["é"]
    file.write_text(json.dumps({"mcpServers": {"a": {"url": address, "headers": {"X-Key": "s3cret\rx"}}}}))
    (loss,) = load_mcp(str(file), timeout=20).report.losses
    assert "no header can hold the value of X-Key" in loss.reason and "s3cret" not in loss.reason


def test_the_status_of_a_refusal_is_told(serve: Callable[[Answer], str]) -> None:
    with pytest.raises(CatalogError, match="the server answers 401"):
        load_mcp(serve(lambda handler, _: handler.send_error(401)), timeout=20)


def test_a_host_is_reached_at_any_of_its_addresses(
    serve: Callable[[Answer], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As localhost is where ::1 comes first and the server listens at 127.0.0.1 only."""
    import httpx2

    tried: list[str] = []
    send_to = httpx2.AsyncHTTPTransport.handle_async_request

    async def note(self: httpx2.AsyncHTTPTransport, request: httpx2.Request) -> httpx2.Response:
        tried.append(request.url.host)
        return await send_to(self, request)

    monkeypatch.setattr(httpx2.AsyncHTTPTransport, "handle_async_request", note)
    monkeypatch.setattr("toolgen.catalog.loaders.mcp_http.resolved", lambda *_: ["::1", "127.0.0.1"])
    address = serve(lambda handler, message: send(handler, message, {"tools": [TOOL]}))
    assert [tool.name for tool in load_mcp(address, timeout=20).tools] == ["a"]
    assert tried[0] == "::1" and set(tried[1:]) == {"127.0.0.1"}


def test_a_lasting_connection_leaves_the_time_of_an_answer_to_who_waits(serve: Callable[[Answer], str]) -> None:
    import anyio

    def late(handler: BaseHTTPRequestHandler, message: dict[str, Any]) -> None:
        time.sleep(1)
        send(handler, message, {"tools": [TOOL]})

    async def names() -> list[str]:
        options = Options(0.5, limit=1 << 20, lasting=True)
        with tempfile.TemporaryFile() as errors:
            async with connected(McpServer(url=serve(late)), errors, options) as client:
                return [tool.name for tool in (await client.list_tools()).tools]

    assert anyio.run(names) == ["a"]
