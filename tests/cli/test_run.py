"""`toolgen run`: steps on the screen, a trajectory as JSON, and one clear line for a wrong request."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from toolgen.agent import Action, ScriptedPolicy
from toolgen.catalog import Catalog
from toolgen.catalog.loaders.mcp_servers import load_mcp
from toolgen.catalog.loaders.python_functions import load_python_functions
from toolgen.checkpoint import Checkpoint
from toolgen.cli import run as command
from toolgen.cli.app import CommandGroup
from toolgen.decoding import DecodingOptions
from toolgen.testing import tiny_catalog, tiny_checkpoint

FUNCTIONS = '''
def rain(city: str) -> str:
    """Rain in a city."""
    return f"No rain in {city}."
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose only tool is the function in `tools.py` beside it."""
    root = tmp_path_factory.mktemp("run")
    (root / "tools.py").write_text(FUNCTIONS)
    catalog = Catalog(load_python_functions(str(root / "tools.py")).tools)
    tiny_checkpoint(catalog=catalog, max_position_embeddings=2048).save(root / "ckpt")
    return root


def invoke(*arguments: object) -> Result:
    app = typer.Typer(cls=CommandGroup)
    command.register(app)
    app.command("other")(lambda: None)
    return CliRunner().invoke(app, ["run", *map(str, arguments)], obj={"debug": False})


def test_the_whole_trajectory_is_printed_for_programs(folder: Path) -> None:
    result = invoke(folder / "ckpt", "Rain in Oslo?", "--max-steps", 2, "--json")
    record = json.loads(result.stdout)
    assert record["messages"][0] == {"role": "user", "content": "Rain in Oslo?"}
    assert result.exit_code == (0 if record["outcome"]["status"] in ("finished", "gave_up", "declined") else 1)


def test_steps_are_shown_as_lines(folder: Path) -> None:
    result = invoke(
        folder / "ckpt", "Rain in Oslo?", "--environment", f"python:{folder / 'tools.py'}", "--max-steps", 2
    )
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["request", "Rain", "in", "Oslo?"]
    assert lines[-1].split()[0] == "outcome"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["Hi", "--environment", "moon"], "dry-run, simulated, recorded:FILE, python:FILE"),
        ([], "give a task"),
        (["--environment", "python:tools.py"], "give a task"),
    ],
)
def test_a_request_that_cannot_be_meant_is_refused(folder: Path, arguments: list[str], text: str) -> None:
    result = invoke(folder / "ckpt", *arguments)
    assert result.exit_code == 2
    assert text in " ".join(result.output.split())


def test_tools_that_are_excluded_are_not_called(tmp_path: Path) -> None:
    catalog = tiny_catalog()
    tiny_checkpoint(catalog=catalog, max_position_embeddings=4096).save(tmp_path / "ckpt")
    result = invoke(tmp_path / "ckpt", catalog[3].description, "--include", "clock", "--max-steps", 4, "--json")
    calls = [call for message in json.loads(result.stdout)["messages"] for call in message.get("tool_calls", ())]
    assert calls
    for call in calls:
        assert call["function"]["name"] in ("finish", "no_tool") or "clock" in call["function"]["name"]


def test_functions_that_the_model_has_no_token_for_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "more.py").write_text('def snow() -> str:\n    """Snow."""\n    return "no"\n')
    result = invoke(folder / "ckpt", "Snow?", "--environment", f"python:{tmp_path / 'more.py'}")
    assert result.exit_code == 2
    assert "catalog build" in " ".join(result.output.split())


def test_a_call_that_was_cut_is_shown_as_not_called(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[int] = []

    def policy(_checkpoint: Checkpoint, *, think: bool, options: DecodingOptions) -> ScriptedPolicy:
        limits.append(options.argument_tokens)
        return ScriptedPolicy([Action(tool="tools&&rain", stuck="arguments_cut", fault="cut after 2 tokens")])

    monkeypatch.setattr(command, "GenerativePolicy", policy)
    result = invoke(folder / "ckpt", "Rain in Oslo?", "--max-argument-tokens", 2)
    assert "not called  tools&&rain: cut after 2 tokens" in result.stdout and "0 calls" in result.stdout
    assert limits == [2]


SERVER = """
from mcp.server import MCPServer

server = MCPServer("sky")


@server.tool()
def rain(city: str) -> str:
    return f"No rain in {city}."


server.run("stdio")
"""


def test_tools_of_mcp_servers_are_called_where_the_user_names_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mcp")
    (tmp_path / "sky.py").write_text(SERVER)
    place = shlex.join([sys.executable, str(tmp_path / "sky.py")])
    catalog = Catalog(load_mcp(place).tools)
    tiny_checkpoint(catalog=catalog, max_position_embeddings=2048).save(tmp_path / "ckpt")
    actions = [Action(tool="sky&&rain", arguments={"city": "Oslo"}), Action(tool="finish", arguments={"answer": "no"})]
    monkeypatch.setattr(command, "GenerativePolicy", lambda *_, **__: ScriptedPolicy(actions))

    result = invoke(tmp_path / "ckpt", "Rain in Oslo?", "--environment", f"mcp:{place}")
    assert "No rain in Oslo." in result.stdout and "1 calls  0 errors" in result.stdout.replace(",", " ")
    asked = invoke(tmp_path / "ckpt", "Rain in Oslo?", "--environment", "mcp")
    assert asked.exit_code == 2 and "no terminal to ask; name them" in " ".join(asked.output.split())
    other = invoke(tmp_path / "ckpt", "Rain in Oslo?", "--environment", "mcp:another server")
    assert other.exit_code == 2 and "knows no tool of another server" in " ".join(other.output.split())


def test_a_run_is_recorded_shown_again_and_its_results_replayed(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "run.jsonl"
    first = invoke(folder / "ckpt", "Rain?", "--environment", "simulated", "--max-steps", 2, "--record", file)
    again = invoke(folder / "ckpt", "--replay", file)
    assert again.exit_code == 0
    assert again.stdout.splitlines()[:-1] == first.stdout.splitlines()[:-1]
    replayed = invoke(folder / "ckpt", "Rain?", "--environment", f"recorded:{file}", "--max-steps", 2)
    assert replayed.stdout.splitlines()[:-1] == first.stdout.splitlines()[:-1]
    assert invoke(folder / "ckpt", "Rain?", "--record", file).exit_code == 2
