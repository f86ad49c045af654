"""Results of agents: what was done in each task, how it was judged, and all numbers over them, saved as one JSON file.

Knows no model and no benchmark; `agent.py` fills it, `report/` shows it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from toolgen.datasets.query import Call
from toolgen.datasets.trajectory import Trajectory
from toolgen.evaluation.metrics import Interval, bootstrap, ratio_bootstrap
from toolgen.evaluation.provenance import Provenance
from toolgen.evaluation.results import FORMAT
from toolgen.evaluation.scorers import Score
from toolgen.evaluation.validity import Validity
from toolgen.files import write_json
from toolgen.foreign.typed import typed

AgentMetrics = Mapping[str, Mapping[str, Mapping[str, Interval]]]
"""Kind of task to group (`all`, `sound`, `asked`, `unasked`, `category=...`) to measure to Interval."""


@dataclass(frozen=True, kw_only=True)
class AgentRecord:
    """One task: what was expected, what was done, how it is judged. `asked`: training asked for all tools that it needs.
    `sound`: nothing is known to be wrong with its label."""

    id: str
    kind: str
    category: str
    text: str
    asked: bool
    expected: tuple[Call, ...]
    score: Score
    validity: Validity
    trajectory: Trajectory
    sound: bool = True

    def to_dict(self) -> dict[str, Any]:
        """The record in a result file."""
        return {
            "id": self.id,
            "kind": self.kind,
            "category": self.category,
            "text": self.text,
            "asked": self.asked,
            "expected": [call.to_dict() for call in self.expected],
            "score": self.score.to_dict(),
            "validity": self.validity.to_dict(),
            "trajectory": self.trajectory.to_dict(),
            "sound": self.sound,
        }


@dataclass(frozen=True, kw_only=True)
class Effort:
    """What a task took on average: actions, generated tokens, those of thoughts among them, tokens of the prompts, seconds."""

    steps: float
    tokens: float
    prompt_tokens: float
    seconds: float
    thought_tokens: float = 0.0

    @classmethod
    def mean(cls, records: Sequence[AgentRecord]) -> Effort:
        """The means over tasks."""
        outcomes = [record.trajectory.outcome for record in records]
        return cls(
            steps=sum(len(outcome.decisions) for outcome in outcomes) / len(outcomes),
            tokens=sum(outcome.tokens for outcome in outcomes) / len(outcomes),
            thought_tokens=sum(outcome.thought_tokens for outcome in outcomes) / len(outcomes),
            prompt_tokens=sum(outcome.prompt_tokens for outcome in outcomes) / len(outcomes),
            seconds=sum(outcome.seconds for outcome in outcomes) / len(outcomes),
        )


@dataclass(frozen=True, kw_only=True)
class AgentResult:
    """How well an agent carries out tasks."""

    name: str
    split: str
    metrics: AgentMetrics
    validity: Validity
    effort: Effort
    records: tuple[AgentRecord, ...]
    provenance: Provenance

    def figures(self) -> dict[str, Any]:
        """All numbers, without the records, for JSON."""
        return {
            "name": self.name,
            "split": self.split,
            "metrics": {
                kind: {group: {name: one.to_dict() for name, one in found.items()} for group, found in groups.items()}
                for kind, groups in self.metrics.items()
            },
            "validity": self.validity.to_dict(),
            "effort": asdict(self.effort),
        }

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of a result file."""
        return {
            "format": FORMAT,
            "kind": "agent",
            **self.figures(),
            "records": [record.to_dict() for record in self.records],
            "provenance": self.provenance.to_dict(),
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> AgentResult:
        """Reads `to_dict`; ValueError says what is of another type or does not fit together."""
        result = typed(cls, record)
        if without := [kind for kind, groups in result.metrics.items() if "all" not in groups]:
            raise ValueError(f"metrics of {without[0]!r:.60}: expected the group all")
        return result

    def save(self, path: Path) -> None:
        """Writes the result file."""
        write_json(path, self.to_dict())


def summarize(records: Sequence[AgentRecord]) -> AgentMetrics:
    """The measures of each kind of task by group."""
    kinds: dict[str, list[AgentRecord]] = {}
    for record in records:
        kinds.setdefault(record.kind, []).append(record)
    return {kind: _groups(found) for kind, found in kinds.items()}


def groups_of(record: AgentRecord) -> list[str]:
    """The groups that a task is counted in."""
    groups = ["all", *(["sound"] if record.sound else [])]
    if record.kind == "single_turn":
        groups += ["asked" if record.asked else "unasked", f"calls={len(record.expected)}"]
    return [*groups, f"category={record.category}"]


def _groups(records: Sequence[AgentRecord]) -> dict[str, dict[str, Interval]]:
    """The groups of some records, categories last by name; `sound` only where some are not."""
    groups: dict[str, list[AgentRecord]] = {}
    for record in records:
        for group in groups_of(record):
            groups.setdefault(group, []).append(record)
    if len(groups.get("sound", ())) == len(records):
        del groups["sound"]
    order = sorted(groups, key=lambda group: group if group.startswith("category=") else "")
    return {group: _intervals(groups[group]) for group in order}


def _intervals(records: Sequence[AgentRecord]) -> dict[str, Interval]:
    names = dict.fromkeys(name for record in records for name in record.score.measures)
    ratios = dict.fromkeys(name for record in records for name in record.score.ratios)
    return {
        name: bootstrap([record.score.measures[name] for record in records if name in record.score.measures])
        for name in names
    } | {
        name: ratio_bootstrap([record.score.ratios[name] for record in records if name in record.score.ratios])
        for name in ratios
    }
