"""Results of retrieval: what was found for each request, all metrics, and their origin, saved as one JSON file.

Knows no retriever and no model; `retrieval.py` fills it, `report/` shows it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from toolgen.errors import UsageError
from toolgen.evaluation.declining import Declining
from toolgen.evaluation.metrics import Difference, Interval, paired_bootstrap
from toolgen.evaluation.provenance import Provenance
from toolgen.files import write_json
from toolgen.foreign.typed import typed

FORMAT = 1
_METRIC = re.compile(r"[a-z_]+@[1-9][0-9]{0,5}")


@dataclass(frozen=True, kw_only=True)
class QueryRecord:
    """One request: what was relevant, what came back (best first) and how each metric judges it. `asked`: every relevant tool
    is in some training request."""

    id: str
    text: str
    category: str
    asked: bool
    relevant: tuple[str, ...]
    ranked: tuple[str, ...]
    scores: tuple[float, ...]
    metrics: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class RetrievalResult:
    """How well one retriever finds tools.

    `metrics` maps a group (`all`, `asked`, `unasked`, `tools=1`, `words<=8`, `category=...`) to metric to Interval. `depth` is
    how many tools were asked for. `latency` holds `median_ms` (one request at a time) and `queries_per_second` (batches).
    `declining` is there where the split has requests that no tool answers, `sound_declining` where some of them are labelled
    so wrongly: without these.
    """

    retriever: str
    split: str
    depth: int
    metrics: Mapping[str, Mapping[str, Interval]]
    records: tuple[QueryRecord, ...]
    latency: Mapping[str, float]
    provenance: Provenance
    declining: Declining | None = None
    sound_declining: Declining | None = None

    @property
    def name(self) -> str:
        """The retriever's."""
        return self.retriever

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of a result file."""
        return {"format": FORMAT, "kind": "retrieval", **asdict(self)}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> RetrievalResult:
        """Reads `to_dict`; ValueError says what is of another type or does not fit together."""
        result = typed(cls, record)
        measured = result.metrics.get("all", {}).keys()
        if wrong := [name for group in result.metrics.values() for name in group if not _METRIC.fullmatch(name)]:
            raise ValueError(f"{wrong[0]!r:.60} is no metric; expected a name like ndcg@5")
        if not measured or any(group.keys() != measured for group in result.metrics.values()):
            raise ValueError("metrics: expected the group all, and the same metrics in each group")
        for one in result.records:
            if len(one.ranked) != len(one.scores) or not measured <= one.metrics.keys():
                raise ValueError(f"the record {one.id!r} has other tools than scores, or lacks a metric")
        if result.latency and not {"median_ms", "queries_per_second"} <= result.latency.keys():
            raise ValueError("latency: expected median_ms and queries_per_second")
        return result

    def save(self, path: Path) -> None:
        """Writes the result file."""
        write_json(path, self.to_dict())


def paired_difference(
    first: RetrievalResult, second: RetrievalResult, metric: str = "ndcg@1", group: str = "all"
) -> Difference:
    """The mean of `first - second` over the queries of a group, with the interval of a paired bootstrap.

    Raises UsageError if the two did not answer the same queries, or do not have this metric or group.
    """
    for result in (first, second):
        if metric not in result.metrics.get(group, {}):
            raise UsageError(f"the result of {result.retriever} has no metric {metric!r} for the group {group!r}")
    pairs = {record.id: record for record in second.records}
    if {record.id for record in first.records} != set(pairs) or any(
        pairs[record.id].relevant != record.relevant for record in first.records
    ):
        raise UsageError(
            f"the results of {first.retriever} and {second.retriever} are of different queries; "
            "evaluate both on the same dataset and split"
        )
    chosen = [record for record in first.records if group in groups_of(record)]
    return paired_bootstrap(
        [record.metrics[metric] for record in chosen], [pairs[record.id].metrics[metric] for record in chosen]
    )


SIZES = ("tools=1", "tools=2", "tools>=3")
LENGTHS = ("words<=8", "words=9-20", "words>20")


def groups_of(record: QueryRecord) -> tuple[str, ...]:
    """The groups that a query counts in."""
    size = SIZES[min(len(set(record.relevant)), len(SIZES)) - 1]
    words = len(record.text.split())
    length = LENGTHS[(words > 8) + (words > 20)]
    category = (f"category={record.category}",) if record.category else ()
    return ("all", "asked" if record.asked else "unasked", size, length, *category)
