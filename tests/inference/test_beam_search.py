"""Beam search against brute force: every sequence scored alone by the whole model, without cache, mask or batch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from toolgen.inference.beam_search import Found
from toolgen.inference.beam_search import beam_search as search
from toolgen.inference.heads import Head
from toolgen.inference.passes import Runner
from toolgen.inference.trie import ROOT, Trie
from toolgen.testing import ARCHITECTURES, Architecture, tiny_model

SEQUENCES = [(5, 6), (5, 7, 8), (5, 7, 9), (10, 11, 12, 13), (10, 11, 12, 14), (10, 15), (16,), (17, 18, 19, 20)]
PROMPTS = [[1, 2, 3], [4], [30, 31, 32, 33, 34, 35, 36]]


def beam_search(
    model: PreTrainedModel, trie: Trie, prompts: Sequence[Sequence[int]], width: int, *, pass_tokens: int = 1024
) -> list[Found]:
    return search(Runner(model), Head.of(model), trie, prompts, width, pass_tokens=pass_tokens)


def brute_force(
    model: PreTrainedModel, sequences: Sequence[tuple[int, ...]], prompt: list[int]
) -> list[tuple[int, float]]:
    """(place, score) of all sequences, best first: probabilities among what is allowed, one forward pass a token."""
    scored = []
    for place, sequence in enumerate(sequences):
        score = 0.0
        for i, token in enumerate(sequence):
            allowed = sorted({other[i] for other in sequences if other[:i] == sequence[:i] and len(other) > i})
            with torch.inference_mode():
                logits = model(input_ids=torch.tensor([[*prompt, *sequence[:i]]])).logits[0, -1].double()
            score += float(logits[token] - logits[allowed].logsumexp(0))
        scored.append((place, score))
    return sorted(scored, key=lambda pair: -pair[1])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("pass_tokens", [1, 5, 1024])
def test_a_beam_as_wide_as_the_catalog_is_exact(architecture: Architecture, pass_tokens: int) -> None:
    model = tiny_model(architecture, tied=architecture == "llama", rows=64)
    found = beam_search(model, Trie.build(SEQUENCES), PROMPTS, len(SEQUENCES), pass_tokens=pass_tokens)
    for prompt, one in zip(PROMPTS, found, strict=True):
        expected = brute_force(model, SEQUENCES, prompt)
        assert one.rows.tolist() == [place for place, _ in expected]
        assert one.scores.tolist() == pytest.approx([score for _, score in expected], abs=1e-4)
        assert np.exp(one.scores).sum() == pytest.approx(1, abs=1e-6)


def test_a_bias_of_the_output_matrix_counts() -> None:
    model = tiny_model(tied=False, rows=64)
    head = model.get_output_embeddings()
    head.bias = torch.nn.Parameter(torch.randn(64, generator=torch.Generator().manual_seed(1)))
    (found,) = beam_search(model, Trie.build(SEQUENCES), PROMPTS[:1], 8)
    assert found.rows.tolist() == [place for place, _ in brute_force(model, SEQUENCES, PROMPTS[0])]


def test_a_beam_of_one_is_the_greedy_walk() -> None:
    model, trie = tiny_model(rows=64), Trie.build(SEQUENCES)
    for prompt in PROMPTS:
        node, ids, score = ROOT, list(prompt), 0.0
        while trie.rows_M[node] < 0:
            allowed = trie.tokens_M[trie.children(node)]
            with torch.inference_mode():
                logits = model(input_ids=torch.tensor([ids])).logits[0, -1][allowed].double()
            best = int(logits.argmax())
            score += float(logits.log_softmax(0)[best])
            ids.append(int(allowed[best]))
            node = trie.children(node).start + best
        (found,) = beam_search(model, trie, [prompt], 1)
        assert found.rows.tolist() == [trie.rows_M[node]]
        assert found.scores[0] == pytest.approx(score, abs=1e-4)


def test_a_narrow_beam_finds_a_part_of_what_a_wide_one_finds_with_the_same_scores() -> None:
    model, trie = tiny_model(rows=64), Trie.build(SEQUENCES)
    for width in range(1, 8):
        for narrow, wide in zip(
            beam_search(model, trie, PROMPTS, width), beam_search(model, trie, PROMPTS, 8), strict=True
        ):
            assert len(narrow.rows) == width
            scores = dict(zip(wide.rows.tolist(), wide.scores.tolist(), strict=True))
            assert narrow.scores.tolist() == pytest.approx([scores[row] for row in narrow.rows.tolist()], abs=1e-5)
            assert narrow.scores.tolist() == sorted(narrow.scores.tolist(), reverse=True)


def test_forced_tokens_cost_nothing() -> None:
    """The same choices with and without tokens that leave none."""
    model = tiny_model(rows=64)
    short, long = Trie.build([(5,), (6,)]), Trie.build([(5, 1, 2, 3, 4), (6, 1)])
    for one, other in zip(beam_search(model, short, PROMPTS, 2), beam_search(model, long, PROMPTS, 2), strict=True):
        assert one.rows.tolist() == other.rows.tolist()
        assert one.scores.tolist() == pytest.approx(other.scores.tolist(), abs=1e-5)


def test_a_single_sequence_is_certain_and_needs_no_model() -> None:
    (found,) = beam_search(tiny_model(rows=64), Trie.build([(5, 6)]), [[1]], 4)
    assert (found.rows.tolist(), found.scores.tolist()) == ([0], [0.0])


def test_many_random_sequences_equal_brute_force() -> None:
    generator = np.random.default_rng(7)
    sequences = sorted({(int(a), int(b), int(c)) for a, b, c in generator.integers(40, 46, size=(40, 3))})
    model, prompt = tiny_model(rows=64), [3, 1, 4]
    (found,) = beam_search(model, Trie.build(sequences), [prompt], len(sequences), pass_tokens=7)
    expected = brute_force(model, sequences, prompt)
    assert found.rows.tolist() == [place for place, _ in expected]
    assert math.fsum(np.exp(found.scores)) == pytest.approx(1, abs=1e-6)
