"""Options that would change nothing: none is taken without a word, in any command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer

from toolgen.cli.app import make_app
from toolgen.cli.option_rules import _OF_A_RUN, RULES
from toolgen.datasets import load_dataset
from toolgen.testing import tiny_checkpoint

from .conftest import Invoke

BUILD = "catalog build openai:tools.json -o out"
REPLAY = "run ckpt --replay run.jsonl"
IDLE = {
    f"{BUILD} --allow-references": "--allow-references is for sources of openapi:",
    f"{BUILD} --no-trajectories": "--no-trajectories is for sources with requests (bfcl,",
    "index openai:tools.json -o out --allow-references": "--allow-references is for",
    "tools add ckpt openai:tools.json --allow-references": "--allow-references is for",
    "tools update ckpt openai:tools.json --allow-references": "--allow-references is for",
    "tools remove ckpt mail&&send --exclude provider:mail": "--exclude is for --include",
    "catalog queries data -o out --model small": "--model is for --by llm",
    "catalog queries data -o out --encoder enc": "--encoder is for --found-by toolretriever",
    "catalog queries data -o out --by llm --base b --endpoint URL --model m": "--base is for a local model",
    "catalog rewrite data -o out --how short --endpoint URL": "--endpoint is for --how vague",
    "virtualize data -o out --seed 3": "--seed is for --init random",
    "train distill ckpt data -o out --teacher bm25 --encoder enc": "--encoder is for --teacher toolretriever",
    "calibrate ckpt data --encoder enc": "--encoder is for --retriever or --add toolretriever",
    "serve ckpt --encoder enc": "--encoder is for --retriever or --add toolretriever",
    "mcp ckpt --add bm25 --encoder enc": "--encoder is for --retriever or --add toolretriever",
    "search data word --llm small": "--llm is for --retriever re-invoke, iterfeedback, long-context",
    "search data word --base-retriever bm25": "--base-retriever is for --retriever re-invoke",
    "search data word --beam 8": "--beam is for a checkpoint that searches by its own model",
    "search data word -o out": "--output is for --queries FILE",
    "evaluate retrieval data data --endpoint URL": "--endpoint is for --retriever re-invoke",
    "evaluate retrieval data data --retriever long-context --llm b --endpoint U --model m": "--llm is for a local model",
    "evaluate agent ckpt data --top 5": "--top is for --policy retrieved",
    "evaluate agent ckpt data --policy ground-truth --retriever dense": "--retriever is for --policy retrieved",
    "evaluate agent ckpt data --policy retrieved --add bm25": "--add is for --policy generative",
    "evaluate agent ckpt data --policy retrieved --alone": "--alone is for --policy generative",
    "evaluate agent ckpt data --policy retrieved --decline-rate 0.1": "--decline-rate is for --policy generative",
    "evaluate agent ckpt data --given-tools --decline-rate 0.1": "--decline-rate is for tools that the model chooses",
    "evaluate agent ckpt data --policy ground-truth --thought on": "--thought is for --policy generative",
    "evaluate agent ckpt data --llm small": "--llm is for --policy ground-truth or retrieved",
    "evaluate agent ckpt data --given-tools --add bm25": "--add is for tools that the model chooses",
    "evaluate agent ckpt data --seed 1": "--seed is for --limit",
    "evaluate judge result.json --llm b --endpoint URL --model m": "--llm is for a local model",
    "run ckpt task --seed 1": "--seed is for --temperature above 0",
    "run ckpt task --yes": "--yes is for --environment endpoints",
    "run ckpt task -e simulated --read-only": "--read-only is for --environment endpoints",
    "run ckpt task --python tools.py --header h:a:b": "--header is for --allow-host",
    "run ckpt task --python tools.py --allow-private": "--allow-private is for --allow-host",
    "run ckpt task --bfcl folder": "--bfcl is for --environment bfcl",
    f"{REPLAY} --max-steps 3": "--max-steps is for a run, not for --replay",
    "run ckpt task --replay run.jsonl": "the task is for a run, not for --replay",
    "mcp ckpt --port 9000": "--port is for --http",
    "mcp ckpt --yes": "--yes is for --confirm",
    "mcp ckpt --log-contents": "--log-contents is for --log FILE",
    "mcp ckpt --server a=http://b": "--server is for --allow-host",
    "mcp ckpt --json": "--json is for --report",
}
USED = [
    "catalog build openapi:none.yaml -o out --allow-references",
    "catalog queries none -o out --by llm --base b --seed 1",
    "tools remove none --include provider:mail --exclude mail",
    "virtualize none -o out --indexing codes --seed 3",
    "train distill none none -o out --encoder enc",
    "search none word --retriever long-context --base-retriever toolretriever --encoder enc --endpoint URL --model m",
    "search none word --add generative --beam 8",
    "evaluate agent none none --policy retrieved --top 3 --retriever dense --llm small --limit 5 --seed 2",
    "run none task --search dfs --seed 1 --allow-host h --allow-private --yes",
    "run none task -e virtual:http://127.0.0.1:1 --allow-private",
]


def commands(group: Any, before: str = "") -> dict[str, Any]:
    """All commands by their full names."""
    found: dict[str, Any] = {}
    for name, command in group.commands.items():
        full = f"{before} {name}".strip()
        found |= commands(command, full) if hasattr(command, "commands") else {full: command}
    return found


@pytest.mark.parametrize("line", IDLE)
def test_an_option_that_would_change_nothing_is_one_line_of_wrong_usage(toolgen: Invoke, line: str) -> None:
    result = toolgen(*line.split())
    assert result.exit_code == 2, result.output
    (said,) = result.stderr.splitlines()
    assert said.startswith(f"error: {IDLE[line]}") and said.endswith("here it would change nothing, so leave it out")


@pytest.mark.parametrize("line", USED)
def test_the_same_option_is_taken_where_it_is_used(toolgen: Invoke, line: str) -> None:
    result = toolgen(*line.split())
    assert result.exit_code and "would change nothing" not in result.output  # the folder `none` is not there


def test_what_a_dataset_cannot_do_is_said_by_its_folder(toolgen: Invoke, dataset_folder: Path) -> None:
    result = toolgen("serve", dataset_folder, "--running", 4)
    assert result.exit_code == 2 and "--running is for a checkpoint, whose model answers" in result.output


def test_every_rule_names_options_of_commands_that_exist_and_replay_excludes_all_others() -> None:
    known = commands(typer.main.get_command(make_app()))
    for rule in RULES:
        for command in rule.commands:
            assert not {*rule.options.split()} - {one.name for one in known[command].params}, rule
    others = {one.name for one in known["run"].params} - {*_OF_A_RUN.split()}
    assert others == {"checkpoint", "replay", "as_json"}


def test_sets_of_tools_that_nobody_knows_are_wrong_usage(toolgen: Invoke, tmp_path: Path) -> None:
    tiny_checkpoint().save(tmp_path / "ckpt")
    for options in ((), ("--retriever", "bm25")):
        result = toolgen("search", tmp_path / "ckpt", "a taxi", "--sets", *options)
        assert result.exit_code == 2 and "sets need to know which tools training requests ask for" in result.output


def test_a_name_that_was_given_is_the_datasets_name_also_of_a_published_one(toolgen: Invoke, tmp_path: Path) -> None:
    record = '{"query": "Rain in Oslo?", "tools": [{"name": "rain", "parameters": {}}], "answers": [{"name": "rain"}]}'
    (tmp_path / "xlam.json").write_text(f"[{record}]")
    for name, options in (("mine", ("--name", "mine")), ("xlam", ())):
        built = toolgen("catalog", "build", f"functioncalls:{tmp_path / 'xlam.json'}", "-o", tmp_path / name, *options)
        assert built.exit_code == 0, built.output
        assert load_dataset(tmp_path / name).name == name
