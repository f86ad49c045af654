"""The documents are tested: commands parse, Python runs, generated parts are fresh, the guide works from end to end.

`TOOLGEN_UPDATE_DOCS=1 pytest tests/docs` writes the generated parts anew.
"""

from __future__ import annotations

import os
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from tests.docs.blocks import DOCS, DOCUMENTS, ROOT, blocks, shell_commands
from tests.test_layers import ORDER

from toolgen.catalog import Catalog, Tool
from toolgen.cli.app import make_app
from toolgen.cli.experiment import experiment_graph
from toolgen.cli.option_rules import check_options
from toolgen.cli.reference import reference
from toolgen.errors import UsageError
from toolgen.evaluation.experiment import Agent, read_experiment
from toolgen.retrieval import RETRIEVERS
from toolgen.retrieval.registry import LOGIT_SCALES
from toolgen.testing import tiny_checkpoint
from toolgen.training import STAGES, resolve_config

EXPERIMENTS = sorted((ROOT / "experiments").glob("*.yaml"))
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
UPDATE = bool(os.environ.get("TOOLGEN_UPDATE_DOCS"))


def commands(document: Path) -> Iterator[list[str]]:
    """The `toolgen` commands of a document's shell blocks, without `toolgen`."""
    for block in blocks(document):
        if block.language in ("sh", "bash", "shell"):  # console: what typer writes as usage in the reference
            yield from shell_commands(block.text)


def parse(arguments: list[str]) -> None:
    """Raises if these are no valid arguments of `toolgen`, or some would change nothing; runs nothing."""
    command: Any = typer.main.get_command(make_app())
    rest = list(arguments)
    context = command.make_context("toolgen", [*rest])
    while hasattr(command, "commands"):
        command, name = command.commands[rest[0]], rest.pop(0)
        context = command.make_context(name, [*rest], parent=context)
    check_options(context)


def in_repository(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("document", DOCUMENTS, ids=in_repository)
def test_every_link_within_the_repository_leads_somewhere(document: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8")):
        if not link.startswith(("https://", "http://")):
            place, _, anchor = link.partition("#")
            target = (document.parent / place).resolve() if place else document
            assert target.exists(), f"{link}: no such file"
            assert not anchor or anchor in anchors(target), f"{link}: no such heading"


def anchors(document: Path) -> set[str]:
    """The headings of a document as GitHub links to them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=in_repository)
def test_every_command_in_a_document_exists_with_its_options(document: Path) -> None:
    for arguments in commands(document):
        if arguments != ["--help"]:
            parse(arguments)


def test_a_command_that_does_not_exist_would_be_noticed() -> None:
    with pytest.raises(KeyError):
        parse(["serch", "x"])
    with pytest.raises(Exception, match="no-such"):
        parse(["search", "x", "--no-such"])
    with pytest.raises(UsageError, match="would change nothing"):
        parse(["search", "x", "text", "--llm", "small"])


def check_fresh(document: Path, expected: str) -> None:
    if UPDATE:
        document.write_text(expected, encoding="utf-8")
    assert document.exists() and document.read_text(encoding="utf-8") == expected, (
        f"{document.name} is stale; write it anew with: TOOLGEN_UPDATE_DOCS=1 pytest tests/docs"
    )


def test_the_reference_of_the_command_line_is_fresh() -> None:
    if UPDATE:
        (DOCS / "cli.md").touch()
    check_fresh(DOCS / "cli.md", reference())


def test_the_charts_and_tables_of_the_results_are_fresh() -> None:
    made = runpy.run_path(str(DOCS / "results" / "build.py"))["outputs"]()
    for document, expected in made.items():
        check_fresh(document, expected)
    drawn = {*(DOCS / "results").glob("*.svg"), *(DOCS / "results" / "tables").iterdir()}
    assert drawn <= made.keys(), "a chart or table that nothing makes"


def test_the_packages_are_drawn_and_written_in_their_import_order() -> None:
    order = [package for package in ORDER if not package.startswith("_")]
    drawn = re.findall(r'class="package"[^>]*>(\w+)<', (DOCS / "packages.svg").read_text(encoding="utf-8"))
    assert drawn == order
    for document in (DOCS / "how-it-works.md", ROOT / "CONTRIBUTING.md"):
        (lines,) = re.findall(r"^    errors, .*\n +< .*$", document.read_text(encoding="utf-8"), re.M)
        assert re.findall(r"\w+", lines) == [package for package in order if package != "planning"]


def test_the_rendered_conversation_is_fresh() -> None:
    document = DOCS / "concepts" / "tokens.md"
    text = document.read_text(encoding="utf-8")
    pattern = r"(<!-- example:protocol -->\n```text\n).*?(```\n)"
    assert re.search(pattern, text, re.S)
    check_fresh(document, re.sub(pattern, lambda found: found[1] + rendered_example() + found[2], text, flags=re.S))


def rendered_example() -> str:
    """A conversation through the real template; lines with a token that carries loss are marked."""
    city = {"type": "string", "description": "Name of the city"}
    tool = Tool(
        id="weather&&get_forecast",
        provider="weather",
        name="get_forecast",
        description="Weather forecast for a city",
        parameters={"type": "object", "properties": {"city": city}, "required": ["city"]},
    )
    checkpoint = tiny_checkpoint(catalog=Catalog([tool]))
    messages = [
        {"role": "user", "content": "Will it rain in Oslo?"},
        _call("weather&&get_forecast", '{"city": "Oslo"}'),
        {"role": "tool", "content": '{"forecast": "rain"}'},
        _call("finish", '{"answer": "Yes, take an umbrella."}'),
    ]
    ids, written = checkpoint.protocol.supervised(messages)
    lines: list[tuple[str, bool]] = [("", False)]
    for token_id, marked in zip(ids, written, strict=True):
        for piece in checkpoint.tokenizer.decode([token_id]).splitlines(keepends=True):
            text, was = lines[-1]
            lines[-1] = (text + piece.rstrip("\n"), was or marked)
            if piece.endswith("\n"):
                lines.append(("", False))
    return "".join(f"{'»' if marked else ' '} {text}".rstrip() + "\n" for text, marked in lines if text)


def _call(tool: str, arguments: str) -> dict[str, Any]:
    function = {"name": tool, "arguments": arguments}
    return {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": function}]}


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.name)
def test_every_recipe_resolves_for_the_stage_in_its_name_and_says_what_it_is_for(recipe: Path) -> None:
    assert recipe.read_text(encoding="utf-8").startswith("# ")
    for stage in [stage for name, stage in STAGES.items() if name in recipe.stem] or STAGES.values():
        config = resolve_config(stage, recipe)
        assert config != resolve_config(stage), "a recipe that changes nothing"
        assert config.shares.keys() <= stage.sources.keys()


@pytest.mark.parametrize("file", EXPERIMENTS, ids=lambda path: path.name)
def test_every_experiment_can_be_run_as_far_as_can_be_told_without_its_data(file: Path) -> None:
    experiment = read_experiment(file)
    made = [shlex.split(step)[shlex.split(step).index("-o") + 1] for step in experiment.steps]
    graph = experiment_graph(experiment, file)
    for step in graph.steps:
        parse(graph.arguments(step))
    for dataset, folder in experiment.datasets.items():
        assert str(folder) in made
        for row in experiment.rows.values():
            filled = row.on(dataset)
            assert {filled.checkpoint, filled.encoder} - {None} <= {*made}
            assert {filled.retriever} - {None} <= {*RETRIEVERS}
            assert isinstance(filled, Agent) or {*filled.add} <= {*LOGIT_SCALES}


@pytest.mark.slow
def test_the_idea_in_one_file_learns_its_tools() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "toolgen_in_one_file.py"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = re.search(r"right tool (\d+)/(\d+), right call (\d+)", done.stdout)
    assert found, done.stdout
    assert int(found[1]) >= 0.8 * int(found[2]), "a random choice would find a fifth of them"
    assert int(found[3]) >= 0.7 * int(found[2]), "a random value would be right in an eighth of the calls"


def test_the_idea_in_one_file_needs_nothing_of_toolgen() -> None:
    source = (ROOT / "examples" / "toolgen_in_one_file.py").read_text(encoding="utf-8")
    assert not re.search(r"^\s*(import|from) toolgen", source, re.M)
