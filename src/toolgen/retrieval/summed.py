"""Sums of logits: several retrievers multiply their probabilities, so that each can rule out what another takes for likely.

A product of experts (Hinton, "Training products of experts by minimizing contrastive divergence", 2002) without training:
every member's scores, times its weight, are logits. Reciprocal rank fusion (`fusion.py`) sees places alone; here a member that
is sure weighs more than one that hardly prefers anything. Knows scores only.
Shapes: Q requests, N tools.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from toolgen.catalog.catalog import Catalog
from toolgen.errors import UsageError
from toolgen.retrieval.protocol import Ranking, Retriever, described, scores_of_all, top_ranking


class SumRetriever:
    """A tool scores the weighted sum of its scores in `members`. A tool that a member does not rank gets that member's least
    score. Needs members that can rank the whole catalog."""

    def __init__(self, members: Sequence[tuple[Retriever, float]], *, name: str = "") -> None:
        if not members:
            raise UsageError("a sum needs at least one retriever")
        self.members = tuple(members)
        self.name = name or "+".join(member.name for member, _ in self.members)
        self._ids: tuple[str, ...] = ()
        self._positions: dict[str, int] = {}

    @property
    def config(self) -> dict[str, Any]:
        """What a result file records of this retriever."""
        return {
            "form": "sum of logits",
            "members": [{**described(one), "weight": weight} for one, weight in self.members],
        }

    def index(self, catalog: Catalog) -> None:
        """Lets every member index the catalog."""
        self._ids = catalog.ids
        self._positions = {tool_id: position for position, tool_id in enumerate(self._ids)}
        for member, _ in self.members:
            member.index(catalog)

    def search(self, queries: Sequence[str], k: int) -> list[Ranking]:
        """The best k tools for each query by the sum."""
        return [top_ranking(self._ids, scores_N, k) for scores_N in self.score_all(queries)]

    def score_all(self, queries: Sequence[str]) -> npt.NDArray[np.float64]:
        """The sum for every tool; see `Scorer`."""
        total_QN = np.zeros((len(queries), len(self._ids)))
        for member, weight in self.members:
            total_QN += weight * scores_of_all(member, queries, self._positions)
        return total_QN
