"""Choosing one of several scores: the best one, or a draw with temperature and nucleus. Knows only a row of logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from toolgen.errors import UsageError

if TYPE_CHECKING:
    import torch


GREEDY_BELOW = 1e-30
"""A temperature at which all but the best entry have no probability; logits divided by less would overflow."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How a token is drawn. `temperature` 0 is greedy; `top_p` keeps the smallest set of that much probability, `top_k` so many
    tokens (0: all)."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.temperature < 0 or not 0 < self.top_p <= 1 or self.top_k < 0:
            raise UsageError(
                f"sampling needs temperature >= 0, 0 < top_p <= 1 and top_k >= 0; got {self.temperature}, {self.top_p} and "
                f"{self.top_k}"
            )


def pick(logits_V: torch.Tensor, sampling: Sampling, generator: torch.Generator | None = None) -> int:
    """Index of the chosen entry of a row of logits [V]; entries of -inf are never chosen."""
    import torch

    if sampling.temperature < GREEDY_BELOW:
        return int(logits_V.argmax())
    probabilities_V = torch.softmax(logits_V.float() / sampling.temperature, dim=-1)
    if sampling.top_p == 1 and not sampling.top_k:  # nothing is cut off, and to sort a vocabulary takes longest of all
        return int(torch.multinomial(probabilities_V, 1, generator=generator))
    ordered_V, indices_V = probabilities_V.sort(descending=True)
    # The first entry always stays: what counts is the probability before it.
    ordered_V[ordered_V.cumsum(0) - ordered_V >= sampling.top_p] = 0
    if sampling.top_k:
        ordered_V[sampling.top_k :] = 0
    return int(indices_V[torch.multinomial(ordered_V, 1, generator=generator)])
