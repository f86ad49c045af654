"""`toolgen mcp`: a real client starts the command, searches, and calls a service on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import anyio
import pytest
from typer.testing import Result

from toolgen.catalog import Catalog, Tool
from toolgen.cli.index import indexed
from toolgen.datasets import save_dataset
from toolgen.testing import tiny_dataset

pytest.importorskip("mcp")
Invoke = Callable[..., Result]


class Weather(BaseHTTPRequestHandler):
    """Says what it was asked."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps({"path": self.path, "key": self.headers["X-Key"]}).encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A dataset whose tool is served by this process."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Weather)
    Thread(target=server.serve_forever, daemon=True).start()
    tool = Tool(
        id="weather&&forecast",
        provider="weather",
        name="forecast",
        description="The weather forecast of a city",
        parameters={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        endpoint={
            "kind": "http",
            "method": "GET",
            "server": f"http://127.0.0.1:{server.server_port}",
            "path": "/forecast",
            "in": {"city": "query"},
        },
    )
    other = Tool(id="mail&&send", provider="mail", name="send", description="Send an e-mail")
    path = tmp_path_factory.mktemp("mcp") / "dataset"
    save_dataset(replace(tiny_dataset(), catalog=Catalog([tool, other]), queries={}, trajectories={}), path)
    yield path
    server.shutdown()
    server.server_close()


def ask(options: list[str], name: str, arguments: dict[str, Any]) -> Any:
    """What a client gets that starts the command over stdio."""
    from mcp import Client, StdioServerParameters
    from mcp.client.stdio import stdio_client

    environment = {**os.environ, "WEATHER_KEY": "s3cret"}
    parameters = StdioServerParameters(command=sys.executable, args=["-m", "toolgen", "mcp", *options], env=environment)

    async def work() -> Any:
        with anyio.fail_after(60):
            async with Client(stdio_client(parameters)) as client:
                assert len((await client.list_tools()).tools) == 3
                return await client.call_tool(name, arguments)

    return anyio.run(work)


def test_a_client_calls_a_service_through_the_command(folder: Path, tmp_path: Path) -> None:
    log = tmp_path / "calls.jsonl"
    options = [str(folder), "--allow-host", "127.0.0.1", "--allow-private", "--log", str(log)]
    options += ["--header", "127.0.0.1: X-Key: ${WEATHER_KEY}"]
    given = {"name": "weather&&forecast", "arguments": {"city": "Oslo"}}
    found = ask(options, "call_tool", given)
    assert json.loads(found.content[0].text) == {"path": "/forecast?city=Oslo", "key": "s3cret"}
    assert json.loads(log.read_text("utf-8"))["status"] == "ok"
    assert "s3cret" not in log.read_text("utf-8")


def test_without_an_allowed_host_nothing_is_sent(folder: Path) -> None:
    found = ask([str(folder)], "call_tool", {"name": "weather&&forecast", "arguments": {"city": "Oslo"}})
    assert found.is_error
    assert "not allowed" in found.content[0].text


def test_a_part_of_the_catalog_is_all_that_a_client_sees(folder: Path) -> None:
    found = ask([str(folder), "--exclude", "provider:weather"], "search_tools", {"query": "weather forecast"})
    assert "weather" not in found.content[0].text


@pytest.mark.parametrize("client", ["claude", "cursor", "vscode", "codex"])
def test_settings_of_clients_are_printed_and_nothing_is_served(folder: Path, toolgen: Invoke, client: str) -> None:
    done = toolgen("mcp", folder, "--install", client)
    assert done.exit_code == 0
    assert json.dumps(sys.executable) in done.stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--http", "--host", "0.0.0.0"], "only this machine"),
        (["--header", "nonsense"], "HOST: NAME: VALUE"),
        (["--server", "nonsense"], "PROVIDER=URL"),
        (["--include", "provider:nothing"], "none of the 2 tools"),
    ],
)
def test_what_does_not_fit_is_said_at_once(folder: Path, toolgen: Invoke, options: list[str], said: str) -> None:
    done = toolgen("mcp", folder, *options)
    assert done.exit_code == 2
    assert said in done.stderr


def test_sources_are_indexed_once_and_then_served(
    toolgen: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base_folder: Path
) -> None:
    (tmp_path / "mine.py").write_text(
        'def forecast(city: str) -> str:\n    """Weather forecast."""\n    return city\n', encoding="utf-8"
    )
    monkeypatch.setenv("TOOLGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("toolgen.cli.served.indexed", lambda catalog: indexed(catalog, str(base_folder), fit=False))
    served: list[int] = []
    monkeypatch.setattr("toolgen.cli.mcp._serve", lambda gateway, _address: served.append(gateway.size))
    source = f"python:{tmp_path / 'mine.py'}"
    first, second = (toolgen("mcp", source) for _ in range(2))
    assert (first.exit_code, second.exit_code, served) == (0, 0, [1, 1])
    assert "indexing" in first.stderr
    assert "indexing 1 tools" not in second.stderr


SERVER = """
from mcp.server import MCPServer
server = MCPServer("{name}")
@server.tool()
def {tool}(text: str) -> str:
    \"\"\"{does}\"\"\"
    return "{name} got " + text
server.run("stdio")
"""


def test_a_file_of_servers_gets_to_a_client_by_the_commands_of_the_guide(tmp_path: Path, base_folder: Path) -> None:
    from mcp import Client, StdioServerParameters
    from mcp.client.stdio import stdio_client

    servers = {}
    for name, tool, does in (("notes", "add_note", "Write a note down"), ("clock", "tell_time", "Say what time it is")):
        (tmp_path / f"{name}.py").write_text(SERVER.format(name=name, tool=tool, does=does), encoding="utf-8")
        servers[name] = {"command": sys.executable, "args": [str(tmp_path / f"{name}.py")]}
    (tmp_path / "servers.json").write_text(json.dumps({"mcpServers": servers}), encoding="utf-8")

    def run(*words: str) -> str:
        command = [sys.executable, "-m", "toolgen", *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, encoding="utf-8", timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("index", "mcp:servers.json", "-o", "tools", "--base", str(base_folder), "--no-fit")
    assert "add_note" in run("search", "tools", "write a note down")
    printed = run("mcp", "tools", "--mcp-server=servers.json", "--log", "calls.jsonl", "--install", "claude")
    entry = json.loads(printed)["mcpServers"]["toolgen"]

    async def work() -> list[Any]:
        parameters = StdioServerParameters(command=entry["command"], args=entry["args"], env=dict(os.environ), cwd="/")
        with anyio.fail_after(60):
            async with Client(stdio_client(parameters)) as client:
                found = await client.call_tool(
                    "search_tools", {"query": "write a note down and say what time it is", "limit": 2}
                )
                names = [one["name"] for one in found.structured_content["tools"]]
                called = [
                    await client.call_tool("call_tool", {"name": name, "arguments": {"text": "x"}}) for name in names
                ]
                return [done.content[0] for done in called]

    assert sorted(part.text for part in anyio.run(work)) == ["clock got x", "notes got x"]
    assert len((tmp_path / "calls.jsonl").read_text("utf-8").splitlines()) == 2
