"""Agents side by side: each kind of task, and differences on the same tasks only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from toolgen.agent import ScriptedPolicy
from toolgen.datasets import Dataset
from toolgen.errors import UsageError
from toolgen.evaluation import AgentResult
from toolgen.evaluation.agent import evaluate_agent
from toolgen.evaluation.agent_table import agent_tables, paired_measure
from toolgen.testing import tiny_dataset

DATASET = tiny_dataset()


def declining(dataset: Dataset = DATASET) -> AgentResult:
    return evaluate_agent(ScriptedPolicy([("no_tool", {})] * 100), dataset)


def right_half(result: AgentResult) -> AgentResult:
    """The same tasks, every other one done right, by another name."""
    records = [
        replace(one, score=replace(one.score, measures={**one.score.measures, "exact_match": float(place % 2)}))
        for place, one in enumerate(result.records)
    ]
    return replace(result, name="half", records=tuple(records))


def test_a_difference_is_that_of_each_task_with_itself() -> None:
    nothing = declining()
    half = right_half(nothing)
    single = [one for one in half.records if one.kind == "single_turn"]
    found = paired_measure(half, nothing, "single_turn", "all", "exact_match")
    assert found is not None and found.count == len(single)
    assert found.mean == pytest.approx(sum(one.score.measures["exact_match"] for one in single) / len(single))
    assert paired_measure(half, nothing, "single_turn", "all", "declined") is None
    assert paired_measure(half, nothing, "single_turn", "calls=99", "exact_match") is None


def test_other_tasks_are_not_compared() -> None:
    fewer = replace(DATASET, queries={"test": DATASET.queries["test"][1:]})
    with pytest.raises(
        UsageError, match="are of different tasks; evaluate both on the same dataset, split, limits and"
    ):
        paired_measure(declining(), declining(fewer), "single_turn", "all", "exact_match")


def test_each_kind_is_a_table_and_what_a_task_took_is_the_last() -> None:
    nothing = declining()
    results: Mapping[str, AgentResult] = {"none": nothing, "half": right_half(nothing)}
    lines = "\n".join(agent_tables(results, ("all", "asked", "gone"), "none")).splitlines()
    titles = [line.removeprefix("### ") for line in lines if line.startswith("### ")]
    assert titles == ["single turn", "irrelevance", "what a task took"]
    assert sum(line.startswith("Difference to none on the same tasks") for line in lines) == 2
    assert not any("gone" in line for line in lines)
    agents = [line.split(" | ")[0].strip("| ") for line in lines[lines.index("### what a task took") :] if "|" in line]
    assert agents == ["agent", "---", "none", "half"]
