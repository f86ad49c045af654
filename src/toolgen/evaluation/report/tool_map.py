"""The map of the tools: their rows on a plane, coloured by provider."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from toolgen.evaluation import charts

_MAP_DOTS = 4000
_MAP_COLOURS = 6


@dataclass(frozen=True)
class ToolMap:
    """Where each tool lies on the plane: `points` (x, y), their `names`, and the `labels` that colour them
    (provider, or an empty string for a tool without one)."""

    points: Sequence[Sequence[float]]
    labels: Sequence[str]
    names: Sequence[str]


def laid_out(tool_map: ToolMap) -> dict[str, Any]:
    """The map with its legend; of very many tools only some are drawn."""
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
