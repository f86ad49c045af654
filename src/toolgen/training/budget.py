"""How many tokens of examples go through the model at once, found during training.

A step's gradient is the sum over its micro-batches, so their size changes only speed, memory and the last digits (and, in a
model with dropout, what is dropped). The first steps, each with another candidate, are therefore the probe, and it costs no
pass of its own.
"""

from __future__ import annotations

import statistics
from typing import Literal

CHUNK_LOGITS = 1 << 24
"""Logits in memory at a time (64 MiB). A smaller chunk reads the rows more often: at 175,000 rows this one has 96 positions,
and the product still costs more than the reading."""
CANDIDATES = (512, 1024, 2048, 4096)
"""Tokens a micro-batch, smallest first."""
TURNS = 3
"""Steps of each candidate, after one that warms up."""
ENOUGH = 0.95
"""The smallest candidate that reaches this share of the best rate is taken: it needs less memory, and rates of single steps
vary by as much."""


class TokenBudget:
    """`tokens` is the largest micro-batch of the coming step: the setting, or, with "auto", each candidate in turn and then the
    one that was fastest."""

    def __init__(self, setting: int | Literal["auto"]) -> None:
        self._turns = [*CANDIDATES[:1], *TURNS * CANDIDATES] if setting == "auto" else []
        self._rates: dict[int, list[float]] = {}
        self.tokens = self._turns[0] if setting == "auto" else setting

    def took(self, tokens: int, seconds: float) -> None:
        """Tells how long the passes of a step of so many tokens took."""
        if not self._turns:
            return
        self._rates.setdefault(self._turns.pop(0), []).append(tokens / seconds)
        self.tokens = self._turns[0] if self._turns else self._fastest()

    def _fastest(self) -> int:
        rate = {tokens: statistics.mean(rates[-TURNS:]) for tokens, rates in self._rates.items()}
        return next(tokens for tokens in CANDIDATES if rate[tokens] >= ENOUGH * max(rate.values()))
