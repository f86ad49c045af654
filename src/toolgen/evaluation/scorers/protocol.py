"""Scorer: what tells whether a task was done right. Knows no benchmark."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from toolgen.datasets.task import Task
from toolgen.datasets.trajectory import Trajectory


@dataclass(frozen=True, kw_only=True)
class Score:
    """How one task was done. `reason` says why it is not `correct`: a short word, then the place. `measures` are the
    benchmark's own, each 0 or 1 or a share; `ratios` those that are ratios of sums over all tasks (micro averages), each the
    task's part of both sums."""

    correct: bool
    reason: str = ""
    measures: Mapping[str, float] = field(default_factory=dict)
    ratios: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Its values for JSON."""
        return asdict(self)


class Scorer(Protocol):
    """Judges tasks of one benchmark."""

    def score(self, task: Task, trajectory: Trajectory) -> Score:
        """How the task was done in this run."""
