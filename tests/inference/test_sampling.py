"""Choosing a token, at the edges of what a temperature may be."""

from __future__ import annotations

import pytest
import torch

from toolgen.inference.sampling import GREEDY_BELOW, Sampling, pick

LOGITS = torch.tensor([1.0, 80.0, float("-inf"), 79.0])


@pytest.mark.parametrize("temperature", [0.0, 5e-324, 1e-300, GREEDY_BELOW / 2, GREEDY_BELOW])
def test_a_temperature_near_zero_takes_the_likeliest(temperature: float) -> None:
    generator = torch.Generator().manual_seed(0)
    assert {pick(LOGITS, Sampling(temperature=temperature), generator) for _ in range(20)} == {1}
