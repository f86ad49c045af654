"""The comparison of retrievers: bars, tables, differences, speed, and the worst requests."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from toolgen.evaluation import charts
from toolgen.evaluation.metrics import Interval
from toolgen.evaluation.report.words import GROUPS, METRIC_NAMES, group_title, metric_name, percent, shorten
from toolgen.evaluation.results import QueryRecord, RetrievalResult, paired_difference

# What the bars show, and how a newcomer reads it.
HEADLINES = (
    ("ndcg@1", "NDCG@1", "the first tool is a right one"),
    ("recall@5", "Recall@5", "needed tools among the first five"),
    ("comp@5", "COMP@5", "all needed tools among the first five"),
)
METHOD_STYLES = {"generative": "m-generative", "bm25": "m-bm25", "dense": "m-dense", "bm25+dense": "m-sum"}
METHOD_NAMES = {"generative": "Generative", "bm25": "BM25", "dense": "Dense"}

_WORST = 10


@dataclass(frozen=True)
class _Method:
    """A retrieval result with the name and colour it has on the page."""

    label: str
    style: str
    result: RetrievalResult


def comparisons(pairs: Sequence[tuple[RetrievalResult, str]]) -> list[dict[str, Any]]:
    """One comparison for each dataset and split."""
    families: dict[tuple[Any, ...], list[_Method]] = {}
    for result, name in pairs:
        dataset = result.provenance.dataset
        key = (dataset.get("name"), dataset.get("hash"), result.split, tuple(sorted(r.id for r in result.records)))
        style = METHOD_STYLES.get(result.retriever, "m-other")
        families.setdefault(key, []).append(_Method(_pretty_name(name), style, result))
    return [_comparison(family) for family in families.values()]


def _pretty_name(name: str) -> str:
    return " + ".join(METHOD_NAMES.get(part, part) for part in name.split("+"))


def _comparison(methods: list[_Method]) -> dict[str, Any]:
    # The generative method leads; the others keep the order in which they were given.
    methods = sorted(methods, key=lambda method: method.result.retriever != "generative")
    first = methods[0].result
    groups = [group for group in GROUPS if group[0] in first.metrics]
    return {
        "name": f"{first.provenance.dataset.get('name', 'dataset')}, split {first.split}",
        "count": len(first.records),
        "tools": first.provenance.catalog.get("tools", 0),
        "depth": first.depth,
        "summary": _summary(methods),
        "groups": [_panels(methods, group, title) for group, title in groups],
        "tables": [_table(methods, group, title) for group, title in groups],
        "original": [_table(methods, group, title, original=True) for group, title in groups],
        "more": [_table(methods, group, group_title(group)) for group in first.metrics if group not in dict(GROUPS)],
        "differences": _differences(methods),
        "latencies": [(m.label, m.style, m.result.latency) for m in methods if m.result.latency],
        "declining": _declining(methods),
        "worst": _worst(methods),
        "worst_of": methods[0].label,
        "axis": charts.bar_axis(),
        "name_width": min(20, max(len(method.label) for method in methods) + 1),
    }


def _summary(methods: Sequence[_Method]) -> list[str]:
    """The finding in words: how often the leader's first tool is right, beside the best of the others."""
    leader, others = methods[0], methods[1:]
    sentences = []
    for group, requests in (("all", "requests"), ("unasked", "requests for unasked tools")):
        if group not in leader.result.metrics:
            continue
        own = leader.result.metrics[group]["ndcg@1"]
        sentence = f"{leader.label} puts a right tool first for {percent(own.mean)}% of {own.count:,} {requests}"
        if others:
            best = max(others, key=lambda method: method.result.metrics[group]["ndcg@1"].mean)
            mean = percent(best.result.metrics[group]["ndcg@1"].mean)
            rival = f"the best of the others, {best.label}," if len(others) > 1 else best.label
            sentence += f"; {rival} for {mean}%"
        sentences.append(sentence + ".")
    return sentences


def _panels(methods: Sequence[_Method], group: str, title: str) -> dict[str, Any]:
    return {
        "title": title,
        "count": methods[0].result.metrics[group]["ndcg@1"].count,
        "panels": [
            {"title": name, "meaning": meaning, "bars": [_bar(method, group, metric, name) for method in methods]}
            for metric, name, meaning in HEADLINES
            if metric in methods[0].result.metrics[group]
        ],
    }


def _bar(method: _Method, group: str, metric: str, name: str) -> dict[str, Any]:
    interval = method.result.metrics[group][metric]
    label = (
        f"{method.label}, {name}: {percent(interval.mean)}, "
        f"95% interval {percent(interval.low)} to {percent(interval.high)}"
    )
    return {
        "label": method.label,
        "style": method.style,
        "value": percent(interval.mean),
        "svg": charts.bar(interval.mean, interval.low, interval.high, method.style, label),
    }


def _table(methods: Sequence[_Method], group: str, title: str, *, original: bool = False) -> dict[str, Any]:
    """All metrics of a group, methods as rows; `original` chooses the first ToolGen code's NDCG instead."""
    found = methods[0].result.metrics[group]
    metrics = sorted((m for m in found if m.startswith("ndcg_toolgen") == original), key=_metric_order)
    best = {
        metric: max(m.result.metrics[group][metric].mean for m in methods if metric in m.result.metrics[group])
        for metric in metrics
    }
    rows = []
    for method in methods:
        cells: list[tuple[Interval | None, bool]] = []
        for metric in metrics:
            interval = method.result.metrics.get(group, {}).get(metric)
            cells.append((interval, len(methods) > 1 and interval is not None and interval.mean == best[metric]))
        rows.append({"label": method.label, "style": method.style, "cells": cells})
    count = methods[0].result.metrics[group][metrics[0]].count
    return {"title": title, "count": count, "metrics": [metric_name(metric) for metric in metrics], "rows": rows}


def _metric_order(metric: str) -> tuple[int, int]:
    name, _, k = metric.partition("@")
    return list(METRIC_NAMES).index(name) if name in METRIC_NAMES else len(METRIC_NAMES), int(k)


def _differences(methods: Sequence[_Method]) -> list[dict[str, Any]]:
    """The leader minus each other method, paired by query."""
    leader = methods[0]
    rows = []
    for other in methods[1:]:
        for group, title in GROUPS:
            if group not in leader.result.metrics:
                continue
            cells = [
                paired_difference(leader.result, other.result, metric, group)
                for metric, _, _ in HEADLINES
                if metric in leader.result.metrics[group] and metric in other.result.metrics[group]
            ]
            rows.append({"label": f"{leader.label} − {other.label}", "group": title, "cells": cells})
    return rows


def _declining(methods: Sequence[_Method]) -> dict[str, Any] | None:
    """How well each method knows when not to, and its risk over coverage."""
    known = [(method, method.result.declining) for method in methods if method.result.declining]
    sound = [method.result.sound_declining for method, _ in known]
    if not known:
        return None
    rows = [
        {
            "label": m.label,
            "style": m.style,
            "sign": one.sign,
            "auc": one.auc,
            "declined": (*one.declined, *([other.declined[1]] if other else [])),
        }
        for (m, one), other in zip(known, sound, strict=True)
    ]
    lines = [charts.Series(m.label, m.style, tuple((100 * x, y) for x, y in one.risk_coverage)) for m, one in known]
    first = known[0][1]
    label = "Share of answered requests whose first tool is wrong, over the share of requests that is answered"
    return {
        "answerable": first.answerable,
        "unanswerable": first.unanswerable,
        "sound": sound[0].unanswerable if sound[0] else 0,
        "rows": rows,
        "svg": charts.line_chart(lines, label, percent=True, named=True, last="{}% answered"),
    }


def _worst(methods: Sequence[_Method]) -> list[dict[str, Any]]:
    """The leader's worst requests; among equally bad ones first those that another method answers well."""
    others = [(method, {record.id: record for record in method.result.records}) for method in methods[1:]]

    def order(record: QueryRecord) -> tuple[float, float, str]:
        found = [records[record.id].metrics["ndcg@5"] for _, records in others]
        # The hash mixes the categories without a choice of ours.
        return record.metrics["ndcg@5"], -max(found, default=0.0), hashlib.sha256(record.id.encode()).hexdigest()

    if "ndcg@5" not in methods[0].result.records[0].metrics:
        return []
    chosen = sorted((r for r in methods[0].result.records if r.metrics["ndcg@5"] < 1), key=order)[:_WORST]
    return [
        {
            "id": record.id,
            "text": shorten(record.text),
            "category": record.category,
            "asked": record.asked,
            "expected": [(tool, _place(record, tool)) for tool in record.relevant],
            "got": [(tool, tool in record.relevant) for tool in record.ranked[:3]],
            "others": [(m.label, m.style, _place(records[record.id], *record.relevant)) for m, records in others],
        }
        for record in chosen
    ]


def _place(record: QueryRecord, *tools: str) -> str:
    """Where the first of these tools stands in the ranking, in words."""
    places = [record.ranked.index(tool) + 1 for tool in tools if tool in record.ranked]
    return f"place {min(places)}" if places else f"not in the first {len(record.ranked)}"


# --- agent ------------------------------------------------------------------------------------------------------
