"""BFCL's two kinds of tasks, judged by its own rules (`bfcl_rules.py`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from toolgen.catalog.catalog import Catalog
from toolgen.datasets.bfcl_equal import as_calls_of
from toolgen.datasets.messages import calls_by_turn
from toolgen.datasets.payloads import BfclCalls
from toolgen.datasets.task import Task
from toolgen.datasets.trajectory import Trajectory
from toolgen.evaluation.scorers.bfcl_rules import TurnVerdict, check_multi_turn, check_single_turn
from toolgen.evaluation.scorers.protocol import Score


class BfclCallsScorer:
    """Calls for one request. Measures `accuracy` (BFCL's), `tool_accuracy` (the right tools, as often as expected),
    `first_tool` and `finished`; `equal_accuracy` and `equal_tools` are the first two where a tool that is equal in meaning
    (`bfcl_equal.py`) counts as the right one."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def score(self, task: Task, trajectory: Trajectory) -> Score:
        assert isinstance(task.payload, BfclCalls), "the registry gives this scorer to such tasks only"
        calls = calls_by_turn(trajectory.messages)[0]
        catalog = self._catalog.redefined(task.definitions)
        verdict = check_single_turn(task.calls, task.payload.answers, calls, catalog)
        wanted = Counter(call.tool for call in task.calls)
        equal = as_calls_of(wanted, calls)
        measures = {
            "accuracy": float(verdict.valid),
            "tool_accuracy": float(Counter(call.tool for call in calls) == wanted),
            "equal_accuracy": float(check_single_turn(task.calls, task.payload.answers, equal, catalog).valid),
            "equal_tools": float(Counter(call.tool for call in equal) == wanted),
            "first_tool": float(bool(calls) and calls[0].tool in wanted),
            "finished": float(trajectory.outcome.status == "finished"),
        }
        reason = " ".join(filter(None, (verdict.reason, verdict.detail)))
        return Score(correct=verdict.valid, reason=reason, measures=measures)


class BfclSystemsScorer:
    """Work in simulated systems, executed again beside the ground truth. Measures `task_success` and, as shares of a task's
    turns, `turn_success`, `turn_state` and `turn_required_calls`; `abstained` is the share of those that cannot be answered."""

    def __init__(self, catalog: Catalog, package: Path) -> None:
        self._catalog = catalog
        self._package = package

    def score(self, task: Task, trajectory: Trajectory) -> Score:
        verdicts = check_multi_turn(task, calls_by_turn(trajectory.messages), self._catalog, self._package)
        failed = next((turn for turn, verdict in enumerate(verdicts) if not verdict.valid), None)
        return Score(
            correct=failed is None,
            reason="" if failed is None else f"turn {failed + 1}: {verdicts[failed].reason}",
            measures={"task_success": float(failed is None), **_turn_measures(verdicts)},
        )


def _turn_measures(verdicts: Sequence[TurnVerdict]) -> dict[str, float]:
    answerable = [verdict for verdict in verdicts if verdict.answerable]
    others = [verdict for verdict in verdicts if not verdict.answerable]
    measures = {}
    if answerable:
        measures = {
            "turn_success": _share(verdict.valid for verdict in answerable),
            "turn_state": _share(verdict.state for verdict in answerable),
            "turn_required_calls": _share(verdict.required_calls for verdict in answerable),
        }
    return measures | ({"abstained": _share(verdict.abstained for verdict in others)} if others else {})


def _share(values: Iterable[bool]) -> float:
    counted = list(values)
    return sum(counted) / len(counted)
