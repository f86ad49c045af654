"""`toolgen catalog ...`: what is printed, what is written, and the exit code."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from tests.cli.conftest import Invoke
from typer.testing import CliRunner, Result

from toolgen.cli import catalog as command
from toolgen.cli.app import CommandGroup
from toolgen.datasets import Query, load_dataset, save_dataset

TOOLS: list[dict[str, Any]] = [
    {
        "name": "weather",
        "description": "Weather of a city.",
        "parameters": {"properties": {"city": {"type": "string"}}},
    },
    {"name": "stocks", "description": "Price of a share."},
]


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer(cls=CommandGroup)
    app.callback()(lambda: None)
    command.register(app)
    return app


@pytest.fixture
def functions(tmp_path: Path) -> Path:
    file = tmp_path / "tools.json"
    file.write_text(json.dumps(TOOLS))
    return file


def _run(app: typer.Typer, *arguments: object) -> Result:
    return CliRunner().invoke(app, ["catalog", *map(str, arguments)])


def _json(result: Result) -> Any:
    return json.loads(result.stdout)


@pytest.fixture
def dataset(app: typer.Typer, functions: Path, tmp_path: Path) -> Path:
    result = _run(app, "build", f"openai:{functions}", "-o", tmp_path / "data")
    assert result.exit_code == 0, result.output
    return tmp_path / "data"


def test_build_writes_the_dataset_and_reports_what_was_loaded(
    app: typer.Typer, functions: Path, tmp_path: Path
) -> None:
    result = _run(app, "build", f"openai:{functions}", "-o", tmp_path / "out", "--json")
    assert result.exit_code == 0
    assert _json(result)["reports"][0]["loaded"] == 2
    loaded = load_dataset(tmp_path / "out")
    assert (loaded.name, loaded.catalog.ids) == ("out", ("tools&&weather", "tools&&stocks"))


def test_a_loss_is_shown_and_under_strict_nothing_is_written(app: typer.Typer, tmp_path: Path) -> None:
    file = tmp_path / "odd.json"
    file.write_text(json.dumps([*TOOLS, {"type": "web_search"}]))
    lenient = _run(app, "build", f"openai:{file}", "-o", tmp_path / "lenient")
    assert lenient.exit_code == 0 and "web_search" in lenient.stdout
    strict = _run(app, "build", f"openai:{file}", "-o", tmp_path / "strict", "--strict")
    assert strict.exit_code == 1 and not (tmp_path / "strict").exists()


def test_requests_that_the_sources_do_not_have_are_dropped_only_when_asked(
    app: typer.Typer, functions: Path, dataset: Path
) -> None:
    arguments = ("build", f"openai:{functions}", "-o", dataset)
    assert _run(app, *arguments).exit_code == 0
    asked = {"train": (Query(id="1", text="Is it raining?", tools=("tools&&weather",)),)}
    save_dataset(replace(load_dataset(dataset), queries=asked), dataset)
    (dataset / "notes.txt").write_text("mine")
    refused = _run(app, *arguments)
    assert refused.exit_code == 2 and refused.stderr.count("\n") == 1
    assert "has 1 queries that the sources do not have; give another output folder, or --overwrite" in refused.stderr
    assert load_dataset(dataset).queries["train"] == asked["train"]
    assert _run(app, *arguments, "--overwrite").exit_code == 0
    assert not load_dataset(dataset).queries["train"] and (dataset / "notes.txt").read_text() == "mine"
    (dataset / "catalog.jsonl").write_text("")
    refused = _run(app, *arguments)
    assert refused.exit_code == 2 and "changed or damaged" in refused.stderr and "--overwrite" in refused.stderr
    assert _run(app, *arguments, "--overwrite").exit_code == 0


def test_build_from_python_code(app: typer.Typer, tmp_path: Path) -> None:
    file = tmp_path / "greet.py"
    file.write_text("def hello(name: str) -> str:\n    '''Says hello.'''\n    return name\n")
    assert _run(app, "build", f"python:{file}", "-o", tmp_path / "out").exit_code == 0
    assert load_dataset(tmp_path / "out").catalog.get("greet&&hello").description == "Says hello."


@pytest.mark.parametrize(("source", "code"), [("opanai:x", 2), ("openai:", 2), ("openai:missing.json", 1)])
def test_bad_usage_is_exit_code_2_and_failed_work_exit_code_1(
    app: typer.Typer, tmp_path: Path, source: str, code: int
) -> None:
    result = _run(app, "build", source, "-o", tmp_path / "out")
    assert result.exit_code == code
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1


def test_show_gives_counts(app: typer.Typer, dataset: Path) -> None:
    answer = _json(_run(app, "show", dataset, "--json"))
    assert answer["catalog"]["tools"] == 2 and answer["catalog"]["providers"] == {"tools": 2}
    assert "catalog hash" in _run(app, "show", dataset).stdout


def test_search_finds_a_tool_by_its_words(app: typer.Typer, dataset: Path) -> None:
    answer = _json(_run(app, "search", dataset, "weather in my city", "-k", 1, "--json"))
    assert [hit["tool"] for hit in answer["results"]] == ["tools&&weather"]
    assert "no tool shares a word" in _run(app, "search", dataset, "zzz").stdout


def test_validate_passes_a_sound_dataset_and_fails_a_changed_one(app: typer.Typer, dataset: Path) -> None:
    assert _run(app, "validate", dataset).exit_code == 0
    with (dataset / "catalog.jsonl").open("a") as file:
        file.write("\n")
    result = _run(app, "validate", dataset)
    assert result.exit_code == 1 and "catalog.jsonl" in result.stderr


def test_diff_lists_added_removed_and_changed_tools(app: typer.Typer, dataset: Path, tmp_path: Path) -> None:
    file = tmp_path / "tools.json"
    file.write_text(json.dumps([{**TOOLS[0], "description": "New."}, {"name": "news"}]))
    _run(app, "build", f"openai:{file}", "-o", tmp_path / "later")
    answer = _json(_run(app, "diff", dataset, tmp_path / "later", "--json"))
    assert answer == {
        "added": ["tools&&news"],
        "removed": ["tools&&stocks"],
        "renamed": [],
        "changed": {"tools&&weather": ["description"]},
    }
    assert "1 added, 1 removed, 0 renamed, 1 changed" in _run(app, "diff", dataset, tmp_path / "later").stdout


def test_diff_recognizes_a_tool_that_has_another_name(app: typer.Typer, dataset: Path, tmp_path: Path) -> None:
    file = tmp_path / "tools.json"
    file.write_text(json.dumps([{**TOOLS[0], "name": "forecast"}, TOOLS[1]]))
    _run(app, "build", f"openai:{file}", "-o", tmp_path / "later")
    answer = _json(_run(app, "diff", dataset, tmp_path / "later", "--json"))
    assert answer["renamed"] == [{"old": "tools&&weather", "new": "tools&&forecast", "fields": ["id", "name"]}]
    assert not answer["added"] and not answer["removed"]


def test_tools_are_selected_prefixed_and_deduplicated_on_the_way(
    app: typer.Typer, functions: Path, tmp_path: Path
) -> None:
    source = f"openai:{functions}"
    options = ["--exclude", "stocks", "--prefix", "acme.", "--dedupe"]
    result = _run(app, "build", source, source, "-o", tmp_path / "out", *options, "--json")
    assert result.exit_code == 0, result.output
    assert load_dataset(tmp_path / "out").catalog.ids == ("acme.tools&&weather",)
    assert [report["source"] for report in _json(result)["reports"][2:]] == [
        "--exclude stocks",
        "--prefix acme.",
        "--dedupe",
    ]
    assert _run(app, "build", source, "-o", tmp_path / "out", "--include", "(").exit_code == 2


def test_duplicates_are_shown_in_groups(app: typer.Typer, tmp_path: Path) -> None:
    file = tmp_path / "many.json"
    text = "Deletes a user and all that belongs to it."
    file.write_text(json.dumps([{"name": name, "description": text} for name in "abc"]))
    _run(app, "build", f"openai:{file}", "-o", tmp_path / "out")
    answer = _json(_run(app, "duplicates", tmp_path / "out", "--json"))
    assert [(group["tool"], len(group["duplicates"])) for group in answer["groups"]] == [("many&&a", 2)]
    assert "2 tools are at least 80% like an earlier one" in _run(app, "duplicates", tmp_path / "out").stdout


def test_every_command_has_help_with_an_example(app: typer.Typer) -> None:
    for name in ("build", "show", "search", "validate", "diff", "duplicates"):
        result = _run(app, name, "--help")
        assert result.exit_code == 0 and "Example: toolgen catalog" in result.stdout


def test_requests_with_calls_become_conversations_of_any_source(toolgen: Invoke, tmp_path: Path) -> None:
    tools = [
        {"name": "roll", "description": "Rolls a die.", "parameters": {"sides": {"type": "int", "required": True}}}
    ]
    calls = [{"name": "roll", "arguments": {"sides": 20}}]
    line = {"id": 1, "query": "Roll a die with 20 sides.", "tools": json.dumps(tools), "answers": json.dumps(calls)}
    (tmp_path / "calls.jsonl").write_text(json.dumps(line))
    source = f"functioncalls:{tmp_path / 'calls.jsonl'}"

    for options, expected in (((), 1), (("--no-trajectories",), 0)):
        result = toolgen("catalog", "build", source, "-o", tmp_path / f"made-{expected}", *options)
        assert result.exit_code == 0, result.output
        found = load_dataset(tmp_path / f"made-{expected}").trajectories
        assert sum(map(len, found.values())) == expected
