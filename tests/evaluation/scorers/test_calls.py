"""Calls compared with the expected ones: Seal-Tools' sums by hand, and the strict match."""

from __future__ import annotations

import json
from typing import Any

import pytest

from toolgen.agent import ScriptedPolicy
from toolgen.catalog import Catalog, Tool
from toolgen.datasets import Call, Dataset, Outcome, Query, Task, Trajectory, TurnOutcome
from toolgen.datasets.trajectory import Message
from toolgen.evaluation.agent import evaluate_agent
from toolgen.evaluation.metrics import bootstrap, ratio_bootstrap
from toolgen.evaluation.scorers import Score
from toolgen.evaluation.scorers.calls import CallsScorer

Made = tuple[str, dict[str, Any]]


def score(expected: list[Made], made: list[Made]) -> Score:
    calls = tuple(Call(tool=tool, arguments=arguments) for tool, arguments in expected)
    task = Task.from_query(Query(id="q", text="?", tools=tuple({tool: None for tool, _ in expected}), calls=calls))
    functions = [{"function": {"name": tool, "arguments": json.dumps(arguments)}} for tool, arguments in made]
    messages: list[Message] = [{"role": "user", "content": "?"}]
    messages += [{"role": "assistant", "content": "", "tool_calls": [one]} for one in functions]
    outcome = Outcome(turns=(TurnOutcome(status="finished"),))
    return CallsScorer().score(task, Trajectory(id="t", query="q", messages=tuple(messages), outcome=outcome))


def test_tools_and_parameters_are_counted_as_seal_tools_counts_them() -> None:
    """Three calls made, two of expected tools; of their five parameters two are right."""
    expected: list[Made] = [("a", {"x": 1, "y": "north"}), ("b", {"z": [1, 2]})]
    made: list[Made] = [("a", {"x": "1", "y": "south"}), ("a", {"x": 1}), ("c", {"z": [1, 2], "w": 0})]
    found = score(expected, made)
    assert not found.correct and found.reason == "wrong_tools"
    assert found.ratios == {
        "tool_precision": (2, 3),
        "tool_recall": (2, 2),
        "tool_f1": (4, 5),
        "parameter_precision": (2, 5),
        "parameter_recall": (2, 3),
        "parameter_f1": (4, 8),
    }


@pytest.mark.parametrize(
    ("made", "exact"),
    [
        ([("b", {"z": 2}), ("a", {"x": "1", "y": 0})], 1),
        ([("a", {"x": 1, "y": 0})], 0),
        ([("a", {"x": 1, "y": 0}), ("b", {"z": 3})], 0),
        ([("a", {"x": 1, "y": 0}), ("b", {"z": 2}), ("b", {"z": 2})], 0),
        ([("a", {"x": 1}), ("b", {"z": 2})], 0),
    ],
)
def test_only_the_same_calls_with_the_same_parameters_are_a_strict_match(made: list[Made], exact: int) -> None:
    assert score([("a", {"x": 1, "y": 0}), ("b", {"z": 2})], made).measures["exact_match"] == exact


def test_ratios_are_of_sums_and_their_interval_is_that_of_the_mean_where_all_parts_count_alike() -> None:
    values = [0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0]
    assert ratio_bootstrap([(value, 1) for value in values]) == bootstrap(values)
    assert ratio_bootstrap([(1, 1), (0, 9)]).mean == 0.1
    assert ratio_bootstrap([(0, 0)]).mean == 0


def test_requests_with_known_calls_are_judged_by_the_number_of_their_calls() -> None:
    catalog = Catalog([Tool(id="a", provider="", name="a"), Tool(id="b", provider="", name="b")])
    calls = {"one": ("a",), "two": ("a", "b")}
    queries = tuple(
        Query(id=name, text=name, tools=tools, calls=tuple(Call(tool=tool, arguments={}) for tool in tools))
        for name, tools in calls.items()
    )
    dataset = Dataset(name="d", version="", source="", licence="", catalog=catalog, queries={"test": queries})
    done = ("finish", {"answer": ""})
    result = evaluate_agent(ScriptedPolicy([("a", {}), done, ("a", {}), done]), dataset)
    groups = result.metrics["single_turn"]
    assert (groups["calls=1"]["exact_match"].mean, groups["calls=2"]["exact_match"].mean) == (1, 0)
    assert groups["all"]["tool_recall"].mean == pytest.approx(2 / 3) and groups["all"]["tool_precision"].mean == 1
    assert (result.validity.executed, result.validity.failed) == (2, 0)
