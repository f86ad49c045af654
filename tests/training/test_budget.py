"""Tokens a micro-batch: a number stays; "auto" tries the candidates while it trains and keeps the fastest small one."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from toolgen.testing import tiny_checkpoint
from toolgen.training.budget import CANDIDATES, TURNS, TokenBudget

from .conftest import Runner

TRIES = 1 + TURNS * len(CANDIDATES)


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ({512: 100, 1024: 120, 2048: 150, 4096: 140}, 2048),
        ({512: 200, 1024: 120, 2048: 150, 4096: 140}, 512),
        ({512: 100, 1024: 148, 2048: 150, 4096: 151}, 1024),  # within a twentieth of the best, and the smallest such
    ],
)
def test_the_smallest_of_the_fastest_candidates_stays(rates: Mapping[int, float], expected: int) -> None:
    budget = TokenBudget("auto")
    tried = []
    for step in range(TRIES):
        tried.append(budget.tokens)
        slow_start = 100 if step == 0 else 1
        budget.took(1000, slow_start * 1000 / rates[budget.tokens])
    assert sorted(tried[1:]) == sorted(TURNS * CANDIDATES)
    for _ in range(3):
        assert budget.tokens == expected
        budget.took(1000, 1e9)


def test_a_number_stays_whatever_it_takes() -> None:
    budget = TokenBudget(100)
    for seconds in (1.0, 1e9, 1e-9):
        budget.took(1000, seconds)
        assert budget.tokens == 100


def test_a_run_that_tries_has_the_curve_of_one_that_does_not(run: Runner) -> None:
    steps = TRIES + 3
    auto = run("agent", tiny_checkpoint(), "auto", steps=steps, batch_size=4, micro_batch_tokens="auto").metrics
    fixed = run("agent", tiny_checkpoint(), "fixed", steps=steps, batch_size=4, micro_batch_tokens=1024).metrics
    assert [record["micro_batch_tokens"] for record in auto[1:TRIES]] == [*TURNS * CANDIDATES]
    assert len({record["micro_batch_tokens"] for record in auto[TRIES:]}) == 1
    assert {record["micro_batch_tokens"] for record in fixed} == {1024}
    for one, other in zip(auto, fixed, strict=True):
        for key in ("loss", "gradient_norm", "tokens"):
            assert one[key] == pytest.approx(other[key], rel=1e-3)
