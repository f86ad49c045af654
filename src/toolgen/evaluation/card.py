"""The figures of a result that a model card shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from toolgen.checkpoint.card import Figure
from toolgen.evaluation.metrics import Interval
from toolgen.evaluation.result_files import Result
from toolgen.evaluation.results import RetrievalResult

_SHOWN = ("ndcg@1", "ndcg@5", "recall@5", "comp@5")
_GROUPS = ("all", "asked", "unasked")


def card_figures(result: Result, hub_dataset: str | None = None) -> list[Figure]:
    """Of retrieval a few metrics for all, asked and unasked requests; of an agent all of them, for all tasks of each kind."""
    where = result.provenance
    return [
        Figure(
            dataset=f"{where.dataset['name']} {where.dataset['version']}",
            split=result.split,
            method=result.name,
            metric=metric,
            value=100 * found.mean,
            low=100 * found.low,
            high=100 * found.high,
            count=found.count,
            date=where.date,
            hub_dataset=hub_dataset,
        )
        for metric, found in _measured(result)
    ]


def _measured(result: Result) -> Iterator[tuple[str, Interval]]:
    if isinstance(result, RetrievalResult):
        for group in filter(result.metrics.__contains__, _GROUPS):
            yield from ((_named(name, group), found) for name, found in _chosen(result.metrics[group]))
    else:
        for kind, groups in result.metrics.items():
            yield from ((f"{kind}: {name}", found) for name, found in groups.get("all", {}).items())


def _chosen(metrics: Mapping[str, Interval]) -> Iterator[tuple[str, Interval]]:
    yield from ((name, metrics[name]) for name in _SHOWN if name in metrics)


def _named(metric: str, group: str) -> str:
    return metric if group == "all" else f"{metric}, {group}"
