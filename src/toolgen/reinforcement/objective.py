"""What reinforcement minimizes, as functions of log probabilities and rewards. Knows no model, task or tool.

Shapes: P drawn tokens, G rollouts of one task, K pairs of a chosen and a rejected run.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

SMALLEST_SPREAD = 1e-4
"""Added to the standard deviation of a group's rewards."""


def group_advantages(rewards_G: Sequence[float]) -> list[float]:
    """How much better than its group each rollout is, in standard deviations (GRPO, arXiv 2402.03300)."""
    mean, spread = statistics.fmean(rewards_G), statistics.pstdev(rewards_G)
    return [(reward - mean) / (spread + SMALLEST_SPREAD) for reward in rewards_G]


def best_of_group(rewards_G: Sequence[float]) -> list[float]:
    """1 for the first of the best rollouts, 0 for the others: rejection sampling."""
    best = max(range(len(rewards_G)), key=lambda place: rewards_G[place])
    return [float(place == best) for place in range(len(rewards_G))]


@dataclass(frozen=True, kw_only=True)
class Clip:
    """How far a probability may fall and rise against that of the draw before its gradient ends (DAPO, arXiv 2503.14476)."""

    below: float
    above: float


class Surrogate(Protocol):
    """The loss of each drawn token (P), from its log probability now and at the draw and its rollout's advantage."""

    def __call__(self, log_P: Tensor, drawn_P: Tensor, advantages_P: Tensor, clip: Clip, /) -> Tensor: ...


def clipped_surrogate(log_P: Tensor, drawn_P: Tensor, advantages_P: Tensor, clip: Clip, /) -> Tensor:
    """`-min(r A, clip(r) A)` with the ratio `r` of the probability now to that at the draw (PPO, arXiv 1707.06347)."""
    ratio_P = (log_P - drawn_P).exp()
    bounded_P = ratio_P.clamp(1 - clip.below, 1 + clip.above)
    return -torch.minimum(ratio_P * advantages_P, bounded_P * advantages_P)


def likelihood(log_P: Tensor, drawn_P: Tensor, advantages_P: Tensor, clip: Clip, /) -> Tensor:
    """`-A log p`: the cross-entropy of what is kept."""
    del drawn_P, clip
    return -advantages_P * log_P


def divergence(log_P: Tensor, reference_P: Tensor) -> Tensor:
    """An estimate of KL(now || reference) at each drawn token that is never below zero: `e^d - d - 1` with the difference `d`
    of the log probabilities (http://joschu.net/blog/kl-approx.html)."""
    difference_P = reference_P - log_P
    return difference_P.exp() - difference_P - 1


class Weigh(Protocol):
    """The advantage of each rollout of a group (G), from their rewards."""

    def __call__(self, rewards_G: Sequence[float], /) -> list[float]: ...


@dataclass(frozen=True)
class Method:
    """How a group's rewards weigh its rollouts, and the loss of a drawn token."""

    weigh: Weigh
    surrogate: Surrogate


METHODS: Mapping[str, Method] = {
    "grpo": Method(group_advantages, clipped_surrogate),
    "rejection": Method(best_of_group, likelihood),
}
"""All methods by name."""


def is_telling(shares_G: Sequence[float], low: float, high: float) -> bool:
    """Whether a group teaches something: not all of it is right, nor all wrong, by the mean of what it earned of the most that
    can be earned; nor all the same."""
    return low <= statistics.fmean(shares_G) <= high and not math.isclose(min(shares_G), max(shares_G), abs_tol=1e-9)


def preference_loss(gained_K2: Tensor, beta: float) -> Tensor:
    """`-log sigmoid(beta (chosen - rejected))` of what the log probabilities of both runs have gained on the reference (DPO,
    arXiv 2305.18290)."""
    return -logsigmoid(beta * (gained_K2[:, 0] - gained_K2[:, 1]))


def chosen_loss(log_K: Tensor, choices_K: Tensor) -> Tensor:
    """The mean cross-entropy of the choices of each chosen run, from the log probability of all of them together."""
    return -log_K / choices_K
