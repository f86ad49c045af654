"""Experiment files: what they may say, and the table of their results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from toolgen.errors import ToolgenError
from toolgen.evaluation import RetrievalResult
from toolgen.evaluation.experiment import Experiment, Method, read_experiment, table

PLAIN = "output: out\ndatasets: {demo: data}\nmethods:\n  BM25: {retriever: bm25}\n"

AGENTS = """
output: out
datasets: {demo: data}
agents: {own: {checkpoint: "runs/{dataset}"}, found: {policy: retrieved, top: 3}}
"""


def read(tmp_path: Path, text: str) -> Experiment:
    (tmp_path / "e.yaml").write_text(text, encoding="utf-8")
    return read_experiment(tmp_path / "e.yaml")


def test_a_file_with_the_least_it_needs(tmp_path: Path) -> None:
    found = read(tmp_path, PLAIN)
    assert found.methods == {"BM25": Method(retriever="bm25")} and found.split == "test"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a list", "should map keys to values"),
        (": [", "neither JSON nor YAML"),
        (PLAIN + "metric: [ndcg@1]", "did you mean 'metrics'"),
        (PLAIN.replace("retriever:", "retreiver:"), "methods.BM25"),
        (PLAIN + "against: BM26", "against names no method 'BM26'; methods are BM25"),
        (PLAIN + "against_dataset: full", "against_dataset names no dataset 'full'; datasets are demo"),
        (PLAIN.replace("{demo: data}", "{}"), "datasets"),
        (PLAIN + "limit: 0", "limit"),
        ("output: out\ndatasets: {demo: data}\n", "expected either methods or agents, at least one of them"),
        (PLAIN + "agents: {one: {}}", "expected either methods or agents"),
        (
            PLAIN + "kinds: [single_turn]",
            "kinds is for agents; beside methods it would change nothing, so leave it out",
        ),
        (AGENTS + "limit: 5", "limit is for methods; beside agents it would change nothing, so leave it out"),
        (AGENTS.replace("top:", "tops:"), "agents.found.tops: .* did you mean 'top'"),
        (AGENTS + "against: lost", "against names no agent 'lost'; agents are own, found"),
        (PLAIN + "steps:\n  - catalog build bfcl: -o data", "steps.0: .* put a command that has a colon in quotes"),
    ],
)
def test_a_mistake_is_one_clear_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ToolgenError, match=message) as error:
        read(tmp_path, text)
    assert "\n" not in str(error.value)


def test_the_dataset_s_name_fills_paths() -> None:
    assert Method(retriever="generative", checkpoint="runs/{dataset}-2").on("bfcl").checkpoint == "runs/bfcl-2"


def test_the_table_holds_every_method_and_the_differences(
    tmp_path: Path, measure: Callable[..., RetrievalResult]
) -> None:
    text = (
        PLAIN + "  'a|b': {retriever: dense}\nagainst: BM25\nmetrics: [ndcg@1, comp@3]\ngroups: [all, unasked, gone]\n"
    )
    experiment = read(tmp_path, text)
    shown = table(experiment, {"demo": {"BM25": measure(), "a|b": measure()}})
    lines = shown.splitlines()
    assert lines[0] == "## demo, split test"
    assert "| requests | method | NDCG@1 | COMP@3 |" in lines
    assert sum(line.startswith("| all (4) | BM25 |") for line in lines) == 1
    assert any(line.startswith("| all | a\\|b | +0.0 (+0.0 to +0.0)") for line in lines)
    assert not any("gone" in line for line in lines)


def test_what_a_search_takes_and_a_tool_is_spelled_with_is_shown_on_request(
    tmp_path: Path, measure: Callable[..., RetrievalResult]
) -> None:
    result = measure()
    named = {**result.provenance.config, "retriever": {"name": "generative", "tokens_per_tool": 2.0}}
    spelled = replace(result, provenance=replace(result.provenance, config=named), latency={"median_ms": 41.6})
    found = {"demo": {"BM25": replace(result, latency={"median_ms": 0.4}), "codes": spelled}}
    assert "median ms" not in table(read(tmp_path, PLAIN), found)
    lines = table(read(tmp_path, PLAIN + "latency: true\n"), found).splitlines()
    assert lines[lines.index("| method | tokens a tool | median ms |") + 2 :][:2] == [
        "| BM25 |  | 0 |",
        "| codes | 2.0 | 42 |",
    ]


def test_a_method_is_compared_with_itself_on_other_wordings(
    tmp_path: Path, measure: Callable[..., RetrievalResult]
) -> None:
    text = PLAIN.replace("{demo: data}", "{full: data, short: other}") + "against_dataset: full\nmetrics: [ndcg@1]\n"
    full = measure()
    worse = [replace(record, metrics=dict.fromkeys(record.metrics, 0.0)) for record in full.records]
    short = replace(full, records=tuple(worse))
    shown = table(read(tmp_path, text), {"full": {"BM25": full}, "short": {"BM25": short}}).splitlines()
    assert "short against full, the same method on the same requests (bold: the interval leaves out zero):" in shown
    mean = 100 * sum(record.metrics["ndcg@1"] for record in full.records) / len(full.records)
    row = next(line for line in shown if line.startswith("| all | BM25 |"))
    assert f"−{mean:.1f}" in row
    assert not any("full against" in line for line in shown)
