"""A server behind the gateway changes its tools while clients search and call: nothing is dropped, and what is new is found."""

from __future__ import annotations

import shlex
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from toolgen.agent import ComposedEnvironment, McpEnvironment
from toolgen.catalog import Catalog
from toolgen.catalog.loaders.mcp_servers import load_mcp
from toolgen.retrieval import BM25Retriever, Retriever, SumRetriever
from toolgen.retrieval.generative import GenerativeRetriever
from toolgen.serving import Gateway
from toolgen.serving.following import Following
from toolgen.testing import tiny_checkpoint

pytest.importorskip("mcp")

# Revision 2026-07-28, by the SDK.
MODERN = '''
from mcp.server import MCPServer
from mcp.server.mcpserver import Context

server = MCPServer("kitchen")

def boil(cups: int) -> str:
    """Boil water for tea"""
    return f"{cups} cups boiled"

def boil_again(cups: int) -> str:
    """Heat the kettle once more"""
    return f"{cups} cups heated"

@server.tool()
def sweep() -> str:
    """Sweep the floor"""
    return "swept"

@server.tool()
async def alter(what: str, ctx: Context) -> str:
    """Change the tools of this server"""
    if what == "add":
        server.add_tool(boil, name="boil")
    elif what == "change":
        server.remove_tool("boil")
        server.add_tool(boil_again, name="boil")
    else:
        server.remove_tool("sweep")
    await ctx.notify_tools_changed()
    return what

server.run("stdio")
'''

# Revision 2025-11-25, in raw JSON-RPC.
LEGACY = r"""
import json, sys

def tool(name, description, **properties):
    return {"name": name, "description": description, "inputSchema": {"type": "object", "properties": properties}}

alter = tool("alter", "Change the tools of this server", what={"type": "string"})
tools = {"sweep": tool("sweep", "Sweep the floor"), "alter": alter}
boiled = "boiled"

def say(message):
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)

def call(name, arguments):
    global boiled
    if name != "alter":
        return f"{arguments['cups']} cups {boiled}" if name == "boil" else "swept"
    if arguments["what"] == "drop":
        del tools["sweep"]
    else:
        boiled = "boiled" if arguments["what"] == "add" else "heated"
        text = "Boil water for tea" if arguments["what"] == "add" else "Heat the kettle once more"
        tools["boil"] = tool("boil", text, cups={"type": "integer"})
    say({"method": "notifications/tools/list_changed"})
    return arguments["what"]

for line in sys.stdin:
    request = json.loads(line)
    if "id" not in request:
        continue
    if request["method"] == "initialize":
        about = {"capabilities": {"tools": {"listChanged": True}}, "serverInfo": {"name": "kitchen", "version": "1"}}
        say({"id": request["id"], "result": {"protocolVersion": "2025-11-25", **about}})
    elif request["method"] == "tools/list":
        say({"id": request["id"], "result": {"tools": list(tools.values())}})
    elif request["method"] == "tools/call":
        text = call(request["params"]["name"], request["params"].get("arguments"))
        say({"id": request["id"], "result": {"content": [{"type": "text", "text": text}]}})
    else:
        say({"id": request["id"], "error": {"code": -32601, "message": "unknown"}})
"""


@pytest.fixture(params=["modern", "legacy"])
def command(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    path = tmp_path / "kitchen.py"
    path.write_text(MODERN if request.param == "modern" else LEGACY, encoding="utf-8")
    return shlex.join([sys.executable, str(path)])


def made(kind: str, catalog: Catalog) -> Retriever:
    words = BM25Retriever()
    if kind == "bm25":
        return words
    model = GenerativeRetriever(tiny_checkpoint(catalog=catalog, max_position_embeddings=1024))
    return SumRetriever([(model, 0.001), (words, 1.0)])


class Kitchen:
    """The gateway over the server, and what was told of it."""

    def __init__(self, command: str, kind: str, select: Callable[[Any], Any] = lambda tools: tools) -> None:
        self.catalog = Catalog(load_mcp(command).tools)
        retriever = made(kind, self.catalog)
        retriever.index(self.catalog)
        self.mcp = McpEnvironment(self.catalog, servers=[command])
        self.environment = ComposedEnvironment(self.catalog, {"mcp": self.mcp})
        self.gateway = Gateway(self.catalog, retriever, self.environment)
        self.told: list[str] = []
        self.following = Following(self.gateway, self.mcp, select, self.take, self.told.append)
        until = time.monotonic() + 30
        while not self.following._lists and time.monotonic() < until:  # what changes before is in the first list
            time.sleep(0.02)

    def take(self, catalog: Catalog) -> None:
        self.mcp.take(catalog)
        self.environment.take(catalog)

    def alter(self, what: str) -> None:
        """Has the server change its tools, and waits until that is known here."""
        count, until = len(self.told), time.monotonic() + 30
        assert self.gateway.call("kitchen&&alter", {"what": what}).content == what
        while len(self.told) == count and time.monotonic() < until:
            time.sleep(0.02)
        assert len(self.told) > count, "nothing was heard"

    def first(self, text: str) -> str:
        return self.gateway.search(text, 1).tools[0].name


@pytest.fixture(params=["bm25", "model"])
def kitchen(request: pytest.FixtureRequest, command: str) -> Iterator[Kitchen]:
    one = Kitchen(command, request.param)
    yield one
    one.gateway.close()


def test_what_a_server_adds_changes_and_drops_is_what_clients_find(kitchen: Kitchen) -> None:
    gone, faults = threading.Event(), []

    def ask() -> None:
        while not gone.is_set():
            try:
                assert kitchen.gateway.search("change the tools", 3).tools
                assert kitchen.gateway.call("kitchen&&alter", {"what": 5}).is_error  # invalid, and answered
                time.sleep(0.01)
            except Exception as error:
                faults.append(error)

    clients = [threading.Thread(target=ask) for _ in range(2)]
    for client in clients:
        client.start()
    try:
        kitchen.alter("add")
        assert kitchen.first("boil water for tea") == "kitchen&&boil"
        assert kitchen.gateway.call("kitchen&&boil", {"cups": 2}).content == "2 cups boiled"
        kitchen.alter("change")
        assert kitchen.first("heat the kettle") == "kitchen&&boil"
        assert kitchen.gateway.details(["kitchen&&boil"])[0]["description"] == "Heat the kettle once more"
        assert kitchen.gateway.call("kitchen&&boil", {"cups": 3}).content == "3 cups heated"
        kitchen.alter("drop")
        assert "there is no tool" in kitchen.gateway.call("kitchen&&sweep", {}).content
        assert kitchen.gateway.size == 2
    finally:
        gone.set()
        for client in clients:
            client.join(60)
    assert not faults
    assert kitchen.told == [
        f"tools of a server: {counts}"
        for counts in ("1 new, 0 changed, 0 gone", "0 new, 1 changed, 0 gone", "0 new, 0 changed, 1 gone")
    ]


def test_what_is_left_out_is_not_taken_in_later(command: str) -> None:
    kitchen = Kitchen(command, "bm25", select=lambda tools: [tool for tool in tools if tool.name != "boil"])
    try:
        assert kitchen.gateway.call("kitchen&&alter", {"what": "add"}).content == "add"
        kitchen.alter("drop")
        assert kitchen.told == ["tools of a server: 0 new, 0 changed, 1 gone"]
        assert "kitchen&&boil" not in kitchen.gateway.catalog
    finally:
        kitchen.gateway.close()
