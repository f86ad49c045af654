"""Charts as SVG: plain functions from numbers to markup. Those of a page are coloured by its style sheet, and their widths are
percentages, so that they follow the page from a phone to a wide screen while text keeps its size; `bar_page` stands alone.

Knows numbers and labels, no result file. Every axis that shows an amount starts at zero. Foreign text is escaped. A library
(matplotlib, pygal) would bring 30 MB or its own fonts and scripts into a page that needs neither network nor another file.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from markupsafe import Markup

# Points a line keeps; more than a screen has pixels only makes the page heavy.
_MAX_POINTS = 400

PLAIN, STRONG, FAINT = "#5b8dbf", "#1f4e79", "#9aa3ad"
"""Colours of a chart that stands alone."""


@dataclass(frozen=True)
class Series:
    """One line of a chart: its name, the style class that colours it, and its points (x, y) in order of x."""

    name: str
    style: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Dot:
    """One point of a scatter: place, style class and what it is called."""

    x: float
    y: float
    style: str
    label: str


class Bar(NamedTuple):
    """One bar of a chart that stands alone: what it is of, its length in the unit of the chart, its colour."""

    label: str
    value: float
    colour: str = PLAIN


def bar_page(title: str, bars: Sequence[Bar], *, note: str) -> Markup:
    """A picture of bars with their values, the longest 300 pixels, and a note in its last line."""
    longest = max(bar.value for bar in bars)
    height = 64 + 22 * len(bars)
    drawn = Markup().join(
        Markup(
            '<text x="230" y="{y}" text-anchor="end">{label}</text><rect x="240" y="{top}" width="{width:.1f}" height="16" '
            'rx="2" fill="{colour}"/><text x="{end:.1f}" y="{y}">{value:,.0f}</text>'
        ).format(
            y=46 + 22 * i,
            top=34 + 22 * i,
            label=bar.label,
            width=300 * bar.value / longest,
            end=246 + 300 * bar.value / longest,
            colour=bar.colour,
            value=bar.value,
        )
        for i, bar in enumerate(bars)
    )
    return Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 600 {height}" font-family="sans-serif" font-size="12">'
        '<rect width="100%" height="100%" fill="white"/><text x="12" y="20" font-weight="bold">{title}</text>{bars}'
        '<text x="12" y="{last}" fill="#5f6b76" font-size="11">{note}</text></svg>\n'
    ).format(height=height, title=title, bars=drawn, last=height - 10, note=note)


def bar(share: float, low: float, high: float, style: str, label: str) -> Markup:
    """A horizontal bar from 0 to `share` (0..1) with its interval, over faint lines at every quarter."""
    grid = Markup().join(
        Markup('<line class="grid" x1="{0}%" x2="{0}%" y1="0" y2="100%"/>').format(x) for x in (25, 50, 75, 100)
    )
    return Markup(
        '<svg class="bar {style}" role="img" aria-label="{label}" width="100%" height="27">{grid}'
        '<rect x="0" y="6" height="15" width="{share:.2f}%" rx="2"/>'
        '<line class="whisker" x1="{low:.2f}%" x2="{high:.2f}%" y1="13.5" y2="13.5"/>'
        '<line class="whisker" x1="{low:.2f}%" x2="{low:.2f}%" y1="10" y2="17"/>'
        '<line class="whisker" x1="{high:.2f}%" x2="{high:.2f}%" y1="10" y2="17"/></svg>'
    ).format(style=style, label=label, grid=grid, share=100 * share, low=100 * low, high=100 * high)


def bar_axis() -> Markup:
    """The scale under a stack of bars: 0 to 100."""
    ticks = ((0, "start", "0"), (50, "middle", "50"), (100, "end", "100"))
    return Markup('<svg class="axis" aria-hidden="true" width="100%" height="16">{}</svg>').format(
        Markup().join(
            Markup('<text x="{}%" y="12" text-anchor="{}">{}</text>').format(x, anchor, text)
            for x, anchor, text in ticks
        )
    )


def line_chart(
    series: Sequence[Series],
    label: str,
    *,
    top: float | None = None,
    percent: bool = False,
    named: bool = False,
    last: str = "step {}",
) -> Markup:
    """Lines over steps from 0; y from zero to `top` (by default a round number above the largest value).

    `last` says what the last x is; `percent` writes y times 100; `named` puts each line's name and last value at its end,
    without overlap.
    """
    drawn = [thin(one) for one in series if one.points]
    if not drawn:
        return Markup("")
    end = max(x for one in drawn for x, _ in one.points) or 1.0
    highest = top or ceiling(max(y for one in drawn for _, y in one.points))
    grid = Markup().join(_grid_line(share) for share in (1.0, 0.5, 0.0))
    lines = Markup().join(_polyline(one, end, highest) for one in drawn)
    ticks = Markup().join(_y_tick(share, _amount(share * highest, percent)) for share in (1.0, 0.5))
    steps = Markup('<text x="0" y="186">0</text><text x="100%" y="186" text-anchor="end">{}</text>').format(
        last.format(f"{end:,.0f}")
    )
    return Markup(
        '<svg class="lines" role="img" aria-label="{label}" width="100%" height="190">{grid}'
        '<svg x="0" y="20" width="100%" height="146" viewBox="0 0 100 100" preserveAspectRatio="none" '
        'overflow="visible">{lines}</svg>{ticks}{steps}{names}</svg>'
    ).format(
        label=label,
        grid=grid,
        lines=lines,
        ticks=ticks,
        steps=steps,
        names=_end_names(drawn, highest, percent) if named else "",
    )


def scatter(dots: Sequence[Dot], label: str) -> Markup:
    """Dots on a plane without axes (the directions mean nothing by themselves), the plane fitted to the dots."""
    if not dots:
        return Markup("")
    # The outermost rows would squeeze all others into the middle: one in 500 on each side is drawn at the border.
    left, right = _range([dot.x for dot in dots])
    low, high = _range([dot.y for dot in dots])
    circles = Markup().join(
        Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="4.5"><title>{}</title></circle>').format(
            dot.style, 12 + 976 * _place(dot.x, left, right), 588 - 576 * _place(dot.y, low, high), dot.label
        )
        for dot in dots
    )
    return Markup('<svg class="scatter" role="img" aria-label="{}" viewBox="0 0 1000 600">{}</svg>').format(
        label, circles
    )


def smooth(points: Sequence[tuple[float, float]], window: int) -> tuple[tuple[float, float], ...]:
    """The mean of y over `window` neighbours centred on each point, fewer at the ends."""
    half = window // 2
    means = []
    for i, (x, _) in enumerate(points):
        reach = min(half, i, len(points) - 1 - i)
        around = points[i - reach : i + reach + 1]
        means.append((x, sum(y for _, y in around) / len(around)))
    return tuple(means)


def thin(series: Series) -> Series:
    """The series with at most 400 points, first and last kept."""
    points = series.points
    if len(points) <= _MAX_POINTS:
        return series
    step = (len(points) - 1) / (_MAX_POINTS - 1)
    kept = tuple(points[round(i * step)] for i in range(_MAX_POINTS))
    return Series(series.name, series.style, kept)


def ceiling(value: float) -> float:
    """The next number above of the form 1, 2, 4, 5, 8 or 10 times a power of ten; 1 for nothing."""
    if value <= 0 or not math.isfinite(value):
        return 1.0
    unit = 10.0 ** math.floor(math.log10(value))
    return next(factor * unit for factor in (1, 2, 4, 5, 8, 10) if factor * unit >= value * (1 - 1e-9))


def _polyline(series: Series, end: float, highest: float) -> Markup:
    places = [f"{100 * x / end:.2f},{100 * (1 - min(1.0, max(0.0, y / highest))):.2f}" for x, y in series.points]
    # A line of no length with round ends is a dot that the stretched plane cannot flatten.
    return Markup('<polyline class="{0}" points="{1}"/><polyline class="{0} dot-end" points="{2} {2}"/>').format(
        series.style, " ".join(places), places[-1]
    )


def _grid_line(share: float) -> Markup:
    style = "base" if share == 0 else "grid"
    return Markup('<line class="{}" x1="0" x2="100%" y1="{y:.1f}" y2="{y:.1f}"/>').format(style, y=_height(share))


def _y_tick(share: float, text: str) -> Markup:
    return Markup('<text x="0" y="{:.1f}">{}</text>').format(_height(share) - 4, text)


def _amount(value: float, percent: bool) -> str:
    return f"{100 * value:.0f}" if percent else f"{value:g}"


def _height(share: float) -> float:
    """Pixels from the top of a line chart for a share of its scale."""
    return 20 + 146 * (1 - share)


def _end_names(series: Sequence[Series], highest: float, percent: bool) -> Markup:
    """Each line's name and last value at the right, from the highest line down, kept 14 pixels apart."""
    names, lowest = [], 0.0
    for one in sorted(series, key=lambda one: -one.points[-1][1]):
        value = one.points[-1][1]
        y = max(_height(min(1.0, value / highest)) - 7, lowest + 14, 12)
        lowest = y
        text = f"{one.name} {100 * value:.1f}" if percent else f"{one.name} {value:.3g}"
        names.append(
            Markup('<text class="{}" x="100%" y="{:.1f}" text-anchor="end">{}</text>').format(one.style, y, text)
        )
    return Markup().join(names)


def _range(values: Sequence[float]) -> tuple[float, float]:
    ordered = sorted(values)
    cut = len(ordered) // 500
    return ordered[cut], ordered[-1 - cut]


def _place(value: float, low: float, high: float) -> float:
    return 0.5 if high <= low else min(1.0, max(0.0, (value - low) / (high - low)))
