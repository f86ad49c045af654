"""Training curves: the loss of each stage or what it earned, and what was measured on the dev split while it ran."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from toolgen.evaluation import charts
from toolgen.evaluation.report.words import metric_name, percent


def curves(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For each stage, in order of appearance: its loss or, where there is one, its reward, and what was measured on the dev
    split while it ran."""
    stages: dict[str, list[Mapping[str, Any]]] = {}
    for record in records:
        if "stage" in record and "step" in record:
            stages.setdefault(str(record["stage"]), []).append(record)
    curves = []
    for stage, rows in stages.items():
        rows = sorted(rows, key=lambda row: float(row["step"]))
        aim = "reward" if any("reward" in row for row in rows) else "loss"
        if points := _points(rows, aim):
            curves.append(_aim_curve(stage, aim, points, rows))
        if dev := _dev_series(rows):
            curves.append(_dev_curve(stage, dev))
    return curves


def _points(rows: Sequence[Mapping[str, Any]], key: str) -> tuple[tuple[float, float], ...]:
    return tuple((float(row["step"]), float(row[key])) for row in rows if isinstance(row.get(key), int | float))


def _aim_curve(
    stage: str, aim: str, points: tuple[tuple[float, float], ...], rows: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    smoothed = charts.smooth(points, max(3, len(points) // 15))
    last = smoothed[-1][1]
    notes = [f"{int(points[-1][0]):,} steps"]
    if seconds := _points(rows, "seconds"):
        notes.append(f"{max(value for _, value in seconds) / 60:.1f} minutes")
    series = [charts.Series("each step", "raw", points), charts.Series("mean of neighbours", "strong", smoothed)]
    return {
        "title": f"{stage.capitalize()}: {aim}",
        "value": f"{last:.3g}",
        "note": ", ".join(notes),
        "svg": charts.line_chart(series, f"Training {aim} of stage {stage}, from {points[0][1]:.3g} to {last:.3g}"),
    }


def _dev_series(rows: Sequence[Mapping[str, Any]]) -> list[charts.Series]:
    """One line for each dev metric that is a share, at most four."""
    keys = dict.fromkeys(key for row in rows for key in row if key.startswith("dev_"))
    found = [(key, points) for key in keys if (points := _points(rows, key)) and all(0 <= y <= 1 for _, y in points)]
    return [
        charts.Series(
            metric_name(name) if "@" in (name := key.removeprefix("dev_")) else name.replace("_", " "),
            "strong" if place == 0 else "second",
            points,
        )
        for place, (key, points) in enumerate(found[:4])
    ]


def _dev_curve(stage: str, series: Sequence[charts.Series]) -> dict[str, Any]:
    values = ", ".join(f"{one.name} {percent(one.points[-1][1])}" for one in series)
    return {
        "title": f"{stage.capitalize()}: dev split",
        "value": "",
        "note": "on requests kept out of training",
        "svg": charts.line_chart(
            series, f"Dev metrics of stage {stage}, last: {values}", top=1.0, percent=True, named=True
        ),
    }
