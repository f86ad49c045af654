"""`toolgen run`: steps on the screen, a trajectory as JSON, and one clear line for a wrong request."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from toolgen.agent import Action, ScriptedPolicy, read_run
from toolgen.catalog import Catalog, Tool
from toolgen.catalog.loaders.mcp_servers import load_mcp
from toolgen.catalog.loaders.python_functions import load_python_functions
from toolgen.checkpoint import Checkpoint
from toolgen.cli import run as command
from toolgen.cli.app import CommandGroup
from toolgen.datasets.agentdojo import import_agentdojo
from toolgen.datasets.tau2 import import_tau2
from toolgen.decoding import DecodingOptions
from toolgen.errors import InputError
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


def invoke(*arguments: object, answers: str | None = None) -> Result:
    app = typer.Typer(cls=CommandGroup)
    command.register(app)
    app.command("other")(lambda: None)
    return CliRunner().invoke(app, ["run", *map(str, arguments)], obj={"debug": False}, input=answers)


def test_the_whole_trajectory_is_printed_for_programs(folder: Path) -> None:
    result = invoke(folder / "ckpt", "Rain in Oslo?", "--max-steps", 2, "--json")
    record = json.loads(result.stdout)
    assert record["messages"][0] == {"role": "user", "content": "Rain in Oslo?"}
    assert result.exit_code == (0 if record["outcome"]["status"] in ("finished", "gave_up", "declined") else 1)


def test_another_retriever_is_added_to_the_model(folder: Path) -> None:
    result = invoke(folder / "ckpt", "Rain in Oslo?", "--add", "bm25", "--max-steps", 1, "--json")
    assert json.loads(result.stdout)["messages"], result.output
    alone = invoke(folder / "ckpt", "Rain in Oslo?", "--add", "bm25", "--alone")
    assert alone.exit_code == 2 and "alone (--alone) adds nothing; leave out --add" in " ".join(alone.output.split())
    refused = invoke(folder / "ckpt", "Rain in Oslo?", "--add", "bm52")
    assert refused.exit_code == 2 and "there is no retriever 'bm52'" in " ".join(refused.output.split())


def test_steps_are_shown_as_lines(folder: Path) -> None:
    result = invoke(folder / "ckpt", "Rain in Oslo?", "--python", folder / "tools.py", "--yes", "--max-steps", 2)
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["request", "Rain", "in", "Oslo?"]
    assert lines[-1].split()[0] == "outcome"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["Hi", "--environment", "moon"], "endpoints, dry-run, simulated, recorded:FILE"),
        ([], "give a task"),
        (["--python", "tools.py"], "give a task"),
        (["Hi", "--python", "tools.py", "--environment", "simulated"], "simulated calls nothing"),
        (["Hi", "--environment", "endpoints"], "its tools can be: 1 by --python FILE"),
        (["Hi", "--python", "tools.py", "--read-only"], "none says that it only reads"),
        (["Hi", "--resume", "run.jsonl"], "give it alone"),
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
    result = invoke(folder / "ckpt", "Snow?", "--python", tmp_path / "more.py")
    assert result.exit_code == 2
    assert "catalog build" in " ".join(result.output.split())


def test_a_call_that_was_cut_is_shown_as_not_called(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[int] = []

    def policy(_checkpoint: Checkpoint, _add: Sequence[str], *, options: DecodingOptions, **_: bool) -> ScriptedPolicy:
        limits.append(options.argument_tokens)
        return ScriptedPolicy([Action(tool="tools&&rain", stuck="arguments_cut", fault="cut after 2 tokens")])

    monkeypatch.setattr(command, "acting_policy", policy)
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
    monkeypatch.setattr(command, "acting_policy", lambda *_, **__: ScriptedPolicy(actions))

    result = invoke(tmp_path / "ckpt", "Rain in Oslo?", "--mcp-server", place, "--yes")
    assert "No rain in Oslo." in result.stdout and "1 calls  0 errors" in result.stdout.replace(",", " ")
    for options in (["--environment", "endpoints"], ["--mcp-server", "another server"]):
        unnamed = invoke(tmp_path / "ckpt", "Rain in Oslo?", *options, "--yes")
        assert unnamed.exit_code == 2 and "1 by --mcp-server SERVER" in " ".join(unnamed.output.split())


def scripted(monkeypatch: pytest.MonkeyPatch, *actions: tuple[str, dict[str, Any]]) -> None:
    monkeypatch.setattr(command, "acting_policy", lambda *_, **__: ScriptedPolicy(actions))


def test_a_person_is_asked_before_a_call_that_may_change_something_and_before_a_server_of_the_catalog(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rain = ("tools&&rain", {"city": "Oslo"})
    scripted(monkeypatch, rain)
    alone = invoke(folder / "ckpt", "Rain?", "--python", folder / "tools.py")
    assert alone.exit_code == 2 and "there is no terminal to ask before it is called" in " ".join(alone.output.split())

    monkeypatch.setattr("toolgen.cli.run_places.is_person_there", lambda: True)
    for answer, said in (("y\n", "No rain in Oslo."), ("n\n", "the user did not agree to this call")):
        scripted(monkeypatch, rain)
        result = invoke(folder / "ckpt", "Rain?", "--python", folder / "tools.py", answers=answer)
        assert (
            said in result.stdout
            and 'tools&&rain may change or delete something. Call it with {"city": "Oslo"}?' in result.stderr
        )
    endpoint = {"kind": "mcp", "server": "sky", "command": ["sky-server"], "tool": "see"}
    see = Tool(id="see", provider="sky", name="see", endpoint={**endpoint, "annotations": {"readOnlyHint": True}})
    tiny_checkpoint(catalog=Catalog([see]), max_position_embeddings=2048).save(tmp_path / "ckpt")
    scripted(monkeypatch, ("see", {}))
    result = invoke(tmp_path / "ckpt", "Look.", "--environment", "endpoints", answers="n\n")
    assert "did not agree" in result.stdout and "the catalog names an MCP server: sky-server" in result.stderr


def test_a_run_that_was_broken_off_goes_on_from_its_file_and_calls_nothing_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two calls, a limit of steps; then the rest. The function counts how often it is called."""
    (tmp_path / "tools.py").write_text(
        "from pathlib import Path\n\n"
        'def rain(city: str) -> str:\n    """Rain in a city."""\n'
        "    with Path(__file__).with_name('calls').open('a') as file:\n        file.write(city + '\\n')\n"
        "    return f'No rain in {city}.'\n"
    )
    options = ["--python", tmp_path / "tools.py", "--yes"]
    scripted(monkeypatch, ("tools&&rain", {"city": "Oslo"}), ("tools&&rain", {"city": "Rome"}))
    first = invoke(folder / "ckpt", "Rain?", *options, "--record", tmp_path / "run.jsonl", "--max-steps", 2)
    assert first.exit_code == 1 and "step limit" in first.stdout
    scripted(monkeypatch, ("tools&&rain", {"city": "Bergen"}), ("finish", {"answer": "None."}))
    second = invoke(folder / "ckpt", "--resume", tmp_path / "run.jsonl", *options, "--json")
    assert second.exit_code == 0
    record = json.loads(second.stdout)
    assert (record["outcome"]["calls"], record["outcome"]["answer"]) == (3, "None.")
    assert [one["content"] for one in record["messages"] if one["role"] == "tool"] == [
        f"No rain in {city}." for city in ("Oslo", "Rome", "Bergen")
    ]
    assert (tmp_path / "calls").read_text().split() == ["Oslo", "Rome", "Bergen"]
    done = invoke(folder / "ckpt", "--resume", tmp_path / "run.jsonl", *options)
    assert done.exit_code == 2 and "is done" in done.output


def test_a_run_is_recorded_shown_again_and_its_results_replayed(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "run.jsonl"
    first = invoke(folder / "ckpt", "Rain?", "--environment", "simulated", "--max-steps", 2, "--record", file)
    again = invoke(folder / "ckpt", "--replay", file)
    assert again.exit_code == 0
    assert again.stdout.splitlines()[:-1] == first.stdout.splitlines()[:-1]
    replayed = invoke(folder / "ckpt", "Rain?", "--environment", f"recorded:{file}", "--max-steps", 2)
    assert replayed.stdout.splitlines()[:-1] == first.stdout.splitlines()[:-1]
    assert invoke(folder / "ckpt", "Rain?", "--record", file).exit_code == 2


def _mutated(value: Any, random: Random) -> Any:
    """The JSON value with one part of it left out or another one."""
    if isinstance(value, (dict, list)) and value and random.random() < 0.8:
        key = random.choice([*value] if isinstance(value, dict) else [*range(len(value))])
        changed: Any = value.copy()
        if random.random() < 0.2:
            del changed[key]
        else:
            changed[key] = _mutated(value[key], random)
        return changed
    return random.choice([None, -1, 10**30, 0.5, True, "", "finish", "end", "back", [], {}, [{}], {"a": [None]}])


def test_a_recorded_run_whatever_was_done_to_its_lines_is_shown_or_refused_in_one_line(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = Action(tool="tools&&rain", arguments={"city": "a"}, parallel=(Action(tool="tools&&rain", arguments={}),))
    stuck = Action(tool="tools&&rain", stuck="arguments_cut", fault="cut")
    actions: list[Any] = [("tools&&rain", {"city": "b"}), both, stuck, ("finish", {"answer": "No.", "gave_up": True})]
    monkeypatch.setattr(command, "acting_policy", lambda *_, **__: ScriptedPolicy(actions))
    file = tmp_path / "run.jsonl"
    first = invoke(folder / "ckpt", "Rain?", "--search", "dfs", "--record", file)
    assert [line.split()[0] for line in first.stdout.splitlines()].count("back") == 2
    assert first.stdout.splitlines()[:-1] == invoke(folder / "ckpt", "--replay", file).stdout.splitlines()[:-1]
    lines = file.read_text().splitlines()
    shown = 0
    for number in range(300):
        random = Random(number)
        place = random.randrange(1, len(lines))
        changed = json.dumps(_mutated(json.loads(lines[place]), random))
        file.write_text("\n".join([*lines[:place], changed, *lines[place + 1 :], ""]))
        result = invoke(folder / "ckpt", "--replay", file)
        assert result.exception is None or isinstance(result.exception, (InputError, SystemExit)), changed
        shown += result.exit_code == 0
    assert 50 < shown < 250


def test_a_search_is_refused_where_calls_cannot_be_undone(folder: Path, tmp_path: Path) -> None:
    asked = [folder / "ckpt", "Rain?", "--python", folder / "tools.py", "--yes", "--search", "dfs"]
    result = invoke(*asked, "--record", tmp_path / "run.jsonl")
    assert result.exit_code == 2 and "cannot undo one" in " ".join(result.output.split())
    assert not (tmp_path / "run.jsonl").exists()


@pytest.mark.weights
def test_a_benchmarks_task_is_carried_out_in_its_world_and_judged(
    tau2: Path, agentdojo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = Catalog([*import_tau2(tau2, "mock").catalog, *import_agentdojo(agentdojo, "banking").catalog])
    tiny_checkpoint(catalog=catalog, max_position_embeddings=4096).save(tmp_path / "ckpt")
    actions: list[Any] = [("mock&&create_task", {"user_id": "user_1", "title": "Important Meeting"})]
    monkeypatch.setattr(command, "acting_policy", lambda *_, **__: ScriptedPolicy(actions))
    right = invoke(tmp_path / "ckpt", "-e", "tau2:mock/create_task_1", "--search", "dfs")
    assert "Important Meeting" in right.stdout and right.stdout.splitlines()[-1].endswith("judged right")
    wrong = invoke(tmp_path / "ckpt", "-e", "agentdojo:banking/user_task_0", "--json")
    assert json.loads(wrong.stdout)["score"]["measures"] == {"utility": 0.0}
    own = invoke(tmp_path / "ckpt", "Make a task.", "-e", "tau2:mock/create_task_1", "--json")
    assert json.loads(own.stdout)["messages"][1]["content"] == "Make a task." and "score" not in own.stdout
    unknown = invoke(tmp_path / "ckpt", "-e", "agentdojo:banking/user_task_99")
    assert unknown.exit_code == 2 and "named like banking/user_task_0" in " ".join(unknown.output.split())


INTERRUPTED = """
import sys
import time
from contextlib import suppress
from toolgen.cli.start import listen, main
listen()
from toolgen.agent import ScriptedPolicy
from toolgen.cli import run
run.acting_policy = lambda *_, **__: ScriptedPolicy([("tools&&hang", {})])
sys.argv = ["toolgen", *sys.argv[1:]]
main()
"""


def test_ctrl_c_during_a_call_leaves_a_file_to_resume_and_no_process(tmp_path: Path) -> None:
    tools, file = tmp_path / "tools.py", tmp_path / "run.jsonl"
    tools.write_text(
        "import subprocess, sys\n\n\n"
        'def hang() -> None:\n    """Hangs."""\n'
        "    subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)', __file__])\n"
    )
    catalog = Catalog(load_python_functions(str(tools)).tools)
    tiny_checkpoint(catalog=catalog, max_position_embeddings=2048).save(tmp_path / "ckpt")
    command = ["run", tmp_path / "ckpt", "Hang.", "--python", tools, "--yes", "--record", file]
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, *map(str, command)], stderr=subprocess.PIPE, text=True
    )
    end = time.monotonic() + 120
    while not _with(tools, "time.sleep(600)"):
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert [(event.kind, event.text) for event in read_run(file)][1:] == [
        ("action", ""),
        ("begin", ""),
        ("end", "cancelled"),
    ]
    assert not _with(tools, "")


def _with(*words: object) -> list[bytes]:
    """Command lines of processes that hold all the words."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            line = path.read_bytes()
            if all(os.fsencode(str(word)) in line for word in words):
                found.append(line)
    return found
