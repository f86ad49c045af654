"""Intervals: repeatable, right on average, and paired where they should be."""

from __future__ import annotations

import numpy as np
import pytest

from toolgen.errors import InputError
from toolgen.evaluation.metrics import bootstrap, paired_bootstrap


def test_the_same_values_give_the_same_interval() -> None:
    values = np.random.default_rng(3).random(200).tolist()
    assert bootstrap(values) == bootstrap(values)
    assert bootstrap(values, seed=1) != bootstrap(values, seed=2)


def test_equal_values_leave_no_doubt() -> None:
    interval = bootstrap([0.25] * 50)
    assert (interval.mean, interval.low, interval.high, interval.count) == (0.25, 0.25, 0.25, 50)


def test_the_interval_is_that_of_the_normal_approximation_for_many_values() -> None:
    values = np.random.default_rng(0).random(2000)
    interval = bootstrap(values.tolist())
    error = 1.96 * values.std() / np.sqrt(len(values))
    assert interval.low == pytest.approx(values.mean() - error, abs=error / 10)
    assert interval.high == pytest.approx(values.mean() + error, abs=error / 10)


def test_the_interval_covers_the_truth_about_19_times_in_20() -> None:
    random = np.random.default_rng(7)
    intervals = [bootstrap((random.random(80) < 0.7).astype(float).tolist(), resamples=500) for _ in range(200)]
    covered = sum(interval.low <= 0.7 <= interval.high for interval in intervals)
    assert 180 <= covered <= 198


def test_many_values_are_resampled_in_pieces() -> None:
    interval = bootstrap(np.tile([0.0, 1.0], 50_000).tolist(), resamples=100)
    assert interval.low < 0.5 < interval.high
    assert interval.high - interval.low < 0.01


def test_pairing_sees_a_difference_that_separate_intervals_hide() -> None:
    random = np.random.default_rng(1)
    hard = random.random(100)
    first, second = hard + 0.02, hard + random.normal(0, 0.01, 100)
    difference = paired_bootstrap(first.tolist(), second.tolist())
    assert difference.mean == pytest.approx(0.02, abs=0.005)
    assert difference.significant
    assert bootstrap(first.tolist()).low < bootstrap(second.tolist()).high


def test_no_difference_is_not_significant() -> None:
    values = [0.0, 1.0, 1.0, 0.0]
    assert not paired_bootstrap(values, values).significant


def test_values_that_cannot_be_paired_or_resampled_are_refused() -> None:
    with pytest.raises(InputError, match="same queries"):
        paired_bootstrap([1.0], [1.0, 0.0])
    with pytest.raises(InputError, match="at least one value"):
        bootstrap([])
