"""Requests that no tool fits: right is to decline, without a call before it."""

from __future__ import annotations

from toolgen.datasets.messages import calls_by_turn
from toolgen.datasets.task import Task
from toolgen.datasets.trajectory import Trajectory
from toolgen.evaluation.scorers.protocol import Score


class AbstentionScorer:
    """Measures `declined` and `no_call`."""

    def score(self, task: Task, trajectory: Trajectory) -> Score:
        called = [call for turn in calls_by_turn(trajectory.messages) for call in turn]
        status = trajectory.outcome.status
        declined = not called and status == "declined"
        reason = "" if declined else f"called {called[0].tool}" if called else status
        return Score(
            correct=declined, reason=reason, measures={"declined": float(declined), "no_call": float(not called)}
        )
