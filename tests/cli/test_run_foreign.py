"""Whole tasks of `toolgen run` over tools that other people wrote, with a scripted policy: MCP servers among 1,500 tools, and a
service on this machine that is known by its OpenAPI description alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.loopback import QuietHandler, serving

from toolgen.agent import Action, ScriptedPolicy
from toolgen.catalog import Catalog, Tool
from toolgen.catalog.loaders.mcp_servers import load_mcp
from toolgen.catalog.loaders.openapi import load_openapi
from toolgen.cli import run as command
from toolgen.testing import tiny_checkpoint

from .test_run import invoke

DISTRACTORS = 1_500


def carried_out(folder: Path, actions: list[tuple[str, dict[str, Any]] | Action], *options: object) -> dict[str, Any]:
    """The trajectory of a run in which the model does what the script says."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "acting_policy", lambda *_, **__: ScriptedPolicy(actions))
        result = invoke(folder, "Do it.", *options, "--yes", "--json")
    assert result.exit_code == 0, result.output
    record: dict[str, Any] = json.loads(result.stdout)
    return record


# --- MCP servers --------------------------------------------------------------------------------------------------


@pytest.fixture
def servers(tmp_path: Path) -> Path:
    """A client's file of four servers, of both eras of the protocol, and the folder that they work in."""
    place = os.environ.get("TOOLGEN_MCP_SERVERS")
    if not place or not shutil.which("node"):
        pytest.skip("no MCP servers; benchmarks/mcp_gateway.py installs them into the folder TOOLGEN_MCP_SERVERS")
    work = tmp_path / "work"
    work.mkdir()
    for words in (["init", "-q"], ["config", "user.name", "Ada"], ["config", "user.email", "ada@example.com"]):
        subprocess.run(["git", "-C", str(work), *words], check=True)
    node = Path(place) / "npm" / "node_modules" / "@modelcontextprotocol"
    own: dict[str, Any] = {
        name: {"command": str(Path(place) / f"mcp-server-{name}" / "bin" / f"mcp-server-{name}")}
        for name in ("time", "git")
    }
    for name in ("filesystem", "memory"):
        own[name] = {"command": "node", "args": [str(node / f"server-{name}" / "dist" / "index.js")]}
    own["filesystem"]["args"].append(str(work))
    own["memory"]["env"] = {"MEMORY_FILE_PATH": str(tmp_path / "memory.jsonl")}
    (tmp_path / "servers.json").write_text(json.dumps({"mcpServers": own}), encoding="utf-8")
    return tmp_path


def test_a_task_over_four_servers_that_other_people_wrote_among_1500_tools(servers: Path) -> None:
    found = load_mcp(str(servers / "servers.json")).tools
    others = [Tool(id=f"p{i}&&t{i}", provider=f"p{i}", name=f"t{i}") for i in range(DISTRACTORS - len(found))]
    catalog = Catalog([*others[:700], *found, *others[700:]])
    tiny_checkpoint(catalog=catalog, max_position_embeddings=8192).save(servers / "ckpt")
    work = str(servers / "work")
    note = {"path": f"{work}/note.txt", "content": "tea at four"}
    ada = {"name": "Ada", "entityType": "person", "observations": ["drinks tea"]}
    record = carried_out(
        servers / "ckpt",
        [
            Action(
                tool="time&&get_current_time",
                arguments={"timezone": "Asia/Tokyo"},
                parallel=(
                    Action(tool="filesystem&&write_file", arguments=note),
                    Action(tool="memory&&create_entities", arguments={"entities": [ada]}),
                ),
            ),
            ("git&&git_add", {"repo_path": work, "files": ["note.txt"]}),
            ("git&&git_commit", {"repo_path": work, "message": "A note"}),
            ("git&&git_log", {"repo_path": work}),
            ("memory&&search_nodes", {"query": "tea"}),
            ("finish", {"answer": "Noted."}),
        ],
        "--mcp-server",
        servers / "servers.json",
    )
    results = [one["content"] for one in record["messages"] if one["role"] == "tool"]
    assert record["outcome"]["calls"] == len(results) == 7 and "tool_errors" not in record["outcome"]
    for text, held in zip(results, ("Asia/Tokyo", "note.txt", "Ada", "", "", "A note", "drinks tea"), strict=True):
        assert held in text
    assert (servers / "work" / "note.txt").read_text(encoding="utf-8") == "tea at four"


# --- a service with an OpenAPI description ------------------------------------------------------------------------

DESCRIPTION: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "Bakery", "version": "1"},
    "paths": {
        "/orders": {
            "post": {
                "operationId": "placeOrder",
                "summary": "Order bread.",
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/json": {
                            "schema": {
                                "type": "object",
                                "properties": {"bread": {"type": "string"}, "loaves": {"type": "integer"}},
                                "required": ["bread"],
                            }
                        }
                    },
                },
                "responses": {"201": {"description": "the order"}},
            }
        },
        "/orders/{number}": {
            "get": {
                "operationId": "getOrder",
                "summary": "One order.",
                "parameters": [{"name": "number", "in": "path", "required": True, "schema": {"type": "integer"}}],
                "responses": {"200": {"description": "the order"}},
            }
        },
    },
}


@pytest.fixture
def bakery() -> Iterator[tuple[str, list[tuple[str, str, str | None]]]]:
    """The address of a service that takes orders from whoever has the key, and what it was asked."""
    orders: list[dict[str, Any]] = []
    seen: list[tuple[str, str, str | None]] = []

    class Bakery(QuietHandler):
        def _answer(self) -> None:
            seen.append((self.command, self.path, self.headers["Authorization"]))
            size = int(self.headers.get("Content-Length") or 0)
            if self.headers["Authorization"] != "Bearer flour":
                status, answer = 401, {"error": "who are you?"}
            elif self.command == "POST":
                orders.append({"number": len(orders) + 1, **json.loads(self.rfile.read(size))})
                status, answer = 201, orders[-1]
            else:
                status, answer = 200, orders[int(self.path.rpartition("/")[2]) - 1]
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = _answer

    with serving(Bakery) as address:
        yield address, seen


def test_a_task_over_a_service_that_only_its_openapi_description_tells_of(
    bakery: tuple[str, list[tuple[str, str, str | None]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, seen = bakery
    (tmp_path / "bakery.json").write_text(json.dumps({**DESCRIPTION, "servers": [{"url": address}]}))
    tools = load_openapi(str(tmp_path / "bakery.json")).tools
    ids = {tool.name: tool.id for tool in tools}
    tiny_checkpoint(catalog=Catalog(tools), max_position_embeddings=4096).save(tmp_path / "ckpt")
    monkeypatch.setenv("BAKERY_KEY", "flour")
    script: list[tuple[str, dict[str, Any]] | Action] = [
        (ids["placeOrder"], {"bread": "rye", "loaves": 2}),
        (ids["getOrder"], {"number": 1}),
        ("finish", {"answer": "Two loaves of rye are ordered."}),
    ]
    allowed = ["--allow-host", "127.0.0.1", "--allow-private"]
    header = ["--header", "127.0.0.1: Authorization: Bearer ${BAKERY_KEY}"]
    record = carried_out(tmp_path / "ckpt", script, *allowed, *header)
    results = [json.loads(one["content"]) for one in record["messages"] if one["role"] == "tool"]
    assert results == [{"number": 1, "bread": "rye", "loaves": 2}] * 2
    assert seen == [("POST", "/orders", "Bearer flour"), ("GET", "/orders/1", "Bearer flour")]
    assert "flour" not in json.dumps(record)

    reading = carried_out(tmp_path / "ckpt", [*script], *allowed, *header, "--read-only")
    assert reading["outcome"]["tool_errors"] == 1 and [one[0] for one in seen] == ["POST", "GET", "GET"]
