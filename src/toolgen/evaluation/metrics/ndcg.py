"""Normalized discounted cumulative gain, the textbook form, for relevance that is yes or no.

Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques" (TOIS 2002). Knows tool ids only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from toolgen.evaluation.metrics.relevance import relevant_set


def ndcg(ranked: Sequence[str], relevant: Sequence[str], k: int) -> float:
    """DCG@k / ideal DCG@k, with DCG@k = sum over places i = 1..k that hold a relevant tool of 1 / log2(i + 1).

    The ideal list has all relevant tools first, whether or not the method returned them. In 0..1.
    Raises InputError if nothing is relevant: the ratio is not defined.
    """
    wanted = relevant_set(relevant)
    gain = sum(discount(place) for place, tool in enumerate(ranked[:k], start=1) if tool in wanted)
    return gain / sum(discount(place) for place in range(1, min(k, len(wanted)) + 1))


def discount(place: int) -> float:
    """What a relevant tool at this place (from 1) is worth."""
    return 1.0 / math.log2(place + 1)
