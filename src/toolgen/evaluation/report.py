"""Report: results, training curves and the tool map on one HTML page that needs nothing else.

Knows result files and how to lay them out; runs no model. The page makes no request to any server, follows the
reader's light or dark setting, and escapes every string that comes from data.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from toolgen.errors import UsageError
from toolgen.evaluation import charts
from toolgen.evaluation.metrics import Interval
from toolgen.evaluation.results import QueryRecord, RetrievalResult, paired_difference
from toolgen.files import write_text

AGENT_KINDS = {
    "single_turn": "Requests of one turn",
    "multi_turn": "Tasks of several turns",
    "irrelevance": "Requests that no tool fits",
}
MEASURES = {
    "accuracy": "Calls right, tools and arguments",
    "tool_accuracy": "Tools right",
    "first_tool": "First tool right",
    "finished": "Ended by the model itself",
    "declined": "Declined",
    "no_call": "Called nothing",
    "task_success": "Whole task right",
    "turn_success": "Turns right",
    "turn_state": "Turns that leave the right state",
    "turn_required_calls": "Turns with the required results",
    "abstained": "Rightly held back",
}

# What the bars show, and how a newcomer reads it.
HEADLINES = (
    ("ndcg@1", "NDCG@1", "the first tool is a right one"),
    ("recall@5", "Recall@5", "needed tools among the first five"),
    ("comp@5", "COMP@5", "all needed tools among the first five"),
)
GROUPS = (
    ("all", "All requests"),
    ("seen", "Tools with a training request"),
    ("unseen", "Tools without a training request"),
)
METRIC_NAMES = {"ndcg": "NDCG", "recall": "Recall", "comp": "COMP", "ndcg_toolgen": "NDCG"}
METHOD_STYLES = {"generative": "m-generative", "bm25": "m-bm25", "dense": "m-dense", "bm25+dense": "m-sum"}
METHOD_NAMES = {"generative": "Generative", "bm25": "BM25", "dense": "Dense"}

_WORST = 10
_TRAJECTORIES = 4
_STEPS = 14
_MAP_DOTS = 4000
_MAP_COLOURS = 6
_LONG_TEXT = 700


@dataclass(frozen=True)
class ToolMap:
    """Where each tool lies on the plane: `points` (x, y), their `names`, and the `labels` that colour them
    (provider, or an empty string for a tool without one)."""

    points: Sequence[Sequence[float]]
    labels: Sequence[str]
    names: Sequence[str]


@dataclass(frozen=True)
class _Method:
    """A retrieval result with the name and colour it has on the page."""

    label: str
    style: str
    result: RetrievalResult


def write_report(
    results: Sequence[RetrievalResult | Mapping[str, Any]],
    path: Path,
    *,
    title: str = "Finding and calling tools",
    labels: Sequence[str] | None = None,
    training: Iterable[Mapping[str, Any]] = (),
    tool_map: ToolMap | None = None,
) -> None:
    """Writes the page. See `render_report` for the arguments."""
    write_text(path, render_report(results, title=title, labels=labels, training=training, tool_map=tool_map))


def render_report(
    results: Sequence[RetrievalResult | Mapping[str, Any]],
    *,
    title: str = "Finding and calling tools",
    labels: Sequence[str] | None = None,
    training: Iterable[Mapping[str, Any]] = (),
    tool_map: ToolMap | None = None,
) -> str:
    """The page as HTML.

    `results` are retrieval results and agent results (JSON objects) as `load_result` reads them; retrieval results of
    the same dataset and split are compared with each other. `labels` name them (one each, by default the method).
    `training` are the records of a checkpoint's `metrics.jsonl`. What is not given has no section.
    Raises UsageError without a result.
    """
    if not results:
        raise UsageError("a report needs at least one result file; make one with: toolgen evaluate retrieval ...")
    names = labels or [_default_label(result) for result in results]
    pairs = list(zip(results, names, strict=True))
    comparisons = _comparisons([(result, name) for result, name in pairs if isinstance(result, RetrievalResult)])
    agents = [_agent(result, name) for result, name in pairs if not isinstance(result, RetrievalResult)]
    environment = Environment(
        loader=PackageLoader("toolgen.evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=_percent, signed=_signed)
    style = Path(__file__).with_name("templates") / "report.css"
    return environment.get_template("report.html.jinja").render(
        title=title,
        style=Markup(style.read_text(encoding="utf-8")),
        facts=_facts(results),
        comparisons=comparisons,
        agents=agents,
        curves=_curves(list(training)),
        tool_map=_map(tool_map) if tool_map else None,
        origins=[_origin(result, name) for result, name in pairs],
    )


def _default_label(result: RetrievalResult | Mapping[str, Any]) -> str:
    return result.retriever if isinstance(result, RetrievalResult) else str(result.get("name", "agent"))


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _signed(share: float) -> str:
    sign = "+" if share > 0 else "−" if share < 0 else ""
    return sign + _percent(abs(share))


# --- header and origin ------------------------------------------------------------------------------------------


def _provenance(result: RetrievalResult | Mapping[str, Any]) -> Mapping[str, Any]:
    if isinstance(result, RetrievalResult):
        return result.provenance.to_dict()
    found = result.get("provenance")
    return found if isinstance(found, Mapping) else {}


def _facts(results: Sequence[RetrievalResult | Mapping[str, Any]]) -> list[tuple[str, str]]:
    """What was measured on what, each fact once."""
    facts: dict[str, list[str]] = {"Dataset": [], "Model": [], "Tools": [], "Date": [], "Machine": []}
    for result in results:
        origin = _provenance(result)
        dataset, machine = origin.get("dataset", {}), origin.get("hardware", {})
        found = {
            "Dataset": f"{dataset.get('name', '')} {dataset.get('version', '')}".strip(),
            "Model": str(origin.get("config", {}).get("model", "")),
            "Tools": f"{origin['catalog']['tools']:,}" if origin.get("catalog") else "",
            "Date": str(origin.get("date", ""))[:10],
            "Machine": _machine(machine),
        }
        for name, value in found.items():
            if value and value not in facts[name]:
                facts[name].append(value)
    return [(name, ", ".join(values)) for name, values in facts.items() if values]


def _machine(hardware: Mapping[str, Any]) -> str:
    if not hardware:
        return ""
    parts = [hardware.get("accelerator") or hardware.get("processor", ""), f"{hardware.get('cores', '?')} cores"]
    if hardware.get("memory_gib"):
        parts.append(f"{hardware['memory_gib']:g} GiB")
    return ", ".join(str(part) for part in parts if part)


def _origin(result: RetrievalResult | Mapping[str, Any], label: str) -> dict[str, Any]:
    """The provenance of one result as lines of a name and a value."""
    origin = _provenance(result)
    lines = []
    for name, value in origin.items():
        if isinstance(value, Mapping):
            text = ", ".join(f"{key}: {_plain(entry)}" for key, entry in value.items())
        else:
            text = _plain(value)
        lines.append((name, text))
    return {"label": label, "lines": lines}


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


# --- comparison of retrievers -----------------------------------------------------------------------------------


def _comparisons(pairs: Sequence[tuple[RetrievalResult, str]]) -> list[dict[str, Any]]:
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
        "more": [_table(methods, group, _group_title(group)) for group in first.metrics if group not in dict(GROUPS)],
        "differences": _differences(methods),
        "latencies": [(m.label, m.style, m.result.latency) for m in methods if m.result.latency],
        "worst": _worst(methods),
        "worst_of": methods[0].label,
        "axis": charts.bar_axis(),
        "name_width": min(20, max(len(method.label) for method in methods) + 1),
    }


def _group_title(group: str) -> str:
    name, _, value = group.partition("=")
    if name == "tools>":
        return f"{value} or more relevant tools"
    if name == "tools":
        return f"{value} relevant tool{'' if value == '1' else 's'}"
    return f"Category {value}"


def _summary(methods: Sequence[_Method]) -> list[str]:
    """The finding in words: how often the leader's first tool is right, beside the best of the others."""
    leader, others = methods[0], methods[1:]
    sentences = []
    for group, asked in (("all", "requests"), ("unseen", "requests for tools that no training request asks for")):
        if group not in leader.result.metrics:
            continue
        own = leader.result.metrics[group]["ndcg@1"]
        sentence = f"{leader.label} puts a right tool first for {_percent(own.mean)}% of {own.count:,} {asked}"
        if others:
            best = max(others, key=lambda method: method.result.metrics[group]["ndcg@1"].mean)
            mean = _percent(best.result.metrics[group]["ndcg@1"].mean)
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
        f"{method.label}, {name}: {_percent(interval.mean)}, "
        f"95% interval {_percent(interval.low)} to {_percent(interval.high)}"
    )
    return {
        "label": method.label,
        "style": method.style,
        "value": _percent(interval.mean),
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
    return {"title": title, "count": count, "metrics": [_metric_name(metric) for metric in metrics], "rows": rows}


def _metric_order(metric: str) -> tuple[int, int]:
    name, _, k = metric.partition("@")
    return list(METRIC_NAMES).index(name) if name in METRIC_NAMES else len(METRIC_NAMES), int(k)


def _metric_name(metric: str) -> str:
    name, _, k = metric.partition("@")
    return f"{METRIC_NAMES.get(name, name)}@{k}"


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
            "text": _shorten(record.text),
            "category": record.category,
            "seen": record.seen,
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


def _agent(result: Mapping[str, Any], label: str) -> dict[str, Any]:
    records = [record for record in result.get("records", ()) if isinstance(record, Mapping)]
    metrics = result.get("metrics", {})
    kinds = [_agent_kind(kind, metrics[kind]) for kind in AGENT_KINDS if isinstance(metrics.get(kind), Mapping)]
    rest = {name: value for name, value in metrics.items() if name not in (*AGENT_KINDS, "validity")}
    return {
        "label": label,
        "count": len(records),
        "given_tools": bool(_provenance(result).get("config", {}).get("given_tools")),
        "kinds": kinds,
        "validity": _validity(metrics.get("validity", {})),
        "numbers": _numbers(rest),
        "trajectories": [_trajectory(record) for record in _choose(records)],
    }


def _agent_kind(kind: str, groups: Mapping[str, Any]) -> dict[str, Any]:
    """One kind of task: bars for all of them, and a line of numbers for each group of them."""
    whole = groups.get("all", {})
    count = max((interval["count"] for interval in whole.values()), default=0)
    tables = [
        {
            "title": dict(GROUPS).get(group) or _group_title(group),
            "count": max((interval["count"] for interval in metrics.values()), default=0),
            "cells": [(_measure_name(name), _interval_text(interval)) for name, interval in metrics.items()],
        }
        for group, metrics in groups.items()
        if group != "all"
    ]
    bars = [_measure(name, interval) for name, interval in whole.items()]
    return {"title": AGENT_KINDS[kind], "count": count, "bars": bars, "groups": tables}


def _measure_name(name: str) -> str:
    return MEASURES.get(name, name.replace("_", " "))


def _measure(name: str, interval: Mapping[str, Any]) -> dict[str, Any]:
    title, text = _measure_name(name), _interval_text(interval)
    svg = charts.bar(interval["mean"], interval["low"], interval["high"], "m-generative", f"{title}: {text}")
    return {"title": title, "text": text, "svg": svg}


def _interval_text(interval: Mapping[str, Any]) -> str:
    return f"{_percent(interval['mean'])} ({_percent(interval['low'])}–{_percent(interval['high'])})"


def _validity(totals: Mapping[str, Any]) -> str:
    """What the constraints gave, and what the model would have written without them."""
    if not totals.get("actions"):
        return ""
    text = (
        f"Of {totals['actions']:,} calls, {totals.get('nonexistent_tools', 0):,} named a tool that does not exist and "
        f"{totals.get('invalid_arguments', 0):,} had invalid arguments."
    )
    free = [
        f"{100 * totals[key]:.1f}% of {whole}"
        for key, whole in (
            ("unconstrained_no_such_tool", "choices would not have named a tool"),
            ("unconstrained_invalid_arguments", "argument objects would have left their schema"),
        )
        if key in totals
    ]
    return text + (f" Without constraints {' and '.join(free)}." if free else "")


def _numbers(metrics: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Every other number of an agent result with its name, nested ones with their path."""
    found: list[tuple[str, str]] = []
    for name, value in metrics.items():
        title = f"{prefix}{name}".replace("_", " ")
        if isinstance(value, Mapping) and {"mean", "low", "high"} <= set(value):
            found.append((title, _interval_text(value)))
        elif isinstance(value, Mapping):
            # "effort: mean steps" reads no better than "mean steps".
            found += _numbers(value, "" if name == "effort" else f"{prefix}{name}: ")
        elif isinstance(value, float):
            found.append((title, f"{value:,.2f}"))
        elif isinstance(value, int | str):
            found.append((title, str(value)))
    return found


def _choose(records: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Some that went right and some that went wrong, of different kinds, the ones with more steps first."""
    usable = [r for r in records if isinstance(r.get("trajectory"), Mapping) and r["trajectory"].get("messages")]
    longest = sorted(usable, key=lambda r: (-min(len(r["trajectory"]["messages"]), _STEPS), str(r.get("id"))))
    right = _mixed([record for record in longest if record.get("correct")])
    wrong = _mixed([record for record in longest if not record.get("correct")])
    half = _TRAJECTORIES // 2
    return right[: max(half, _TRAJECTORIES - len(wrong))] + wrong[: max(half, _TRAJECTORIES - len(right))]


def _mixed(records: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The first of each kind, then the second of each, and so on."""
    seen: Counter[str] = Counter()
    places = []
    for record in records:
        kind = str(record.get("kind", ""))
        places.append(seen[kind])
        seen[kind] += 1
    return [records[i] for i in sorted(range(len(records)), key=lambda i: places[i])]


def _trajectory(record: Mapping[str, Any]) -> dict[str, Any]:
    trajectory = record["trajectory"]
    outcome = trajectory.get("outcome") or {}
    steps = [step for message in trajectory["messages"] for step in _steps(message)]
    if len(steps) > _STEPS:
        left_out = {"kind": "more", "name": f"{len(steps) - (_STEPS - 1)} steps left out", "text": ""}
        steps = [*steps[: _STEPS - 2], left_out, steps[-1]]
    return {
        "id": str(record.get("id", "")),
        "correct": bool(record.get("correct")),
        "status": str(outcome.get("status", "")).replace("_", " "),
        "reason": _reason(str(record.get("reason") or "")),
        "steps": steps,
        "expected": _expected(record.get("expected")),
    }


def _reason(text: str) -> str:
    """Why a run is wrong: the kind of error in words, what follows it (names, values) as it is."""
    kind, space, detail = text.partition(" ")
    return _shorten(kind.replace("_", " ") + space + detail)


def _steps(message: Mapping[str, Any]) -> list[dict[str, str]]:
    """One message as steps to read: who acts, what is said."""
    role, content = str(message.get("role", "")), _text(message.get("content"))
    if role == "assistant":
        steps = [{"kind": "thought", "name": "Thought", "text": content}] if content else []
        return steps + [_call(call.get("function", {})) for call in message.get("tool_calls") or ()]
    name = {"user": "Request", "tool": "Result", "system": "System"}.get(role, role)
    return [{"kind": role, "name": name, "text": _shorten(_pretty(content))}]


def _call(function: Mapping[str, Any]) -> dict[str, str]:
    tool, arguments = str(function.get("name", "")), _text(function.get("arguments"))
    if tool == "finish":
        return {"kind": "finish", "name": "Answer", "text": _answer(arguments)}
    if tool == "no_tool":
        return {"kind": "finish", "name": "Declines", "text": "No tool of the catalog fits."}
    return {"kind": "call", "name": tool, "text": _shorten(_pretty(arguments))}


def _answer(arguments: str) -> str:
    try:
        answer = json.loads(arguments).get("answer")
    except (ValueError, AttributeError):
        return _shorten(arguments)
    return _shorten(_text(answer) if answer is not None else arguments)


def _expected(expected: Any) -> str:
    return "" if expected in (None, [], {}, "") else _shorten(_pretty(_text(expected)))


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _pretty(text: str) -> str:
    """JSON that does not fit a line is indented; all other text stays as it is."""
    if len(text) < 70 or text[:1] not in "{[":
        return text
    try:
        return json.dumps(json.loads(text), ensure_ascii=False, indent=2)
    except ValueError:
        return text


def _shorten(text: str) -> str:
    if len(text) <= _LONG_TEXT:
        return text
    return f"{text[:_LONG_TEXT].rstrip()} … ({len(text) - _LONG_TEXT:,} more characters)"


# --- training and map -------------------------------------------------------------------------------------------


def _curves(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For each stage, in order of appearance: its loss, and what was measured on the dev split while it ran."""
    stages: dict[str, list[Mapping[str, Any]]] = {}
    for record in records:
        if "stage" in record and "step" in record:
            stages.setdefault(str(record["stage"]), []).append(record)
    curves = []
    for stage, rows in stages.items():
        rows = sorted(rows, key=lambda row: float(row["step"]))
        if loss := _points(rows, "loss"):
            curves.append(_loss_curve(stage, loss, rows))
        if dev := _dev_series(rows):
            curves.append(_dev_curve(stage, dev))
    return curves


def _points(rows: Sequence[Mapping[str, Any]], key: str) -> tuple[tuple[float, float], ...]:
    return tuple((float(row["step"]), float(row[key])) for row in rows if isinstance(row.get(key), int | float))


def _loss_curve(stage: str, loss: tuple[tuple[float, float], ...], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    smoothed = charts.smooth(loss, max(3, len(loss) // 15))
    last = smoothed[-1][1]
    notes = [f"{int(loss[-1][0]):,} steps"]
    if seconds := _points(rows, "seconds"):
        notes.append(f"{max(value for _, value in seconds) / 60:.1f} minutes")
    series = [charts.Series("each step", "raw", loss), charts.Series("mean of neighbours", "strong", smoothed)]
    return {
        "title": f"{stage.capitalize()}: loss",
        "value": f"{last:.3g}",
        "note": ", ".join(notes),
        "svg": charts.line_chart(series, f"Training loss of stage {stage}, from {loss[0][1]:.3g} to {last:.3g}"),
    }


def _dev_series(rows: Sequence[Mapping[str, Any]]) -> list[charts.Series]:
    """One line for each dev metric that is a share, at most four."""
    keys = dict.fromkeys(key for row in rows for key in row if key.startswith("dev_"))
    found = [(key, points) for key in keys if (points := _points(rows, key)) and all(0 <= y <= 1 for _, y in points)]
    return [
        charts.Series(
            _metric_name(name) if "@" in (name := key.removeprefix("dev_")) else name.replace("_", " "),
            "strong" if place == 0 else "second",
            points,
        )
        for place, (key, points) in enumerate(found[:4])
    ]


def _dev_curve(stage: str, series: Sequence[charts.Series]) -> dict[str, Any]:
    values = ", ".join(f"{one.name} {_percent(one.points[-1][1])}" for one in series)
    return {
        "title": f"{stage.capitalize()}: dev split",
        "value": "",
        "note": "on requests kept out of training",
        "svg": charts.line_chart(
            series, f"Dev metrics of stage {stage}, last: {values}", top=1.0, percent=True, named=True
        ),
    }


def _map(tool_map: ToolMap) -> dict[str, Any]:
    counts = Counter(label for label in tool_map.labels if label)
    styles = {label: f"c{i}" for i, (label, _) in enumerate(counts.most_common(_MAP_COLOURS))}
    step = max(1, -(-len(tool_map.points) // _MAP_DOTS))
    rows = range(0, len(tool_map.points), step)
    dots = [
        charts.Dot(
            float(tool_map.points[row][0]),
            float(tool_map.points[row][1]),
            styles.get(tool_map.labels[row], "c-rest"),
            tool_map.names[row] + (f" ({tool_map.labels[row]})" if tool_map.labels[row] else ""),
        )
        for row in rows
    ]
    # Grey first: the coloured providers lie on top.
    dots.sort(key=lambda dot: dot.style != "c-rest")
    legend = [(label, style, counts[label]) for label, style in styles.items()]
    if others := len(counts) - len(styles):
        rest = sum(counts.values()) - sum(counts[label] for label in styles)
        legend.append((f"{others:,} other provider{'' if others == 1 else 's'}", "c-rest", rest))
    if unnamed := len(tool_map.labels) - sum(counts.values()):
        legend.append(("no provider", "c-rest", unnamed))
    return {
        "svg": charts.scatter(dots, f"Map of {len(dots):,} tool rows, coloured by provider"),
        "legend": legend,
        "count": len(tool_map.points),
        "shown": len(dots),
    }
