"""Sets of tools that are used together: what a request needs is decided as a set, not tool by tool.

A distribution over tools says for each tool alone how well it fits. Training requests say more: which tools are asked for
together. Every such set, and every tool alone, is scored by how close the distribution is to an equal share of its members
(what the set-target loss trains), and a tool stands where the probability of all sets with it puts it. COLT (arXiv 2405.16089)
learns the same co-use with a graph; here it is arithmetic after one forward pass, for any retriever whose scores are logits.
Shapes: N tools, S candidate sets, F members of all sets, one after another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from toolgen.catalog.catalog import Catalog
from toolgen.errors import UsageError
from toolgen.retrieval.protocol import (
    Ranking,
    Retriever,
    count_of,
    described,
    is_ranked,
    scores_of_all,
    texts_of,
    top_ranking,
)

Vector = npt.NDArray[np.float64]


class ToolSetRetriever:
    """Reorders what `base` finds by the sets of tools in `tool_sets` (ids; those with an unknown tool are left out).

    `scale` turns the base's scores into logits (1 for a language model's, the training scale for cosines). `sharpness` is how
    much the best set counts beside the others, `plain` the share of the tool-by-tool distribution in the result, for requests
    that need tools which were never asked for together. Both were chosen on the development split of ToolLens; without sets of
    several tools the order is the base's.
    """

    unit = "log probability"

    def __init__(
        self,
        base: Retriever,
        tool_sets: Sequence[Sequence[str]],
        *,
        scale: float = 1.0,
        sharpness: float = 3.0,
        plain: float = 0.1,
        name: str = "",
    ) -> None:
        self.name = name or f"{base.name} (sets)"
        self.parts: tuple[Retriever, ...] = (base,)
        self.scale, self.sharpness, self.plain = scale, sharpness, plain
        self._sets = [tuple(dict.fromkeys(one)) for one in tool_sets]
        self._ids: tuple[str, ...] = ()
        self._positions: dict[str, int] = {}
        self._members_F: npt.NDArray[np.int64] | None = None
        self._starts_S: npt.NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._sizes_S: npt.NDArray[np.int64] = np.zeros(0, dtype=np.int64)

    @property
    def config(self) -> dict[str, Any]:
        """What a result file records of this retriever."""
        return {
            "base": described(self.parts[0]),
            "sets": len(self._sizes_S) - len(self._positions),
            "scale": self.scale,
            "sharpness": self.sharpness,
            "plain": self.plain,
        }

    def index(self, catalog: Catalog) -> None:
        """Lets the base index the catalog, and finds the sets' members in it."""
        self.parts[0].index(catalog)
        self._ids = catalog.ids
        self._positions = {tool_id: position for position, tool_id in enumerate(self._ids)}
        known = (one for one in self._sets if len(one) > 1 and all(tool in self._positions for tool in one))
        together = dict.fromkeys(tuple(sorted(self._positions[tool] for tool in one)) for one in known)
        candidates = [*((position,) for position in range(len(catalog))), *together]
        self._sizes_S = np.array([len(one) for one in candidates], dtype=np.int64)
        self._starts_S = np.cumsum(self._sizes_S) - self._sizes_S
        self._members_F = np.array([position for one in candidates for position in one], dtype=np.int64)

    def search(self, queries: Sequence[str], k: int) -> list[Ranking]:
        """The best k tools for each query; a score is the logarithm of a mean probability. None for a query for which the
        base ranks no tool."""
        if self._members_F is None:
            raise UsageError(f"{self.name}: search was called before index(catalog)")
        count, texts = count_of(k), texts_of(queries)
        if not self._ids:
            return [Ranking((), ()) for _ in texts]
        rankings = []
        for scores_N in scores_of_all(self.parts[0], texts, self._positions):
            wanted = count if is_ranked(self.parts[0], scores_N).any() else 0
            rankings.append(top_ranking(self._ids, self._needed(scores_N), wanted))
        return rankings

    def _needed(self, base_N: Vector) -> Vector:
        """Log of the probability that a tool is needed (N), from the base's scores of all tools."""
        assert self._members_F is not None
        tools_N = _log_softmax(self.scale * base_N)
        means_S = np.add.reduceat(tools_N[self._members_F], self._starts_S) / self._sizes_S
        # -KL(equal shares of the set || distribution over tools)
        sets_S = np.exp(_log_softmax(self.sharpness * (means_S + np.log(self._sizes_S))))
        needed_N = np.bincount(self._members_F, weights=np.repeat(sets_S, self._sizes_S), minlength=len(tools_N))
        scores_N: Vector = np.logaddexp(
            _log((1 - self.plain) * needed_N), tools_N + _log(np.array(self.plain))
        )  # the plain part keeps the base's order where no set says anything
        return scores_N


def _log_softmax(logits: Vector) -> Vector:
    shifted: Vector = logits - logits.max()
    result: Vector = shifted - np.log(np.exp(shifted).sum())
    return result


def _log(values: npt.NDArray[np.floating[Any]]) -> Vector:
    with np.errstate(divide="ignore"):
        result: Vector = np.log(values)
    return result
