"""COMP: whether a list of k is complete, that is, holds every tool the request needs.

Qu et al., "COLT: Towards Completeness-Oriented Tool Retrieval" (arXiv 2405.16089). Knows tool ids only.
"""

from __future__ import annotations

from collections.abc import Sequence

from toolgen.evaluation.metrics.relevance import relevant_set


def comp(ranked: Sequence[str], relevant: Sequence[str], k: int) -> float:
    """1 if all relevant tools are among the first k, else 0. Raises InputError if nothing is relevant."""
    return float(relevant_set(relevant).issubset(ranked[:k]))
