"""How sure a ranking is: logistic regression on its best scores, fitted once and kept in `toolgen.json`.

    confidence = 1 / (1 + exp(-(w0 + w1 · top + w2 · (top - second) + w3 · declining)))

is the probability that the first tool is a right one; `top` and `second` are the logits of the first two tools, `declining` is
by how many logits the model's no_tool is above the tool that it takes for the best. A request is declined where it is below a
threshold, which follows from the share of answerable requests that may be declined by mistake: split conformal prediction (Vovk
et al., "Algorithmic Learning in a Random World", 2005, section 4.2). Knows numbers only; `retrieval.confidence` fits it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

_MAX_WEIGHT = 1e12  # no fit gives one near it, and with it no sum of logits overflows


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The `weights` of the equation above, and the `confidences` of the answerable requests of the fit, least first."""

    weights: tuple[float, float, float, float]
    confidences: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.confidences or [*self.confidences] != sorted(min(max(one, 0.0), 1.0) for one in self.confidences):
            raise ValueError("confidences should be numbers from 0 to 1, at least one, least first")
        if not all(abs(weight) <= _MAX_WEIGHT for weight in self.weights):
            raise ValueError(f"weights should be numbers of at most {_MAX_WEIGHT:g}")

    def confidence(self, evidence: Sequence[float]) -> float:
        """From `top`, `top - second` and `declining`."""
        constant, *weights = self.weights
        logit = constant + sum(weight * value for weight, value in zip(weights, evidence, strict=True))
        return 1 / (1 + math.exp(-min(max(logit, -500.0), 500.0)))

    def threshold(self, decline_rate: float) -> float:
        """The confidence below which a request is declined. At most `decline_rate` of answerable requests are, on the average,
        if they are like those of the fit."""
        place = math.floor(decline_rate * (len(self.confidences) + 1))
        return self.confidences[min(place, len(self.confidences)) - 1] if place else 0.0

    def to_dict(self) -> dict[str, Any]:
        """The record in `toolgen.json`."""
        return asdict(self)
