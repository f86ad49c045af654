"""The objective against its formulas, computed by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Categorical, kl_divergence

from toolgen.reinforcement.objective import (
    METHODS,
    Clip,
    best_of_group,
    clipped_surrogate,
    divergence,
    group_advantages,
    is_telling,
    likelihood,
)

CLIP = Clip(below=0.2, above=0.3)


def test_advantages_are_standard_scores_within_the_group() -> None:
    found = group_advantages([0.0, 1.0, 2.0, 5.0])
    assert sum(found) == pytest.approx(0)
    assert sum(each**2 for each in found) / 4 == pytest.approx(1, rel=1e-3)
    assert group_advantages([3.0, 3.0]) == [0, 0]


def test_rejection_keeps_the_first_of_the_best() -> None:
    assert best_of_group([0.0, 2.0, 1.0, 2.0]) == [0, 1, 0, 0]


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "slope"),
    [
        (1.0, 2.0, -2.0, -2.0),
        (1.2, 2.0, -2.4, -2.4),
        (1.5, 2.0, -2.6, 0.0),  # risen enough
        (0.5, 2.0, -1.0, -1.0),  # fallen although it is good: nothing holds it there
        (0.5, -2.0, 1.6, 0.0),  # fallen enough
        (1.5, -2.0, 3.0, 3.0),  # risen although it is bad
    ],
)
def test_the_surrogate_is_clipped_only_where_the_change_has_gone_far_enough(
    ratio: float, advantage: float, loss: float, slope: float
) -> None:
    log_P = torch.tensor([math.log(ratio)], requires_grad=True)
    (found,) = clipped_surrogate(log_P, torch.zeros(1), torch.tensor([advantage]), CLIP)
    (gradient,) = torch.autograd.grad(found, log_P)
    assert (float(found.detach()), float(gradient)) == pytest.approx((loss, slope))


def test_before_the_first_update_grpo_has_the_gradient_of_reinforce() -> None:
    advantages_P = torch.tensor([1.5, -0.5, 0.0])
    gradients: list[torch.Tensor] = []
    for surrogate in (clipped_surrogate, likelihood):
        log_P = torch.tensor([-0.1, -2.0, -3.0], requires_grad=True)
        gradients += torch.autograd.grad(surrogate(log_P, log_P.detach(), advantages_P, CLIP).sum(), log_P)
    torch.testing.assert_close(*gradients)


def test_the_divergence_is_that_of_kullback_and_leibler_on_the_average() -> None:
    generator = torch.Generator().manual_seed(0)
    now, reference = (torch.randn(6, generator=generator).log_softmax(0) for _ in range(2))
    drawn = torch.multinomial(now.exp(), 200_000, replacement=True, generator=generator)
    found = divergence(now[drawn], reference[drawn])
    assert (found >= 0).all()
    assert float(found.mean()) == pytest.approx(
        float(kl_divergence(Categorical(logits=now), Categorical(logits=reference))), rel=0.02
    )


@pytest.mark.parametrize(
    ("shares", "telling"),
    [
        ([0.0, 0.0, 0.0, 0.0], False),
        ([1.0, 1.0, 1.0, 1.0], False),
        ([0.5, 0.5, 0.5, 0.5], False),
        ([0.0, 0.0, 0.0, 0.02], False),
        ([0.0, 0.0, 0.0, 0.1], True),
        ([1.0, 1.0, 1.0, 0.9], True),
    ],
)
def test_a_group_of_which_all_or_nothing_is_right_tells_nothing(shares: list[float], telling: bool) -> None:
    assert is_telling(shares, 0.01, 0.99) == telling


def test_every_method_weighs_a_group_of_any_size() -> None:
    for method in METHODS.values():
        assert len(method.weigh([0.0, 1.0])) == 2
