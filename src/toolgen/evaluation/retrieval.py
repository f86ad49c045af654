"""Evaluation of retrieval: any Retriever over a dataset's requests, all on equal terms.

The same requests, the same catalog, the same number of candidates for every method. Knows no method.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from toolgen.datasets.folder import Dataset
from toolgen.datasets.query import Query
from toolgen.errors import DatasetError, InputError
from toolgen.evaluation.declining import judge_declining
from toolgen.evaluation.metrics import Interval, bootstrap, comp, ndcg, ndcg_toolgen, recall
from toolgen.evaluation.provenance import collect_provenance
from toolgen.evaluation.results import LENGTHS, SIZES, QueryRecord, RetrievalResult, groups_of
from toolgen.retrieval.protocol import Ranking, Retriever, described

Candidates = Literal["catalog", "split"]
DEPTH = 10
CUTOFFS = (1, 3, 5)

# Requests that are timed one at a time: enough for a stable median, a few seconds with a slow method.
_TIMED = 20


def evaluate_retrieval(
    retriever: Retriever,
    dataset: Dataset,
    split: str = "test",
    *,
    depth: int = DEPTH,
    candidates: Candidates = "catalog",
    batch_size: int = 32,
    limit: int | None = None,
    config: Mapping[str, Any] | None = None,
    indexed: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> RetrievalResult:
    """Asks the retriever for `depth` tools for every request of the split, over the whole catalog, and scores it.

    Tasks of several turns are left out (see `Dataset.searches`); `limit` takes the first that many. Requests that no tool
    answers are ranked, too, and say how well the retriever knows when not to (`declining`), once as the source labels them and
    once without those whose label is known to be wrong (`sound_declining`). `candidates` "split" is the in-domain setting:
    tools that no request of the split needs are taken out of every ranking. `config` is recorded. The retriever indexes the
    catalog unless that is done (`indexed`). Raises UsageError for an unknown split, DatasetError if it has no request to
    score, InputError if the retriever breaks its protocol.
    """
    started = time.perf_counter()
    queries = dataset.searches(split)[:limit]
    if not queries:
        raise DatasetError(f"split {split!r} of {dataset.name} has no request with a relevant tool; nothing to score")
    if not indexed:
        retriever.index(dataset.catalog)
    needed = (tool for query in dataset.searches(split) for tool in query.tools)
    kept = frozenset(needed) if candidates == "split" else None
    asked_depth = depth if kept is None else len(dataset.catalog)
    rankings, seconds = _search(retriever, queries, asked_depth, batch_size, on_progress, kept)
    unanswerable = [query for query in dataset.requests(split) if not query.tools][:limit]
    others, _ = _search(retriever, unanswerable, depth, batch_size, None, kept)
    sound = [ranking for query, ranking in zip(unanswerable, others, strict=True) if not query.faults]
    trained = dataset.asked_tools
    records = tuple(_record(query, ranking, trained, depth) for query, ranking in zip(queries, rankings, strict=True))
    first_is_right = [bool({*record.ranked[:1]} & {*record.relevant}) for record in records]
    resolved = {
        "retriever": described(retriever),
        "split": split,
        "depth": depth,
        "candidates": candidates,
        "batch_size": batch_size,
        "limit": limit,
        **(config or {}),
    }
    return RetrievalResult(
        retriever=retriever.name,
        split=split,
        depth=depth,
        metrics=summarize(records),
        records=records,
        latency={"queries_per_second": len(queries) / seconds, "median_ms": _median_ms(retriever, queries, depth)},
        provenance=collect_provenance(dataset, config=resolved, seconds=time.perf_counter() - started),
        declining=judge_declining(rankings, first_is_right, others) if others else None,
        sound_declining=judge_declining(rankings, first_is_right, sound) if 0 < len(sound) < len(others) else None,
    )


def summarize(records: Sequence[QueryRecord]) -> dict[str, dict[str, Interval]]:
    """Group to metric to the mean over the group's queries with its interval; `all` first."""
    groups: dict[str, list[QueryRecord]] = {}
    for record in records:
        for group in groups_of(record):
            groups.setdefault(group, []).append(record)
    order = sorted(groups, key=_group_order)
    return {
        group: {name: bootstrap([record.metrics[name] for record in groups[group]]) for name in records[0].metrics}
        for group in order
    }


def _group_order(group: str) -> tuple[int, str]:
    main = ("all", "asked", "unasked", *SIZES, *LENGTHS)
    return (main.index(group) if group in main else len(main), group)


def _search(
    retriever: Retriever,
    queries: Sequence[Query],
    depth: int,
    batch_size: int,
    on_progress: Callable[[int, int], None] | None,
    kept: frozenset[str] | None,
) -> tuple[list[Ranking], float]:
    """One ranking a query, of the tools `kept` if there are such, and the seconds that the searches took."""
    rankings: list[Ranking] = []
    seconds = 0.0
    for start in range(0, len(queries), batch_size):
        texts = [query.text for query in queries[start : start + batch_size]]
        before = time.perf_counter()
        found = retriever.search(texts, depth)
        seconds += time.perf_counter() - before
        if len(found) != len(texts):
            raise InputError(
                f"{retriever.name} returned {len(found)} rankings for {len(texts)} queries; expected one each"
            )
        rankings += found if kept is None else [_only(ranking, kept) for ranking in found]
        if on_progress:
            on_progress(len(rankings), len(queries))
    return rankings, seconds


def _only(ranking: Ranking, kept: frozenset[str]) -> Ranking:
    pairs = [pair for pair in zip(ranking.tools, ranking.scores, strict=True) if pair[0] in kept]
    return replace(ranking, tools=tuple(tool for tool, _ in pairs), scores=tuple(score for _, score in pairs))


def _median_ms(retriever: Retriever, queries: Sequence[Query], depth: int) -> float:
    times = []
    for query in queries[:_TIMED]:
        before = time.perf_counter()
        retriever.search([query.text], depth)
        times.append(1000 * (time.perf_counter() - before))
    return statistics.median(times)


def _record(query: Query, ranking: Ranking, trained: frozenset[str], depth: int) -> QueryRecord:
    # A method that returns more than it was asked for gains nothing by it.
    ranked = ranking.tools[:depth]
    if len(set(ranked)) != len(ranked):
        raise InputError(
            f"the ranking for query {query.id!r} names a tool twice; a retriever must return each tool once"
        )
    return QueryRecord(
        id=query.id,
        text=query.text,
        category=query.category,
        asked=trained.issuperset(query.tools),
        relevant=query.tools,
        ranked=ranked,
        scores=ranking.scores[:depth],
        metrics=query_metrics(ranked, query.tools, depth),
    )


def query_metrics(ranked: Sequence[str], relevant: Sequence[str], depth: int = DEPTH) -> dict[str, float]:
    """Every retrieval metric for one request, by name (`ndcg@1`, ..., `recall@10`)."""
    values = {}
    for name, metric in (("ndcg", ndcg), ("recall", recall), ("comp", comp), ("ndcg_toolgen", ndcg_toolgen)):
        for k in CUTOFFS:
            if k <= depth:
                values[f"{name}@{k}"] = metric(ranked, relevant, k)
    if depth >= 10:
        values["recall@10"] = recall(ranked, relevant, 10)
    return values
