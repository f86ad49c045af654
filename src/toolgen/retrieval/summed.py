"""Sums of logits: several retrievers multiply their probabilities, so that each can rule out what another takes for likely.

A product of experts (Hinton, "Training products of experts by minimizing contrastive divergence", 2002) without training:
every member's scores, times its weight, are logits, so a member that is sure weighs more than one that hardly prefers anything.
A model that was trained on requests prefers the tools that they ask for, also where another one is right; a constant on the
logits of the others makes up for it: calibrated stacking (Chao et al., arXiv 1605.04253). Knows scores only.
Shapes: Q requests, N tools.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from toolgen.catalog.catalog import Catalog
from toolgen.errors import UsageError
from toolgen.retrieval.protocol import (
    Declines,
    Ranking,
    Retriever,
    count_of,
    described,
    is_ranked,
    scores_of_all,
    texts_of,
    top_ranking,
)

SCORES_AT_ONCE = 2**24
"""Of all queries and tools together; bounds the memory of a search."""


class _Summed(NamedTuple):
    """The sum for every tool, whether it is not hidden and some member ranks it, and by how many logits declining is above the
    best tool left for the member that can tell, NaN where none can."""

    scores_QN: npt.NDArray[np.float64]
    ranked_QN: npt.NDArray[np.bool_]
    declining_Q: npt.NDArray[np.float64]


class SumRetriever:
    """A tool scores the weighted sum of its scores in `members`, and `unasked_bonus` more if its id is not in `asked_tools`.
    A tool that a member does not rank gets that member's least score; one that no member ranks is left out.

    UsageError for a bonus where no tool was asked for: then nothing was trained on, or it is not known.
    """

    unit = "sum of logits"

    def __init__(
        self,
        members: Sequence[tuple[Retriever, float]],
        *,
        unasked_bonus: float = 0.0,
        asked_tools: Collection[str] = (),
        name: str = "",
    ) -> None:
        if not members:
            raise UsageError("a sum needs at least one retriever")
        if unasked_bonus and not asked_tools:
            raise UsageError(
                "a bonus for unasked tools needs to know which tools training requests ask for; give a dataset with such "
                "requests, or a checkpoint after its retrieval stage"
            )
        self.parts = tuple(retriever for retriever, _ in members)
        self.weights = tuple(weight for _, weight in members)
        self.unasked_bonus, self._asked = unasked_bonus, frozenset(asked_tools)
        self.name = name or "+".join(part.name for part in self.parts)
        self._ids: tuple[str, ...] = ()
        self._positions: dict[str, int] = {}
        self._bonus_N = np.zeros(0)

    @property
    def config(self) -> dict[str, Any]:
        """What a result file records of this retriever."""
        return {
            "form": "sum of logits",
            "members": [
                {**described(part), "weight": weight} for part, weight in zip(self.parts, self.weights, strict=True)
            ],
            **({"unasked_bonus": self.unasked_bonus} if self.unasked_bonus else {}),
        }

    def index(self, catalog: Catalog) -> None:
        """Lets every member index the catalog."""
        self._ids = catalog.ids
        self._positions = {tool_id: position for position, tool_id in enumerate(self._ids)}
        unasked_N = np.array([tool_id not in self._asked for tool_id in self._ids], dtype=np.float64)
        self._bonus_N = self.unasked_bonus * unasked_N
        for part in self.parts:
            part.index(catalog)

    def search(self, queries: Sequence[str], k: int) -> list[Ranking]:
        """The best k tools for each query by the sum."""
        texts = texts_of(queries)
        return self.search_without(texts, k, [()] * len(texts))

    def search_without(self, queries: Sequence[str], k: int, hidden: Sequence[Collection[str]]) -> list[Ranking]:
        """See `Hiding`. Shares are those of the best tool left; how rare a word is, BM25 still counts in the whole catalog."""
        count, texts, rankings = count_of(k), texts_of(queries), []
        at_once = max(1, SCORES_AT_ONCE // max(1, len(self._ids)))
        for start in range(0, len(texts), at_once):
            part = slice(start, start + at_once)
            summed = self._summed(texts[part], self._places(hidden[part]))
            summed.scores_QN[~summed.ranked_QN] = -np.inf
            for scores_N, ranked_N, declining in zip(*summed, strict=True):
                ranking = top_ranking(self._ids, scores_N, min(count, int(ranked_N.sum())))
                rankings.append(ranking if np.isnan(declining) else replace(ranking, declining=float(declining)))
        return rankings

    def score_all(self, queries: Sequence[str]) -> npt.NDArray[np.float64]:
        """The sum for every tool; see `Scorer`."""
        texts = texts_of(queries)
        return self._summed(texts, self._places([()] * len(texts))).scores_QN

    def scores_among(self, query: str, tools: Collection[str] | None) -> npt.NDArray[np.float64]:
        """The sum for every tool (N), where shares are those of the best of `tools`; None: of all."""
        hidden_QN = self._places([()]) if tools is None else ~self._places([tools])
        scores_N: npt.NDArray[np.float64] = self._summed(texts_of([query]), hidden_QN).scores_QN[0]
        return scores_N

    def _summed(self, texts: Sequence[str], hidden_QN: npt.NDArray[np.bool_]) -> _Summed:
        total_QN = np.tile(self._bonus_N, (len(texts), 1))
        ranked_QN = np.zeros(total_QN.shape, dtype=np.bool_)
        declining_Q = np.full(len(texts), np.nan)
        distinct = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        rows_Q = [distinct[text] for text in texts]
        for part, weight in zip(self.parts, self.weights, strict=True):
            if isinstance(part, Declines):
                every = part.score_all_and_no_tool([*distinct])
                scores_QN, no_tool_Q = (one.astype(np.float64)[rows_Q] for one in every)
                best_Q = scores_QN.max(1, where=~hidden_QN, initial=-np.inf)
                declining_Q = np.where(best_Q > -np.inf, weight * (no_tool_Q - best_Q), np.nan)
            else:
                scores_QN = scores_of_all(part, [*distinct], self._positions)[rows_Q]
            if getattr(part, "relative", False):
                best_Q1 = scores_QN.max(1, keepdims=True, where=~hidden_QN, initial=0.0)
                scores_QN /= np.where(best_Q1 > 0, best_Q1, 1.0)
            total_QN += weight * scores_QN
            ranked_QN |= is_ranked(part, scores_QN)
        return _Summed(total_QN, ranked_QN & ~hidden_QN, declining_Q)

    def _places(self, tools: Sequence[Collection[str]]) -> npt.NDArray[np.bool_]:
        """Which tools are those of each query (Q, N)."""
        are_QN = np.zeros((len(tools), len(self._ids)), dtype=np.bool_)
        for are_N, some in zip(are_QN, tools, strict=True):
            are_N[[self._positions[tool] for tool in some if tool in self._positions]] = True
        return are_QN
