"""How sure a mean over queries is: percentile bootstrap.

Efron, "Bootstrap methods: another look at the jackknife" (1979). Knows numbers only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from toolgen.errors import InputError

Floats = npt.NDArray[np.float64]
RESAMPLES = 2000
SEED = 0

# Numbers drawn at once: 4 million indices take 32 MB, whatever the number of queries.
_DRAWS = 4_000_000


@dataclass(frozen=True)
class Interval:
    """A mean over `count` queries and the interval that 95% of resampled means lie in."""

    mean: float
    low: float
    high: float
    count: int

    def to_dict(self) -> dict[str, float | int]:
        return {"mean": self.mean, "low": self.low, "high": self.high, "count": self.count}


@dataclass(frozen=True)
class Difference(Interval):
    """A mean difference over pairs of values of the same queries, with its interval."""

    @property
    def significant(self) -> bool:
        """Whether the 95% interval leaves out zero."""
        return self.low > 0 or self.high < 0


def bootstrap(values: Sequence[float], *, resamples: int = RESAMPLES, seed: int = SEED) -> Interval:
    """The mean of `values` (one a query) with its 95% interval.

    The same values and seed give the same interval. Raises InputError for no values.
    """
    return Interval(*_estimate(values, _mean, resamples, seed), len(values))


def ratio_bootstrap(parts: Sequence[tuple[float, float]]) -> Interval:
    """The ratio of two sums over `parts` (one pair a query), 0 where the second is 0, with its 95% interval over queries."""
    return Interval(*_estimate(parts, _ratio), len(parts))


def paired_bootstrap(first: Sequence[float], second: Sequence[float]) -> Difference:
    """The mean of `first - second` with its 95% interval; position i of both belongs to the same query.

    Pairing takes out how hard the queries are, so it sees differences that two separate intervals hide.
    Raises InputError if the lengths differ or are zero.
    """
    if len(first) != len(second):
        raise InputError(f"paired values must belong to the same queries; got {len(first)} and {len(second)} of them")
    differences = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    return Difference(*_estimate(differences, _mean), len(first))


def _mean(samples: Floats) -> Floats:
    means: Floats = samples.mean(axis=1)
    return means


def _ratio(samples: Floats) -> Floats:
    sums = samples.sum(axis=1)
    ratios: Floats = np.divide(sums[:, 0], sums[:, 1], out=np.zeros(len(sums)), where=sums[:, 1] != 0)
    return ratios


def _estimate(
    values: Sequence[Any] | Floats, statistic: Callable[[Floats], Floats], resamples: int = RESAMPLES, seed: int = SEED
) -> tuple[float, float, float]:
    """A statistic of the values, and the interval that it lies in for 95% of the resamples. `statistic` takes samples, one a
    row, and gives a number for each."""
    numbers = np.asarray(values, dtype=np.float64)
    if not len(numbers):
        raise InputError("an interval needs at least one value; the group has no queries")
    random = np.random.default_rng(seed)
    drawn = []
    for done in range(0, resamples, step := max(1, _DRAWS // len(numbers))):
        rows = min(step, resamples - done)
        drawn.append(statistic(numbers[random.integers(len(numbers), size=(rows, len(numbers)))]))
    low, high = np.percentile(np.concatenate(drawn), [2.5, 97.5])
    return float(statistic(numbers[np.newaxis])[0]), float(low), float(high)
