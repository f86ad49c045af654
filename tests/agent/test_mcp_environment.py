"""MCP servers as an environment: good ones of both eras and transports, and ones that hang, break, flood and die."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from toolgen.agent import McpEnvironment, ToolResult
from toolgen.catalog import Catalog, Tool
from toolgen.catalog.loaders.mcp_servers import load_mcp
from toolgen.datasets import Task

pytest.importorskip("mcp")

# Revision 2026-07-28, by the SDK.
GOOD = '''
import sys
from typing import TypedDict
from mcp.server import MCPServer

class Sum(TypedDict):
    total: int

server = MCPServer("sums")

@server.tool()
def add(a: int, b: int = 2) -> Sum:
    """Add two numbers."""
    return {"total": a + b}

@server.tool()
def greet(name: str) -> str:
    """Greet somebody."""
    return f"Hallo {name}"

server.run(*(["stdio"] if not sys.argv[1:] else ["streamable-http"]), **({"port": int(sys.argv[1])} if sys.argv[1:] else {}))
'''

# Revision 2025-11-25, in raw JSON-RPC; the tool's name says what it does.
RAW = r"""
import json, os, subprocess, sys, time

names = "count environ hang die flood odd error refuse blocks both twice broken bytes empty late".split()
count = 0

def text(value, **more):
    return {"content": [{"type": "text", "text": value}], **more}

def call(name, arguments):
    global count
    if name == "count":
        count += 1
        return text(str(count))
    if name == "environ":
        return text(os.environ.get(arguments["name"], "unset"))
    if name == "hang":
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", __file__])
        time.sleep(600)
    if name == "late":
        time.sleep(2)
    if name == "die":
        sys.exit("out of order")
    if name == "flood":
        return text("x" * 5_000_000)
    if name == "odd":
        return text("a\ud800b\x00c")
    if name == "error":
        return text("no such city", isError=True)
    if name == "blocks":
        picture = {"type": "image", "data": "QUJD", "mimeType": "image/png"}
        link = {"type": "resource_link", "uri": "file:///x", "name": "x"}
        inside = {"type": "resource", "resource": {"uri": "file:///y", "text": "within"}}
        return {"content": [picture, link, inside]}
    if name == "both":
        return text("3 degrees", structuredContent={"celsius": 3})
    if name == "twice":
        return text("hello", structuredContent={"content": "hello\n"})
    if name == "broken":
        return {"content": 7}
    if name == "bytes":
        sys.stdout.flush()
        os.write(1, b'{"jsonrpc": "2.0", "id": %d, "result": {"content": [{"type": "text", "text": "a\xffb"}]}}\n' % now)
        return None
    return {"content": []}

for line in sys.stdin:
    request = json.loads(line)
    if "id" not in request:
        continue
    now = request["id"]
    reply = {"jsonrpc": "2.0", "id": now}
    if request["method"] == "initialize":
        about = {"capabilities": {"tools": {}}, "serverInfo": {"name": "raw", "version": "1"}}
        reply["result"] = {"protocolVersion": "2025-11-25", **about}
    elif request["method"] == "tools/list":
        reply["result"] = {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in names]}
    elif request["method"] == "tools/call" and request["params"]["name"] != "refuse":
        reply["result"] = call(request["params"]["name"], request["params"]["arguments"])
    else:
        reply["error"] = {"code": -32602, "message": "unknown city"}
    if reply.get("result", 1) is not None:
        print(json.dumps(reply), flush=True)
"""


@pytest.fixture
def script(tmp_path: Path) -> Iterator[Path]:
    """The raw server; nothing of it runs in the end."""
    path = tmp_path / "raw.py"
    path.write_text(RAW, encoding="utf-8")
    yield path
    end = time.monotonic() + 10
    while left := _running(path):
        assert time.monotonic() < end, left
        time.sleep(0.05)


def _running(script: Path) -> list[bytes]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if os.fsencode(script) in (line := path.read_bytes()):
                found.append(line)
    return found


Call = Callable[..., ToolResult]


@pytest.fixture
def call(script: Path) -> Iterator[Call]:
    """Calls a tool of the raw server."""
    place = shlex.join([sys.executable, str(script)])
    environment = McpEnvironment(Catalog(load_mcp(place).tools), servers=[place])

    def execute(name: str, **arguments: object) -> ToolResult:
        return environment.call(f"raw&&{name}", arguments)

    yield execute
    environment.close()


def test_a_catalog_alone_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a server of the newer revision; what was secret comes from the environment."""
    (tmp_path / "good.py").write_text(GOOD, encoding="utf-8")
    entry = {"command": sys.executable, "args": [str(tmp_path / "good.py")], "env": {"K": "v"}}
    (tmp_path / "mcp.json").write_text(json.dumps({"servers": {"mine": entry}}))
    Catalog(load_mcp(str(tmp_path / "mcp.json")).tools).save(tmp_path / "catalog.jsonl")
    (tmp_path / "mcp.json").unlink()
    asked: list[str] = []

    def agree(shown: str) -> bool:
        asked.append(shown)
        return True

    environment = McpEnvironment(Catalog.load(tmp_path / "catalog.jsonl"), approve=agree)
    try:
        refused = environment.call("mine&&add", {"a": 1})
        assert refused.is_error and "needs the environment variable K, which is not set" in refused.content
        monkeypatch.setenv("K", "v")
        assert json.loads(environment.call("mine&&add", {"a": 1}).content) == {"total": 3}
        assert environment.call("mine&&greet", {"name": "Ada"}) == ToolResult(content="Hallo Ada")
        assert environment.call("mine&&add", {"a": "x"}).is_error
        assert asked == [shlex.join([sys.executable, str(tmp_path / "good.py")])]
    finally:
        environment.close()


def test_a_server_over_http(tmp_path: Path) -> None:
    (tmp_path / "good.py").write_text(GOOD, encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = subprocess.Popen([sys.executable, str(tmp_path / "good.py"), str(port)], stderr=subprocess.DEVNULL)
    place = f"http://127.0.0.1:{port}/mcp"
    try:
        for _ in range(300):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        catalog = Catalog(load_mcp(place).tools)
        own = McpEnvironment(catalog, servers=[place])
        foreign = McpEnvironment(catalog, approve=lambda _: True)
        assert json.loads(own.call("sums&&add", {"a": 1}).content) == {"total": 3}
        assert "is at 127.0.0.1, which is no public address" in foreign.call("sums&&add", {"a": 1}).content
    finally:
        running.kill()
        running.wait()
    gone = own.call("sums&&add", {"a": 1})
    assert gone.is_error
    own.close()
    foreign.close()


def test_nothing_is_started_that_the_user_did_not_name_or_agree_to(script: Path) -> None:
    catalog = Catalog(load_mcp(shlex.join([sys.executable, str(script)])).tools)
    assert McpEnvironment(catalog).tools == ()
    assert McpEnvironment(catalog, servers=["another command"]).tools == ()
    environment = McpEnvironment(catalog, approve=lambda _: False)
    assert len(environment.tools) == 15
    for _ in range(2):
        assert "the user did not agree to start it" in environment.call("raw&&count", {}).content
    assert environment.tools == () and _running(script) == []


def test_state_lasts_for_one_task(call: Call, script: Path) -> None:
    place = shlex.join([sys.executable, str(script)])
    environment = McpEnvironment(Catalog(load_mcp(place).tools), servers=[place])
    counts = [environment.call("raw&&count", {}).content for _ in range(2)]
    environment.reset(Task.from_text("again"))
    assert [*counts, environment.call("raw&&count", {}).content] == ["1", "2", "1"]
    environment.close()


@pytest.mark.parametrize(
    ("tool", "content", "status"),
    [
        ("odd", "a?bc", "ok"),
        ("bytes", "a\ufffdb", "ok"),
        ("error", "no such city", "error"),
        ("refuse", '{"error": "unknown city"}', "error"),
        ("blocks", "[image: image/png, 3 bytes]\n[resource_link: file:///x]\nwithin", "ok"),
        ("both", '3 degrees\n{"celsius": 3}', "ok"),
        ("twice", "hello", "ok"),
        ("empty", "(no content)", "ok"),
    ],
)
def test_what_comes_back_is_text(call: Call, tool: str, content: str, status: str) -> None:
    result = call(tool)
    assert (result.content.replace("\ufffd", "?") if tool == "odd" else result.content) == content
    assert result.status == status


def test_a_long_result_is_cut(call: Call) -> None:
    result = call("flood")
    assert result.status == "ok" and len(result.content) < 1_100_000
    assert result.content.endswith("more characters)")


def test_an_answer_that_breaks_the_protocol_is_an_error_and_the_server_goes_on(call: Call) -> None:
    assert call("count").content == "1"
    assert "its answer is no result of MCP" in call("broken").content
    assert call("count").content == "2"


def test_a_tool_that_hangs_ends_at_the_deadline_and_nothing_of_it_is_left(script: Path) -> None:
    place = shlex.join([sys.executable, str(script)])
    environment = McpEnvironment(Catalog(load_mcp(place).tools), servers=[place])
    assert environment.call("raw&&count", {}).content == "1"
    begin = time.monotonic()
    result = environment.call("raw&&hang", {}, within=4)
    assert result.status == "timeout" and "no answer within 4 seconds" in result.content
    assert time.monotonic() - begin < 15
    assert environment.call("raw&&count", {}).content == "1"  # of a new one
    environment.close()


def test_a_server_that_dies_is_an_error_and_is_started_anew(call: Call, script: Path) -> None:
    assert call("count").content == "1"
    died = call("die")
    assert (
        died.status == "error" and "the server ended during the call" in died.content and "out of order" in died.content
    )
    assert call("count").content == "1"
    for path in Path("/proc").glob("[0-9]*/cmdline"):  # now between two calls
        with suppress(OSError):
            if (line := path.read_bytes()).endswith(os.fsencode(script) + b"\0") and b"mcp_guard" not in line:
                os.kill(int(path.parent.name), 9)
    time.sleep(1)
    assert call("count").content == "1"


def test_several_calls_at_once_share_a_server(call: Call) -> None:
    results: list[str] = []
    threads = [threading.Thread(target=lambda: results.append(call("count").content)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [str(number) for number in range(1, 9)]


def test_a_server_that_hangs_ends_with_the_last_call_under_way(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does one thing after another, so that it does not answer a ping either."""
    monkeypatch.setattr("toolgen.agent.environments.mcp.PING_SECONDS", 0.1)
    place = shlex.join([sys.executable, str(script)])
    environment = McpEnvironment(Catalog(load_mcp(place).tools), servers=[place])
    assert environment.call("raw&&count", {}).content == "1"
    with ThreadPoolExecutor() as threads:
        late = threads.submit(environment.call, "raw&&late", {})
        time.sleep(0.5)
        assert environment.call("raw&&count", {}, within=0.5).status == "timeout"
        assert environment.call("raw&&count", {}).content == "1"  # of a new one
        assert late.result() == ToolResult(content="(no content)")
    assert len([line for line in _running(script) if b"mcp_guard" in line]) == 1
    environment.close()


class Web(BaseHTTPRequestHandler):
    """A server of revision 2025-11-25 with sessions over HTTP; the tool's name says what it does."""

    counts: Counter[str]
    told: list[str]
    go: threading.Event

    def do_POST(self) -> None:
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.told.append(message.get("params", {}).get("name", message["method"]))
        session = self.headers["Mcp-Session-Id"]
        if "id" not in message:
            self._reply(202)
        elif message["method"] == "initialize":
            about = {"capabilities": {"tools": {}}, "serverInfo": {"name": "web", "version": "1"}}
            self._reply(200, message, result={"protocolVersion": "2025-11-25", **about})
        elif message["method"] == "ping":
            self._reply(200, message, result={})
        elif message["method"] != "tools/call":
            self._reply(404)
        elif (name := message["params"]["name"]) in ("refuse", "busy"):
            self._reply(200, message, error={"code": -32602 if name == "refuse" else -32000, "message": name})
        elif name == "lost":
            self._reply(404, message, error={"code": -32001, "message": "Session not found"})
        else:
            if name == "late":
                self.go.wait(20)
            self.counts[session] += 1
            text = {"type": "text", "text": str(self.counts[session])}
            self._reply(200, message, result={"content": [text]})

    def do_DELETE(self) -> None:
        self.told.append("DELETE")
        self.go.wait(20)

    def _reply(self, status: int, message: dict[str, Any] | None = None, **answer: Any) -> None:
        body = json.dumps({"jsonrpc": "2.0", "id": message["id"], **answer}).encode() if message else b""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/json")
        self.send_header("Mcp-Session-Id", str(len(self.told)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[McpEnvironment]:
    """The tools of such a server."""
    monkeypatch.setattr("toolgen.catalog.loaders.mcp_http.STOP_SECONDS", 0.1)
    Web.counts, Web.told, Web.go = Counter(), [], threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Web)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/mcp"
    endpoint = {"kind": "mcp", "server": "web", "url": url}
    tools = [
        Tool(id=name, provider="web", name=name, description="", endpoint={**endpoint, "tool": name})
        for name in ("count", "late", "refuse", "busy", "lost")
    ]
    environment = McpEnvironment(Catalog(tools), servers=[url])
    yield environment
    environment.close()
    Web.go.set()
    server.shutdown()
    server.server_close()


def test_a_call_that_fails_or_hangs_ends_no_other_and_no_session(web: McpEnvironment) -> None:
    assert web.call("count", {}).content == "1"
    with ThreadPoolExecutor() as threads:
        late = threads.submit(web.call, "late", {})
        while "late" not in Web.told:
            time.sleep(0.01)
        assert [web.call(name, {}).content for name in ("refuse", "busy")] == [
            '{"error": "refuse"}',
            '{"error": "busy"}',
        ]
        assert web.call("late", {}, within=0.3).status == "timeout"
        assert web.call("count", {}).content == "2"
        Web.go.set()
        assert late.result().content in ("3", "4")
    assert "notifications/cancelled" in Web.told and Web.told.count("initialize") == 1


def test_a_session_that_the_server_has_lost_is_begun_anew_at_the_next_call(web: McpEnvironment) -> None:
    assert web.call("count", {}).content == "1"
    assert "Session not found" in web.call("lost", {}).content
    assert web.call("count", {}).content == "1"


def test_a_server_that_hangs_where_its_session_ends_is_left(web: McpEnvironment) -> None:
    assert web.call("count", {}).content == "1"
    begin = time.monotonic()
    web.close()
    assert "DELETE" in Web.told and time.monotonic() - begin < 10
