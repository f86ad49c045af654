"""A member of sums that is for every tool which no training request asks for, whatever the request.

A model that was trained on requests prefers the tools that they ask for, also where another one is right. A constant on the
logits of the others makes up for it: calibrated stacking (Chao et al., "An empirical study and analysis of generalized
zero-shot learning for object recognition in the wild", arXiv 1605.04253). Knows which tools were asked for, no request.
Shapes: Q requests, N tools.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt

from toolgen.catalog.catalog import Catalog
from toolgen.errors import UsageError
from toolgen.retrieval.protocol import Ranking, top_ranking


class UnaskedRetriever:
    """Scores 1 for a tool that is not in `asked` (ids), 0 for the others; of use in sums alone. UsageError where none was asked
    for: then nothing was trained on, or it is not known."""

    name = "unasked"

    def __init__(self, asked: Collection[str]) -> None:
        if not asked:
            raise UsageError(
                "unasked needs to know which tools training requests ask for; give a dataset with such requests, or a "
                "checkpoint after its retrieval stage"
            )
        self._asked = frozenset(asked)
        self._ids: tuple[str, ...] = ()
        self._unasked_N = np.zeros(0)

    def index(self, catalog: Catalog) -> None:
        """Takes the catalog's order of tools."""
        self._ids = catalog.ids
        self._unasked_N = np.array([tool not in self._asked for tool in self._ids], dtype=np.float64)

    def search(self, queries: Sequence[str], k: int) -> list[Ranking]:
        """The same for each query: tools nobody asked for, then the others."""
        return [top_ranking(self._ids, scores_N, k) for scores_N in self.score_all(queries)]

    def score_all(self, queries: Sequence[str]) -> npt.NDArray[np.float64]:
        """1 and 0 (Q, N); see `Scorer`."""
        return np.broadcast_to(self._unasked_N, (len(queries), len(self._ids)))
