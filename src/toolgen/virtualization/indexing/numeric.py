"""Numeric indexing: a tool is its number in the catalog, digit by digit. Says nothing about the tool: the control among the
indexings (ToolGen, arXiv 2410.03439, section 3.2)."""

from __future__ import annotations


def numeric(count: int) -> list[tuple[int, ...]]:
    """The numbers 0 to `count` - 1, all of the same length."""
    width = numeric_width(count)
    return [tuple(map(int, f"{number:0{width}}")) for number in range(count)]


def numeric_width(count: int) -> int:
    """Digits of the greatest number."""
    return len(str(max(count - 1, 0)))
