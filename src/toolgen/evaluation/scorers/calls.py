"""Calls for one request, compared with the expected ones as Seal-Tools does it, and as a whole.

Source: Wu et al., "Seal-Tools", arXiv 2405.08355, and its code (`calculate_score_ToolLearning`): precision, recall and F1 of
tools and of parameters over all requests. A predicted call is compared with the first expected one of its tool, so that calls
too many can take recall above 1; a parameter is right if its value reads the same. The strict match is ours: the same calls
in any order, with the same parameters. Knows no benchmark's payload.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from toolgen.datasets.messages import calls_by_turn
from toolgen.datasets.query import Call
from toolgen.datasets.task import Task
from toolgen.datasets.trajectory import Trajectory
from toolgen.evaluation.scorers.protocol import Score


class CallsScorer:
    """Measures `exact_match`, `tool_accuracy` (the right tools, as often as expected), `first_tool` and `finished`, and the
    precision, recall and F1 of tools and parameters."""

    def score(self, task: Task, trajectory: Trajectory) -> Score:
        calls = calls_by_turn(trajectory.messages)[0]
        exact = Counter(map(_key, calls)) == Counter(map(_key, task.calls))
        wanted = Counter(call.tool for call in task.calls)
        tools = Counter(call.tool for call in calls) == wanted
        return Score(
            correct=exact,
            reason="" if exact else "wrong_values" if tools else "wrong_tools",
            measures={
                "exact_match": float(exact),
                "tool_accuracy": float(tools),
                "first_tool": float(bool(calls) and calls[0].tool in wanted),
                "finished": float(trajectory.outcome.status == "finished"),
            },
            ratios=_ratios(task.calls, calls),
        )


def _ratios(expected: Sequence[Call], made: Sequence[Call]) -> dict[str, tuple[float, float]]:
    first: dict[str, Call] = {}
    for call in expected:
        first.setdefault(call.tool, call)
    right_tools = sum(call.tool in first for call in made)
    right_values = sum(_same(call.arguments, first[call.tool].arguments) for call in made if call.tool in first)
    values = sum(len(call.arguments) for call in made), sum(len(call.arguments) for call in expected)
    return _three("tool", right_tools, len(made), len(expected)) | _three("parameter", right_values, *values)


def _three(name: str, right: int, made: int, expected: int) -> dict[str, tuple[float, float]]:
    """Precision, recall and their harmonic mean as ratios of sums."""
    return {
        f"{name}_precision": (right, made),
        f"{name}_recall": (right, expected),
        f"{name}_f1": (2 * right, made + expected),
    }


def _same(made: Mapping[str, Any], expected: Mapping[str, Any]) -> int:
    return sum(name in expected and str(value) == str(expected[name]) for name, value in made.items())


def _key(call: Call) -> tuple[str, frozenset[tuple[str, str]]]:
    return call.tool, frozenset((name, str(value)) for name, value in call.arguments.items())
