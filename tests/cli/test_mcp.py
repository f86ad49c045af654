"""`toolgen mcp`: a real client starts the command, searches, and calls a service on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.loopback import QuietHandler, serving
from typer.testing import Result

from toolgen.agent import McpEnvironment
from toolgen.catalog import Catalog, Tool
from toolgen.cli.index import indexed
from toolgen.datasets import save_dataset
from toolgen.retrieval import make_retriever
from toolgen.serving import Gateway
from toolgen.testing import tiny_dataset

pytest.importorskip("mcp")
Invoke = Callable[..., Result]


class Weather(QuietHandler):
    """Says what it was asked."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps({"path": self.path, "key": self.headers["X-Key"]}).encode())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A dataset whose tool is served by this process."""
    with serving(Weather) as address:
        tool = Tool(
            id="weather&&forecast",
            provider="weather",
            name="forecast",
            description="The weather forecast of a city",
            parameters={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
            endpoint={
                "kind": "http",
                "method": "GET",
                "server": address,
                "path": "/forecast",
                "in": {"city": "query"},
            },
        )
        other = Tool(id="mail&&send", provider="mail", name="send", description="Send an e-mail")
        path = tmp_path_factory.mktemp("mcp") / "dataset"
        save_dataset(replace(tiny_dataset(), catalog=Catalog([tool, other]), queries={}, trajectories={}), path)
        yield path


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


def test_a_client_that_cannot_ask_its_user_writes_nothing_under_confirm(folder: Path) -> None:
    found = ask([str(folder), "--confirm"], "call_tool", {"name": "mail&&send"})
    assert found.is_error
    assert "elicitation" in found.content[0].text
    unasked = ask([str(folder), "--confirm", "--yes"], "call_tool", {"name": "mail&&send"})
    assert "not carried out here" in unasked.content[0].text  # no environment has it, but it was let through


def test_a_report_tells_tokens_and_break_even(folder: Path, toolgen: Invoke, tmp_path: Path) -> None:
    log = tmp_path / "calls.jsonl"
    log.write_text('{"operation": "search", "tools": ["mail&&send"]}\n', encoding="utf-8")
    done = toolgen("mcp", folder, "--report", "--log", log, "--json")
    told = json.loads(done.stdout)
    assert told["tools"] == 2
    assert told["tokens"]["per_search"] == len("mail&&send: Send an e-mail") // 4
    assert told["break_even_searches"] == 0
    assert "break-even" in toolgen("mcp", folder, "--report").stdout


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
        (["--allow-host", "h", "--header", "nonsense"], "HOST: NAME: VALUE"),
        (["--allow-host", "localhost:8080"], "leave out scheme, port and path"),
        (["--allow-host", "h", "--server", "nonsense"], "PROVIDER=URL"),
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
    monkeypatch.setattr("toolgen.cli.mcp._serve", lambda gateway, *_how: served.append(gateway.size))
    source = f"python:{tmp_path / 'mine.py'}"
    first, second = (toolgen("mcp", source) for _ in range(2))
    assert (first.exit_code, second.exit_code, served) == (0, 0, [1, 1])
    assert "indexing" in first.stderr
    assert "indexing 1 tools" not in second.stderr


SERVER = """
from typing import Literal
from mcp.server import MCPServer
server = MCPServer("{name}")
@server.tool()
def {tool}(text: {kind}) -> str:
    \"\"\"{does}\"\"\"
    return "{name} got " + text
server.run("stdio")
"""


def test_a_file_of_servers_gets_to_a_client_by_the_commands_of_the_guide(tmp_path: Path, base_folder: Path) -> None:
    from mcp import Client, StdioServerParameters
    from mcp.client.stdio import stdio_client

    servers = {}
    for name, tool, does in (("notes", "add_note", "Write a note down"), ("clock", "tell_time", "Say what time it is")):
        (tmp_path / f"{name}.py").write_text(
            SERVER.format(name=name, tool=tool, does=does, kind="str"), encoding="utf-8"
        )
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
    operations = [json.loads(line)["operation"] for line in (tmp_path / "calls.jsonl").read_text("utf-8").splitlines()]
    assert operations == ["search", "call", "call"]
    report = json.loads(run("mcp", "tools", "--report", "--json", "--log", "calls.jsonl"))
    assert report["unit"] == "tokens"
    assert report["log"] == {"operations": {"search": 1, "call": 2}, "unknown": 0}


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base_folder: Path) -> str:
    """A source: the file of one server, whose tools are indexed with a tiny base."""
    (tmp_path / "notes.py").write_text(
        SERVER.format(name="notes", tool="add_note", does="Write a note down", kind="Literal['milk', 'bread']"),
        encoding="utf-8",
    )
    entry = {"command": sys.executable, "args": [str(tmp_path / "notes.py")]}
    (tmp_path / "servers.json").write_text(json.dumps({"mcpServers": {"notes": entry}}), encoding="utf-8")
    monkeypatch.setenv("TOOLGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("toolgen.cli.served.indexed", lambda catalog: indexed(catalog, str(base_folder), fit=False))
    return f"mcp:{tmp_path / 'servers.json'}"


def test_the_tools_of_an_mcp_source_are_called_through_the_gateway(
    toolgen: Invoke, monkeypatch: pytest.MonkeyPatch, notes: str
) -> None:
    said: list[str] = []

    def use(gateway: Gateway, *_how: Any) -> None:
        (found,) = gateway.search("write a note down").tools
        said.append(gateway.call(found.name, {"text": "milk"}).content)

    monkeypatch.setattr("toolgen.cli.mcp._serve", use)
    done = toolgen("mcp", notes)
    assert (done.exit_code, said) == (0, ["notes got milk"]), done.stderr


def test_a_call_that_the_server_makes_of_an_mcp_source_is_carried_out_by_its_environment(
    toolgen: Invoke, monkeypatch: pytest.MonkeyPatch, notes: str
) -> None:
    from fastapi.testclient import TestClient

    said: list[str] = []

    def use(app: Any, **_how: Any) -> None:
        with TestClient(app, base_url="http://127.0.0.1") as client:
            (tool,) = client.post("/v1/tools/search", json={"query": "write a note down"}).json()["data"]
            forced = {"type": "function", "function": {"name": tool["name"]}}
            body = {"messages": [{"role": "user", "content": "note: milk"}], "tool_choice": forced, "max_tokens": 400}
            (choice,) = client.post("/v1/chat/completions", json=body).json()["choices"]
            assert choice["message"]["tool_calls"], choice
            (call,) = choice["message"]["tool_calls"]
            catalog = Catalog.load(next(Path(os.environ["TOOLGEN_CACHE"]).glob("served/*/catalog.jsonl")))
            environment = McpEnvironment(catalog, servers=[notes.removeprefix("mcp:")])
            gateway = Gateway(catalog, make_retriever("bm25"), environment)  # nothing is searched
            said.append(gateway.call(call["function"]["name"], json.loads(call["function"]["arguments"])).content)
            gateway.close()

    monkeypatch.setattr("uvicorn.run", use)
    done = toolgen("serve", notes)
    assert done.exit_code == 0, done.stderr
    assert said[0] in ("notes got milk", "notes got bread")
