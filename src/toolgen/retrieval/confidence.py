"""Confidence of rankings: fitting it on requests, and a retriever whose rankings have it.

Requests that no tool answers are rare where a catalog is new. Each answerable request gives one more: the same, with its tools
hidden. Knows rankings, no method.
Shapes: Q rankings, F features with a constant before them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from toolgen.catalog.catalog import Catalog
from toolgen.checkpoint.calibration import Calibration
from toolgen.errors import UsageError
from toolgen.retrieval.protocol import Ranking, Retriever, count_of, described, search_without, unit_of

Request = tuple[str, Sequence[str]]
"""A text and the ids of the tools that answer it, none of them if none does."""
PENALTY = 1.0
_STEPS = 50
_AT_ONCE = 32


class ConfidentRetriever:
    """A retriever whose rankings say how sure they are. With `decline_rate` they also say whether to decline: at most this
    share of answerable requests, if they are like those of the calibration."""

    def __init__(self, retriever: Retriever, calibration: Calibration, decline_rate: float | None = None) -> None:
        self.name, self.unit = retriever.name, unit_of(retriever)
        self.parts: tuple[Retriever, ...] = (retriever,)
        self._calibration, self._decline_rate = calibration, decline_rate

    @property
    def config(self) -> dict[str, Any]:
        """What a result file records of this retriever."""
        return {**described(self.parts[0]), "decline_rate": self._decline_rate}

    def index(self, catalog: Catalog) -> None:
        """Lets the retriever index the catalog."""
        self.parts[0].index(catalog)

    def search(self, queries: Sequence[str], k: int) -> list[Ranking]:
        """The retriever's rankings, with their confidence."""
        count = count_of(k)
        return [self._judged(ranking, count) for ranking in self.parts[0].search(queries, max(count, 2))]

    def search_without(self, queries: Sequence[str], k: int, hidden: Sequence[Collection[str]]) -> list[Ranking]:
        """See `Hiding`."""
        count = count_of(k)
        found = search_without(self.parts[0], queries, max(count, 2), hidden)
        return [self._judged(ranking, count) for ranking in found]

    def _judged(self, ranking: Ranking, count: int) -> Ranking:
        confidence = self._calibration.confidence(evidence(ranking))
        is_unsure = None
        if self._decline_rate is not None:
            is_unsure = not ranking.tools or confidence < self._calibration.threshold(self._decline_rate)
        return replace(ranking.first(count), confidence=confidence, is_unsure=is_unsure)


def evidence(ranking: Ranking) -> tuple[float, float, float]:
    """What a calibration judges by: the logit of the first tool, its distance to the second, and by how many logits declining
    is above the best tool; 0 where the method cannot tell."""
    *logits, no_tool = ranking.logits((*ranking.scores[:2], ranking.no_tool))
    top = logits[0] if logits and logits[0] is not None else 0.0
    second = logits[1] if len(logits) > 1 and logits[1] is not None else top
    if ranking.declining is not None:
        return top, top - second, ranking.declining
    return top, top - second, 0.0 if no_tool is None else no_tool - top


def calibrate(
    retriever: Retriever, requests: Sequence[Request], on_progress: Callable[[int, int], None] | None = None
) -> Calibration:
    """The calibration of an indexed retriever on requests that it was not trained on. UsageError where no tool answers any."""
    if not any(tools for _, tools in requests):
        raise UsageError("a calibration needs requests that some tool answers; take another split or dataset")
    judged: list[tuple[Ranking, bool]] = []
    answerable: list[Ranking] = []
    for start in range(0, len(requests), _AT_ONCE):
        part = requests[start : start + _AT_ONCE]
        asked = [(text, hidden) for text, tools in part for hidden in ((), tools)]
        rankings = search_without(retriever, [text for text, _ in asked], 2, [hidden for _, hidden in asked])
        for ranking, without, (_, tools) in zip(rankings[::2], rankings[1::2], part, strict=True):
            judged.append((ranking, ranking.tools[:1] != () and ranking.tools[0] in tools))
            if tools:
                judged.append((without, False))
                answerable.append(ranking)
        if on_progress:
            on_progress(start + len(part), len(requests))
    features_QF = np.array([(1.0, *evidence(ranking)) for ranking, _ in judged])
    weights_F = _logistic(features_QF, np.array([right for _, right in judged], dtype=np.float64))
    found = Calibration(weights=(weights_F[0], weights_F[1], weights_F[2], weights_F[3]), confidences=(0.0,))
    return replace(found, confidences=tuple(sorted(found.confidence(evidence(one)) for one in answerable)))


def _logistic(features_QF: npt.NDArray[np.float64], right_Q: npt.NDArray[np.float64]) -> list[float]:
    """The weights (F) of a logistic regression by Newton's method; a ridge on standardized features keeps them finite where the
    classes can be told apart without error."""
    mean_F, scale_F = features_QF.mean(0), features_QF.std(0)
    mean_F[0], scale_F[0] = 0.0, 1.0
    used_F = scale_F > 1e-9 * np.abs(mean_F).clip(1.0)
    standard_QF = np.where(used_F, (features_QF - mean_F) / np.where(used_F, scale_F, 1.0), 0.0)
    pull_F = np.full(len(used_F), PENALTY)
    pull_F[0] = 1e-3
    weights_F = np.zeros(len(used_F))
    for _ in range(_STEPS):
        share_Q = 1 / (1 + np.exp(-(standard_QF @ weights_F)))
        slope_F = standard_QF.T @ (share_Q - right_Q) + pull_F * weights_F
        curve_FF = (standard_QF * (share_Q * (1 - share_Q))[:, None]).T @ standard_QF + np.diag(pull_F)
        step_F = np.linalg.solve(curve_FF, slope_F)
        weights_F -= step_F
        if np.abs(step_F).max() < 1e-9:
            break
    plain_F = np.where(used_F, weights_F / np.where(used_F, scale_F, 1.0), 0.0)
    plain_F[0] = weights_F[0] - plain_F[1:] @ mean_F[1:]
    return [float(weight) for weight in plain_F]
