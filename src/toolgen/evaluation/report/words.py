"""Numbers and long texts as the page shows them, and what groups of requests are called."""

from __future__ import annotations

import json
from typing import Any

from toolgen.evaluation.metrics import Interval

GROUPS = (
    ("all", "All requests"),
    ("asked", "Asked tools: some training request asks for them"),
    ("unasked", "Unasked tools: no training request asks for them"),
)
METRIC_NAMES = {"ndcg": "NDCG", "recall": "Recall", "comp": "COMP", "ndcg_toolgen": "NDCG"}

_LONG_TEXT = 700


def percent(share: float) -> str:
    """`0.756` as "75.6"."""
    return f"{100 * share:.1f}"


def signed(share: float) -> str:
    """The same with its sign."""
    sign = "+" if share > 0 else "−" if share < 0 else ""
    return sign + percent(abs(share))


def interval_text(interval: Interval) -> str:
    """A share with its interval."""
    return f"{percent(interval.mean)} ({percent(interval.low)}–{percent(interval.high)})"


def group_title(group: str) -> str:
    """What the requests of a group have in common."""
    if group in dict(GROUPS):
        return dict(GROUPS)[group]
    if group == "sound":
        return "Without those whose label is known to be wrong"
    name, _, value = group.partition("=")
    if name == "tools>":
        return f"{value} or more relevant tools"
    if name == "calls":
        return f"{value} expected call{'' if value == '1' else 's'}"
    if name == "tools":
        return f"{value} relevant tool{'' if value == '1' else 's'}"
    return f"Category {value}"


def metric_name(metric: str) -> str:
    """`ndcg@5` as "NDCG@5"."""
    name, _, k = metric.partition("@")
    return f"{METRIC_NAMES.get(name, name)}@{k}"


def plain(value: Any) -> str:
    """A text as it is, any other value as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def pretty(text: str) -> str:
    """JSON that does not fit a line is indented; all other text stays as it is."""
    if len(text) < 70 or text[:1] not in "{[":
        return text
    try:
        return json.dumps(json.loads(text), ensure_ascii=False, indent=2)
    except (ValueError, RecursionError):
        return text


def shorten(text: str) -> str:
    """A text cut to what a reader of the page will read."""
    if len(text) <= _LONG_TEXT:
        return text
    return f"{text[:_LONG_TEXT].rstrip()} … ({len(text) - _LONG_TEXT:,} more characters)"
