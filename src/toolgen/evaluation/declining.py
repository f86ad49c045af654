"""Knowing when not to: how well a ranking tells requests that some tool answers from those that none does.

The ranking's own sign of being sure is taken: its confidence, else that it does not decline, else its first score. Knows
rankings and labels, no method.
Shapes: A answerable requests, U unanswerable ones, Q all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from toolgen.evaluation.metrics import Interval
from toolgen.retrieval.protocol import Ranking

Sign = Literal["confidence", "1 - no_tool", "first score"]
POINTS = 20
"""Of the curve of risk over coverage."""
_Z = 1.959964


@dataclass(frozen=True, kw_only=True)
class Declining:
    """`auc`: the area under the ROC curve, that is how often an answerable request is surer than an unanswerable one, with its
    95% interval (DeLong et al., 1988). `risk_coverage`: where the surest share of all requests is answered and the rest
    declined, the share of the answered whose first tool is wrong; for an unanswerable request every tool is. `declined`: the
    shares of answerable and of unanswerable requests that are declined."""

    sign: Sign
    answerable: int
    unanswerable: int
    auc: Interval
    risk_coverage: tuple[tuple[float, float], ...]
    declined: tuple[float, float]


def judge_declining(
    answerable: Sequence[Ranking], first_is_right: Sequence[bool], unanswerable: Sequence[Ranking]
) -> Declining:
    """How well these rankings know when not to; there must be some of both kinds."""
    sign = _sign([*answerable, *unanswerable])
    sure_A, sure_U = (np.array([_sureness(one, sign) for one in part]) for part in (answerable, unanswerable))
    right_Q = np.array([*first_is_right, *[False] * len(unanswerable)])
    return Declining(
        sign=sign,
        answerable=len(answerable),
        unanswerable=len(unanswerable),
        auc=_area(sure_A, sure_U),
        risk_coverage=_risk_coverage(np.concatenate([sure_A, sure_U]), right_Q),
        declined=(_declined(answerable), _declined(unanswerable)),
    )


def _sign(rankings: Sequence[Ranking]) -> Sign:
    if all(one.confidence is not None for one in rankings):
        return "confidence"
    return "1 - no_tool" if all(one.no_tool is not None for one in rankings) else "first score"


def _sureness(ranking: Ranking, sign: Sign) -> float:
    if sign == "confidence" and ranking.confidence is not None:
        return ranking.confidence
    if sign == "1 - no_tool" and ranking.no_tool is not None:
        return 1 - ranking.no_tool
    return ranking.scores[0] if ranking.scores else -np.inf


def _area(sure_A: npt.NDArray[np.float64], sure_U: npt.NDArray[np.float64]) -> Interval:
    """From the share of the others that each request stands above (below), ties counted half."""
    above_A = (_below(sure_U, sure_A, "left") + _below(sure_U, sure_A, "right")) / (2 * len(sure_U))
    above_U = 1 - (_below(sure_A, sure_U, "left") + _below(sure_A, sure_U, "right")) / (2 * len(sure_A))
    spread = sum(shares.var(ddof=1) / len(shares) for shares in (above_A, above_U) if len(shares) > 1)
    area, half = float(above_A.mean()), _Z * float(np.sqrt(spread))
    return Interval(area, max(area - half, 0.0), min(area + half, 1.0), len(sure_A) + len(sure_U))


def _below(
    sorted_from: npt.NDArray[np.float64], values: npt.NDArray[np.float64], side: Literal["left", "right"]
) -> npt.NDArray[np.int64]:
    """How many of the first are below each of the values (`right`: or equal)."""
    return np.searchsorted(np.sort(sorted_from), values, side=side).astype(np.int64)


def _risk_coverage(sure_Q: npt.NDArray[np.float64], right_Q: npt.NDArray[np.bool_]) -> tuple[tuple[float, float], ...]:
    order = np.argsort(-sure_Q, kind="stable")
    wrong_Q = np.cumsum(~right_Q[order])
    counts = sorted({max(1, round(len(order) * point / POINTS)) for point in range(1, POINTS + 1)})
    return tuple((count / len(order), float(wrong_Q[count - 1] / count)) for count in counts)


def _declined(rankings: Sequence[Ranking]) -> float:
    return sum(one.is_declined for one in rankings) / len(rankings)
