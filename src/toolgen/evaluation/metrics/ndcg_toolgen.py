"""NDCG as the original ToolGen computed it, only for comparison with its published numbers.

Wang et al., "ToolGen" (arXiv 2410.03439). The ideal is taken over the list that the method returned, so a tool that it
missed altogether costs nothing: a list of 5 is judged more mildly than one of 100. Use `ndcg` for everything else.
"""

from __future__ import annotations

from collections.abc import Sequence

from toolgen.evaluation.metrics.ndcg import ndcg
from toolgen.evaluation.metrics.relevance import relevant_set


def ndcg_toolgen(ranked: Sequence[str], relevant: Sequence[str], k: int) -> float:
    """DCG@k / DCG@k of the returned list sorted by relevance; 0 if the list holds no relevant tool.

    `ranked` is the whole returned list, as long as the method made it (5 for ToolGen, 100 for its baselines).
    Raises InputError if nothing is relevant.
    """
    returned = [tool for tool in relevant_set(relevant) if tool in set(ranked)]
    return ndcg(ranked, returned, k) if returned else 0.0
