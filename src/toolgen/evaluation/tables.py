"""Cells of tables of results, in percent with 95% intervals. Knows no result."""

from __future__ import annotations

from toolgen.evaluation.metrics import Difference, Interval

BOLD = "bold: the interval leaves out zero"
"""What `signed` means by it."""


def shown(interval: Interval) -> str:
    """`80.9 (78.3–83.3)`, in percent."""
    return f"{100 * interval.mean:.1f} ({100 * interval.low:.1f}–{100 * interval.high:.1f})"


def signed(difference: Difference) -> str:
    """`**+2.1** (+0.4 to +3.9)`, in percent."""
    mean, low, high = (f"{100 * value:+.1f}" for value in (difference.mean, difference.low, difference.high))
    text = f"**{mean}** ({low} to {high})" if difference.significant else f"{mean} ({low} to {high})"
    return text.replace("-", "−")
