"""MCP servers as sources: good ones of the SDK over both transports, and hostile ones that speak raw JSON-RPC."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest

from toolgen.catalog.loaders.mcp_connection import Options, connected
from toolgen.catalog.loaders.mcp_endpoint import McpServer
from toolgen.catalog.loaders.mcp_servers import load_mcp
from toolgen.catalog.schema import check_schema, schema_errors
from toolgen.catalog.text import display_name
from toolgen.errors import CatalogError, MissingExtraError, UsageError

pytest.importorskip("mcp")

GOOD = '''
import asyncio, sys
from typing import TypedDict
from mcp.server import MCPServer
from mcp_types import ToolAnnotations

class Sum(TypedDict):
    total: int

server = MCPServer("sums")

@server.tool(annotations=ToolAnnotations(read_only_hint=True, title="Adds"))
def add(a: int, b: int = 2) -> Sum:
    """Add two numbers."""
    return {"total": a + b}

@server.tool()
def größe(wort: str) -> str:
    """Die Länge eines Worts."""
    return str(len(wort))

if sys.argv[1:]:
    server.run("streamable-http", port=int(sys.argv[1]))
else:
    server.run("stdio")
'''

# Speaks revision 2025-11-25; `answer(cursor)` gives the result of tools/list, or does something else.
RAW = """
import json, os, sys, time

def tool(name, **more):
    return {"name": name, "inputSchema": {"type": "object", "properties": {"x": {"type": "integer"}}}, **more}

BODY

for line in sys.stdin:
    request = json.loads(line)
    if "id" not in request:
        continue
    answer_to = {"jsonrpc": "2.0", "id": request["id"]}
    if request["method"] == "initialize":
        about = {"capabilities": {"tools": {}}, "serverInfo": {"name": "raw", "version": "1"}}
        answer_to["result"] = {"protocolVersion": "2025-11-25", **about}
    elif request["method"] == "tools/list":
        answer_to["result"] = answer((request.get("params") or {}).get("cursor"))
    else:
        answer_to["error"] = {"code": -32601, "message": "no such method"}
    print(json.dumps(answer_to), flush=True)
"""


# What Node and a group of exceptions end with.
NODE_FAULT = r"""
lines = ["main.js:7", "Error: No API key was given", "    at start (main.js:7:11)", "  code: 7", "}", "", "Node.js v20.20.2"]
sys.exit("\n".join(lines))
"""
BOXED_FAULT = """
sys.exit('''  | ExceptionGroup: unhandled errors in a TaskGroup
    | ValueError: no daemon is running
    +------------------------------------''')
"""


@pytest.fixture
def raw(tmp_path: Path) -> Callable[[str], str]:
    """Writes a raw server with this body and gives its command line."""

    def write(body: str) -> str:
        script = tmp_path / "raw.py"
        script.write_text(RAW.replace("BODY", body), encoding="utf-8")
        return shlex.join([sys.executable, str(script)])

    return write


@pytest.fixture
def good(tmp_path: Path) -> Path:
    script = tmp_path / "good.py"
    script.write_text(GOOD, encoding="utf-8")
    return script


@pytest.fixture(autouse=True)
def nothing_is_left_running(tmp_path: Path) -> Iterator[None]:
    yield
    if not Path("/proc").is_dir():
        return
    deadline = time.monotonic() + 5  # a killed process takes a moment to go
    while left := _running(os.fsencode(tmp_path)):
        assert time.monotonic() < deadline, left
        time.sleep(0.02)


def _running(text: bytes) -> list[bytes]:
    """The command lines with this text in them."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended in the meantime, or is not ours
            if text in (line := path.read_bytes()):
                found.append(line)
    return found


def test_a_server_over_stdio(good: Path) -> None:
    loaded = load_mcp(shlex.join([sys.executable, str(good)]))
    add, length = loaded.tools
    assert (add.id, add.provider, add.description) == ("sums&&add", "sums", "Add two numbers.")
    assert add.required == ("a",) and add.properties["b"]["default"] == 2
    assert not schema_errors({"a": 1}, add.parameters) and schema_errors({"a": "x"}, add.parameters)
    assert add.returns is not None and add.returns["properties"]["total"]["type"] == "integer"
    assert add.endpoint is not None and add.endpoint["annotations"] == {"readOnlyHint": True, "title": "Adds"}
    assert length.id == "sums&&größe" and length.description == "Die Länge eines Worts."
    assert add.endpoint["command"] == [sys.executable, str(good)] and loaded.report.losses == ()


def test_a_server_over_http(good: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = subprocess.Popen([sys.executable, str(good), str(port)], stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        loaded = load_mcp(f"http://127.0.0.1:{port}/mcp?key=secret", timeout=20)
    finally:
        running.kill()
        running.wait()
    assert [tool.id for tool in loaded.tools] == ["sums&&add", "sums&&größe"]
    assert loaded.tools[0].endpoint is not None
    assert loaded.tools[0].endpoint["url"] == f"http://127.0.0.1:{port}/mcp?key=${{MCP_127_0_0_1_KEY}}"
    assert "name it (--mcp-server) or set 'MCP_127_0_0_1_KEY'" in loaded.report.notes[0]


def test_all_pages_are_read_and_what_breaks_the_protocol_is_a_loss_each(raw: Callable[[str], str]) -> None:
    command = raw("""
def answer(cursor):
    if cursor is None:
        return {"tools": [tool("a"), tool(""), {"name": "bare"}, 7, tool("a")], "nextCursor": "2"}
    odd = {"type": "object", "properties": {"y": {"type": "HashMap"}, "z": {"$ref": "#/$defs/z"}}}
    described = tool("b", description="x\\0y", outputSchema={"type": "object"})
    return {"tools": [described, {"name": "c", "inputSchema": odd}]}
""")
    loaded = load_mcp(command, timeout=20)
    assert [tool.id for tool in loaded.tools] == ["raw&&a", "raw&&a#2", "raw&&b", "raw&&c"]
    assert loaded.tools[2].description == "xy" and loaded.tools[2].returns == {"type": "object"}
    for tool in loaded.tools:
        check_schema(tool.parameters)
    assert [loss.name for loss in loaded.report.losses] == ["tool 2", "bare", "tool 4"]
    assert all(loss.reason.startswith("not a tool of MCP: ") for loss in loaded.report.losses)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("time.sleep(600)", "it did not answer within 2 s"),
        ("sys.exit('no key was given')", r"Connection closed \(no key was given\)"),
        ("import nothing_like_this", r"\(ModuleNotFoundError: No module named 'nothing_like_this'\)"),
        ("while True: print('noise' * 1000)", r"\(it wrote more than 128 MB\)"),
        ("while True: sys.stdout.write('x' * 100_000)", r"\(it wrote more than 128 MB\)"),
        ("while True: sys.stderr.write('x' * 100_000)", "it did not answer within 2 s"),
        ("def answer(cursor): sys.exit('gone')", r"Connection closed \(gone\)"),
        ("sys.exit(3)", r"Connection closed \(it ended with exit code 3\)"),
        ("print('usage: raw FILE'); sys.exit()", r"\(it ended with exit code 0 after printing: usage: raw FILE\)"),
        (NODE_FAULT, r"Connection closed \(Error: No API key was given\)"),
        (BOXED_FAULT, r"Connection closed \(\| ValueError: no daemon is running\)"),
        ("def answer(cursor): return {'tools': 'none'}", "tools"),
        ("def answer(cursor): return 3", "MCP server"),
        ("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\ndef answer(cursor): time.sleep(600)", "2 s"),
    ],
)
def test_a_server_that_fails_is_one_clear_line(raw: Callable[[str], str], body: str, message: str) -> None:
    begin = time.monotonic()
    with pytest.raises(CatalogError, match=message) as error:
        load_mcp(raw(body), timeout=2)
    assert "\n" not in str(error.value) and len(str(error.value)) < 700
    assert time.monotonic() - begin < 15


@pytest.mark.parametrize(
    ("then", "reason"),
    [
        ("sys.exit('broke')", "broke"),
        ("time.sleep(600)", "within 2 s"),
        ("return {'tools': [], 'nextCursor': '2'}", "in circles"),
        ('print(\'{"jsonrpc": "2.0", oh\', flush=True); return {}', "a message of it cannot be read"),
        ("return 3", "a message of it cannot be read"),
    ],
)
def test_what_was_read_before_a_server_failed_is_kept(raw: Callable[[str], str], then: str, reason: str) -> None:
    body = f"""
def answer(cursor):
    if cursor: {then}
    return {{"tools": [tool("a")], "nextCursor": "2"}}
"""
    loaded = load_mcp(raw(body), timeout=2)
    assert [tool.id for tool in loaded.tools] == ["raw&&a"]
    (loss,) = loaded.report.losses
    assert reason in loss.reason


ODD_TOOLS = """
def deep(levels):
    schema = {"type": "integer"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema

def answer(cursor):
    if cursor is None:
        return {"tools": [tool("first")], "nextCursor": 2, "ttlMs": "soon", "_meta": 5}
    if cursor == "2":
        return {"tools": [ODD, tool("beside")], "nextCursor": "3"}
    return {"tools": [tool("last")], "nextCursor": ""}
"""


@pytest.mark.parametrize(
    ("odd", "kept", "told"),
    [
        ("tool('odd', description='x' + chr(0xd800))", True, ""),
        ("tool(chr(0xdfff) + 'odd')", True, ""),
        ("tool('odd', description=chr(1) + chr(9))", True, ""),
        ("{'name': 'odd', 'inputSchema': deep(450)}", True, "nested deeper than 48 levels"),
        ("{'name': 'odd', 'inputSchema': {}}", True, "taken as no arguments"),
        ("{'name': 'odd', 'inputSchema': {'properties': {'q': {}}}}", True, ""),
        ("{'name': 'odd', 'inputSchema': {'type': ['object', 'null']}}", True, ""),
        ("{'name': 'odd', 'inputSchema': {'type': 'array'}}", False, "is of type 'array'"),
        ("{'name': 'odd', 'inputSchema': [1]}", False, "its inputSchema is no object"),
        ("{'name': 'odd'}", False, "its inputSchema is missing"),
        ("{'name': ['odd'], 'inputSchema': {}}", False, "it has no name"),
        ("'odd'", False, "an object was expected, got str"),
        ("None", False, "an object was expected, got NoneType"),
        ("tool('odd', description=7, title={})", True, "its description is no text"),
        ("tool('odd', annotations=[1])", True, "its annotations are not those of MCP"),
        ("tool('odd', annotations={'readOnlyHint': 'yes', 'title': 3})", True, "(readOnlyHint)"),
        ("tool('odd', outputSchema='none', icons=3, _meta=4, execution=[])", True, "its outputSchema is no object"),
        ("tool('odd', **{'inputSchema': {'type': 'object', 'properties': {'n': {'default': 1e999}}}})", True, ""),
    ],
)
def test_one_odd_tool_costs_no_other_and_no_page(raw: Callable[[str], str], odd: str, kept: bool, told: str) -> None:
    body = "import sys; sys.setrecursionlimit(9000)\n" + ODD_TOOLS.replace("ODD", odd)
    begin = time.monotonic()
    loaded = load_mcp(raw(body), timeout=30)
    assert time.monotonic() - begin < 20
    names = [tool.name for tool in loaded.tools]
    assert [name for name in names if "odd" not in name] == ["first", "beside", "last"]
    assert len(names) == (4 if kept else 3) and len(loaded.report.losses) == (0 if kept else 1)
    assert told in json.dumps(loaded.report.to_dict())
    text = json.dumps([tool.to_dict() for tool in loaded.tools], ensure_ascii=False, allow_nan=False)
    text.encode()
    for tool in loaded.tools:
        check_schema(tool.parameters)


def test_what_a_server_prints_beside_its_messages_costs_nothing(raw: Callable[[str], str]) -> None:
    loaded = load_mcp(raw("def answer(cursor): print('{level: info}\\nstarted\\n{}'); return {'tools': [tool('a')]}"))
    assert [tool.name for tool in loaded.tools] == ["a"] and loaded.report.losses == ()


def test_pages_that_never_bring_a_tool_end(raw: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toolgen.catalog.loaders.mcp_servers.MAX_PAGES", 20)
    body = "def answer(cursor): return {'tools': [], 'nextCursor': str(int(cursor or 0) + 1)}"
    loaded = load_mcp(raw(body), timeout=20)
    assert loaded.tools == () and "20 pages; the rest was not read" in loaded.report.losses[0].reason


def test_endless_pages_end(raw: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toolgen.catalog.loaders.mcp_servers.MAX_TOOLS", 50)
    body = """
def answer(cursor):
    n = int(cursor or 0)
    return {"tools": [tool(f"t{n}")], "nextCursor": str(n + 1)}
"""
    loaded = load_mcp(raw(body), timeout=20)
    assert len(loaded.tools) == 50 and "more than 50 tools" in loaded.report.losses[0].reason


def test_the_file_of_a_client(tmp_path: Path, good: Path) -> None:
    servers: dict[str, Any] = {
        "mine": {"command": sys.executable, "args": [str(good)], "env": {"TOKEN": "secret"}},
        "absent": {"command": "there-is-no-such-program"},
        "closed": {"url": "http://127.0.0.1:9/mcp", "headers": {"Authorization": "secret"}},
    }
    file = tmp_path / "servers.json"
    file.write_text(json.dumps({"mcpServers": servers}))
    loaded = load_mcp(str(file), timeout=20)
    assert [tool.id for tool in loaded.tools] == ["mine&&add", "mine&&größe"]
    assert [display_name(tool) for tool in loaded.tools] == ["mine.add", "mine.größe"]  # searches know whose they are
    assert [loss.name for loss in loaded.report.losses] == ["absent", "closed"]
    assert "secret" not in json.dumps([loaded.report.to_dict(), *(tool.to_dict() for tool in loaded.tools)])


def test_a_relative_program_is_below_the_folder_of_its_server(
    tmp_path: Path, raw: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub").mkdir()
    script = tmp_path / "sub" / "run.sh"
    command = raw("def answer(cursor): return {'tools': [tool(os.getcwd())]}")
    script.write_text(f"#!/bin/sh\nexec {command}\n")
    script.chmod(0o755)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    entries = {"a": {"command": "./run.sh", "cwd": "sub"}, "b": {"command": "./none.sh", "cwd": "sub"}}
    (tmp_path / "mcp.json").write_text(json.dumps({"mcpServers": entries}))
    found = load_mcp(str(tmp_path / "mcp.json"))
    (tool,), (loss,) = found.tools, found.report.losses
    assert tool.source == {"format": "mcp", "name": str(tmp_path / "sub")}
    assert tool.endpoint is not None and tool.endpoint["cwd"] == str(tmp_path / "sub")
    assert loss.name == "b" and "there is no program './none.sh'" in loss.reason


def test_servers_of_a_file_run_at_the_same_time(tmp_path: Path, raw: Callable[[str], str]) -> None:
    command = shlex.split(raw("time.sleep(1.5)\ndef answer(cursor): return {'tools': [tool('a')]}"))
    servers = {name: {"command": command[0], "args": command[1:]} for name in ("one", "two", "three", "four")}
    (tmp_path / "mcp.json").write_text(json.dumps({"mcpServers": servers}))
    heard: list[tuple[int, int]] = []
    begin = time.monotonic()
    loaded = load_mcp(str(tmp_path / "mcp.json"), on_progress=lambda done, total: heard.append((done, total)))
    assert time.monotonic() - begin < 4 * 1.5
    assert [tool.id for tool in loaded.tools] == ["one&&a", "two&&a", "three&&a", "four&&a"]
    assert heard == [(1, 4), (2, 4), (3, 4), (4, 4)] and loaded.report.source == "mcp:mcp.json (4 servers)"


# Servers of SDKs before 1.9.4 do not survive a first question that they do not know.
OF_OLD = """
read = json.loads

def loads(line):
    request = read(line)
    return sys.exit("what is server/discover?") if request["method"] == "server/discover" else request

json.loads = loads

def answer(cursor): return {"tools": [tool("a")]}
"""
# One that knows the revision 2026-07-28 alone.
TO_COME = """
read = json.loads

def loads(line):
    request = read(line)
    say = {"jsonrpc": "2.0", "id": request.get("id")}
    if request["method"] == "initialize":
        say["error"] = {"code": -32601, "message": "unknown"}
    elif request["method"] == "server/discover":
        about = {"capabilities": {"tools": {}}, "serverInfo": {"name": "raw", "version": "1"}}
        say["result"] = {"supportedVersions": ["2026-07-28"], **about}
    else:
        return request
    print(json.dumps(say), flush=True)
    return loads(sys.stdin.readline())

json.loads = loads

def answer(cursor): return {"tools": [tool("a")]}
"""


@pytest.mark.parametrize("body", [OF_OLD, TO_COME], ids=["old", "new"])
def test_servers_of_all_eras_are_greeted_as_they_expect(raw: Callable[[str], str], body: str) -> None:
    assert [tool.name for tool in load_mcp(raw(body), timeout=8).tools] == ["a"]


def test_a_connection_that_lasts_is_opened_to_a_server_of_an_old_sdk(raw: Callable[[str], str]) -> None:
    server = McpServer(command=tuple(shlex.split(raw(OF_OLD))))
    ended: list[bool] = []

    async def listed() -> list[str]:
        options = Options(20, 1 << 20, lasting=True)
        with tempfile.TemporaryFile() as errors:
            async with connected(server, errors, options, on_end=lambda: ended.append(True)) as client:
                assert not ended  # the end of a first try is nobody's
                return [tool.name for tool in (await client.list_tools()).tools]

    assert anyio.run(listed) == ["a"] and ended == [True]


@pytest.mark.parametrize("content", ["{", "[]", '{"mcpServers": {}}', '{"a": 3}'])
def test_a_file_without_servers_says_what_is_expected(tmp_path: Path, content: str) -> None:
    file = tmp_path / "servers.json"
    file.write_text(content)
    with pytest.raises(CatalogError, match=r"expected|cannot read|not JSON"):
        load_mcp(str(file))


def test_bad_places() -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        load_mcp("python 'unclosed")
    with pytest.raises(UsageError, match="lacks a server"):
        load_mcp(" ")
    with pytest.raises(CatalogError, match="there is no program 'no-such-program'"):
        load_mcp("no-such-program --x")


def test_inside_a_running_event_loop_it_says_so() -> None:
    async def inside() -> None:
        load_mcp(sys.executable)

    with pytest.raises(CatalogError, match="running event loop; use a thread"):
        asyncio.run(inside())


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toolgen.catalog.loaders.mcp_connection.version", lambda _: "1.30.0")
    with pytest.raises(MissingExtraError, match=r"toolgen\[mcp\]"):
        load_mcp("x")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("file:///tmp/mcp", "is file://;"),
        ("ws://mcp.example/x", "is ws://;"),
        ("stdio://run", "is stdio://;"),
        ("http://", "is http:// without a host;"),
        ("https:///mcp", "is https:// without a host;"),
        ("http://user:pass@/mcp", "is http:// without a host;"),
    ],
)
def test_an_address_that_mcp_does_not_know_is_named_and_not_looked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, reason: str
) -> None:
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: pytest.fail("a name was looked up"))
    with pytest.raises(CatalogError, match=reason) as alone:
        load_mcp(url, timeout=20)
    (tmp_path / "mcp.json").write_text(json.dumps({"mcpServers": {"a": {"url": url}}}))
    (loss,) = load_mcp(str(tmp_path / "mcp.json"), timeout=20).report.losses
    assert reason in loss.reason and "pass" not in f"{alone.value} {loss.reason}"
