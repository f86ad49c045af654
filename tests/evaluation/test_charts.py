"""Charts tell the truth: lengths are proportional, scales start at zero, lines end where the numbers end."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest

from toolgen.evaluation.charts import Bar, Dot, Series, bar, bar_page, ceiling, line_chart, scatter, smooth, thin


def test_a_bar_is_as_long_as_its_share() -> None:
    svg = bar(0.625, 0.5, 0.75, "m-bm25", "x")
    assert 'width="62.50%"' in svg
    assert 'x1="50.00%" x2="75.00%"' in svg


def test_the_bars_of_a_picture_are_proportional_and_labelled() -> None:
    svg = bar_page("Tokens", [Bar("one", 100.0), Bar("<two>", 50.0)], note="a machine")
    assert re.findall(r'<rect x="240" y="\d+" width="([\d.]+)"', svg) == ["300.0", "150.0"]
    assert "&lt;two&gt;" in svg and ">100</text>" in svg and "a machine" in svg


def test_a_line_lies_between_zero_and_the_ceiling() -> None:
    svg = line_chart([Series("loss", "strong", ((0.0, 9.0), (50.0, 5.0), (100.0, 0.0)))], "x")
    assert 'points="0.00,10.00 50.00,50.00 100.00,100.00"' in svg
    assert ">10</text>" in svg and "step 100" in svg


def test_names_at_the_end_of_lines_do_not_overlap() -> None:
    series = [Series(f"s{i}", "second", ((0.0, 0.5), (9.0, 0.5 + i / 1000))) for i in range(4)]
    svg = line_chart(series, "x", top=1.0, percent=True, named=True)
    heights = [float(y) for y in re.findall(r'class="second" x="100%" y="([\d.]+)"', svg)]
    assert len(heights) == 4
    assert all(lower - upper >= 14 for upper, lower in pairwise(heights))


def test_one_measurement_or_none_is_drawn_too() -> None:
    assert "dot-end" in line_chart([Series("dev", "strong", ((5.0, 0.4),))], "x")
    assert line_chart([Series("dev", "strong", ())], "x") == ""
    assert scatter([], "x") == ""
    assert scatter([Dot(1.0, 1.0, "c0", "alone")], "x").count("<circle") == 1


def test_labels_are_escaped() -> None:
    assert "<b>" not in bar(0.5, 0.4, 0.6, "m", "<b>") + scatter([Dot(0, 0, "c0", "<b>")], "<b>")
    assert "<b>" not in line_chart([Series("<b>", "strong", ((0.0, 1.0),))], "<b>", named=True)


@pytest.mark.parametrize(
    ("value", "above"),
    [(0.0, 1.0), (9.0, 10.0), (10.0, 10.0), (0.031, 0.04), (4.5, 5.0), (1.01, 2.0), (float("nan"), 1.0)],
)
def test_a_scale_ends_at_a_round_number(value: float, above: float) -> None:
    assert ceiling(value) == pytest.approx(above)


def test_thinning_keeps_both_ends() -> None:
    points = tuple((float(i), float(i)) for i in range(5000))
    kept = thin(Series("s", "c", points)).points
    assert (len(kept), kept[0], kept[-1]) == (400, points[0], points[-1])


def test_smoothing_keeps_a_straight_line_straight() -> None:
    points = [(float(i), 2.0 * i) for i in range(20)]
    assert [y for _, y in smooth(points, 5)] == pytest.approx([y for _, y in points])
