"""Reciprocal rank fusion: several retrievers vote with the places they give, not with their scores.

Knows rankings only. Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion outperforms Condorcet and individual rank
learning methods" (SIGIR 2009).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from toolgen.catalog.catalog import Catalog
from toolgen.errors import UsageError
from toolgen.retrieval.protocol import Ranking, Retriever


class FusionRetriever:
    """A tool scores the sum of 1 / (constant + place) over the retrievers that list it, places counted from 1.

    `constant` 60 is the paper's. Each member is asked for `depth` tools however few are wanted, so that the order of
    the first five does not depend on k; a tool beyond the depth of a member gets nothing from it.
    """

    def __init__(self, members: Sequence[Retriever], *, constant: int = 60, depth: int = 100, name: str = "") -> None:
        if len(members) < 2:
            raise UsageError(f"fusion needs at least two retrievers; got {len(members)}")
        self.members, self.constant, self.depth = tuple(members), constant, depth
        self.name = name or "+".join(member.name for member in self.members)
        self._positions: dict[str, int] = {}

    @property
    def config(self) -> dict[str, Any]:
        """What a result file records of this retriever."""
        members = {member.name: getattr(member, "config", {}) for member in self.members}
        return {"form": "reciprocal rank", "constant": self.constant, "depth": self.depth, "members": members}

    def index(self, catalog: Catalog) -> None:
        """Lets every member index the catalog."""
        self._positions = {tool_id: position for position, tool_id in enumerate(catalog.ids)}
        for member in self.members:
            member.index(catalog)

    def search(self, queries: Sequence[str], k: int) -> list[Ranking]:
        """The best k tools for each query by fused score."""
        lists = [member.search(queries, max(k, self.depth)) for member in self.members]
        return [self._fuse(rankings, k) for rankings in zip(*lists, strict=True)]

    def _fuse(self, rankings: Sequence[Ranking], k: int) -> Ranking:
        scores: dict[str, float] = {}
        for ranking in rankings:
            for place, tool in enumerate(ranking.tools[: max(k, self.depth)], start=1):
                scores[tool] = scores.get(tool, 0.0) + 1.0 / (self.constant + place)
        best = sorted(scores, key=lambda tool: (-scores[tool], self._positions[tool]))[:k]
        return Ranking(tuple(best), tuple(scores[tool] for tool in best))
