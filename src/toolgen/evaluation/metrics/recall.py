"""Recall: the share of the relevant tools that a list of k finds. Knows tool ids only."""

from __future__ import annotations

from collections.abc import Sequence

from toolgen.evaluation.metrics.relevance import relevant_set


def recall(ranked: Sequence[str], relevant: Sequence[str], k: int) -> float:
    """|relevant tools among the first k| / |relevant tools|, in 0..1.

    With more relevant tools than k it cannot reach 1. Raises InputError if nothing is relevant.
    """
    wanted = relevant_set(relevant)
    return len(wanted.intersection(ranked[:k])) / len(wanted)
