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


@pytest.mark.parametrize("sampling", [Sampling(temperature=2.0), Sampling(temperature=2.0, top_k=4)])
def test_entries_are_drawn_by_their_probabilities_whether_or_not_they_are_sorted_first(sampling: Sampling) -> None:
    logits, generator = torch.tensor([1.0, 3.0, float("-inf"), 2.0]), torch.Generator().manual_seed(0)
    counts = torch.bincount(torch.tensor([pick(logits, sampling, generator) for _ in range(4000)]), minlength=4)
    torch.testing.assert_close(counts / 4000, (logits / 2).softmax(0), rtol=0, atol=0.03)
