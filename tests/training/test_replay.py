"""Replay: a stage leaves what the model writes as plain text as it was, and learns that no tool stands there."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

from toolgen.checkpoint import Checkpoint
from toolgen.datasets import Dataset
from toolgen.testing import tiny_checkpoint
from toolgen.training.collate import collate
from toolgen.training.examples import TrainingExample
from toolgen.training.model import TrainableModel
from toolgen.training.replay import KEPT, WINDOW, replay, replayed

from .conftest import Runner, tiny_config


def texts_of(checkpoint: Checkpoint, dataset: Dataset, **settings: Any) -> list[TrainingExample]:
    settings = {"steps": 40, "batch_size": 16, "shares": {"replay": 1.0}, "max_tokens": 160, **settings}
    return list(replay(checkpoint, dataset, tiny_config("retrieval", **settings)))


@torch.no_grad()
def log_probabilities(checkpoint: Checkpoint, example: TrainingExample) -> torch.Tensor:
    """Of what follows each supervised place, over all tokens."""
    logits = checkpoint.model(input_ids=torch.tensor([example.ids])).logits[0]
    return torch.as_tensor(logits[list(example.text)].float().log_softmax(-1))


def test_the_targets_are_what_the_model_writes_now(dataset: Dataset) -> None:
    checkpoint = tiny_checkpoint()
    examples = texts_of(checkpoint, dataset)
    assert len(examples) > 50
    words = checkpoint.vocabulary.new_token_ids.start
    for example in examples[:: len(examples) // 12]:
        assert len(example.ids) <= WINDOW and not example.choices
        expected = log_probabilities(checkpoint, example)[:, :words].softmax(-1)
        for place, (tokens, weights), probabilities in zip(example.text, example.text_targets, expected, strict=True):
            likeliest = probabilities.topk(min(KEPT, words)).indices.tolist()
            assert set(likeliest) <= set(tokens)
            following = example.ids[place + 1]
            assert following in tokens
            for token, weight in zip(tokens, weights, strict=True):
                assert weight == pytest.approx(1.0 if token not in likeliest else float(probabilities[token]), abs=1e-3)


def test_what_the_kept_words_lack_goes_to_the_token_that_follows() -> None:
    logits = torch.linspace(3, 0, 2 * KEPT)[None]
    ((tokens, weights),) = replayed([5, KEPT + 7], logits).text_targets
    assert tokens == (*range(KEPT), KEPT + 7) and weights[-1] == 1
    assert sum(weights[:-1]) == pytest.approx(float(logits[0].softmax(0)[:KEPT].sum()))
    ((tokens, weights),) = replayed([5, 7], logits).text_targets
    assert tokens == (*range(KEPT),)


def test_its_loss_is_the_divergence() -> None:
    """Against the model's own distribution over all tokens nothing is to be lost, and the gradient is zero."""
    checkpoint = tiny_checkpoint()
    ids = checkpoint.protocol.prompt([{"role": "user", "content": "a plain text"}])
    trainable = TrainableModel(checkpoint)
    hidden = trainable.hidden(collate([TrainingExample(tuple(ids))]))
    own = trainable.logits(hidden).float().softmax(-1)
    targets = tuple((tuple(range(len(row))), tuple(row.tolist())) for row in own[:-1])
    example = TrainingExample(tuple(ids), text=tuple(range(len(ids) - 1)), text_targets=targets)
    losses = trainable.cross_entropy(collate([example]))
    torch.autograd.backward(losses.replayed)
    assert losses.text == 0 and losses.replayed.item() == pytest.approx(0, abs=1e-3 * len(ids))
    assert max(float(one.grad.abs().max()) for one in trainable.trunk_parameters() if one.grad is not None) < 1e-3


def test_a_stage_that_replays_leaves_plain_text_as_it_was(run: Runner, dataset: Dataset) -> None:
    before, words = tiny_checkpoint(), tiny_checkpoint().vocabulary.new_token_ids.start
    examples = texts_of(before, dataset)[::8]
    settings = {"steps": 60, "batch_size": 16, "learning_rate": 3e-3, "blend": 1.0, "max_tokens": 160}
    shares = {"requests": 0.7, "keywords": 0.3}

    def divergence(trained: Checkpoint) -> float:
        """Mean over places, from what was written before, of words alone, to what is written now, tools included."""
        known = torch.cat([log_probabilities(before, one)[:, :words].log_softmax(-1) for one in examples])
        found = torch.cat([log_probabilities(trained, one)[:, :words] for one in examples])
        return float(functional.kl_div(found, known, log_target=True, reduction="batchmean"))

    without, replayed_too = (
        divergence(run("retrieval", tiny_checkpoint(), name, **settings, shares={**shares, "replay": share}))
        for name, share in (("without", 0.0), ("with", 0.3))
    )
    assert replayed_too < 0.7 * without


def test_a_stage_reads_no_more_texts_than_it_draws(dataset: Dataset) -> None:
    checkpoint = tiny_checkpoint()
    few = texts_of(checkpoint, dataset, steps=2, batch_size=8)
    assert len(few) == 17 < len(texts_of(checkpoint, dataset, steps=500))
    assert [one.ids for one in few] == [one.ids for one in texts_of(checkpoint, dataset)[: len(few)]]


def test_what_is_replayed_does_not_count_as_left_to_learn(run: Runner) -> None:
    """Its divergence stays above zero, and a stage that has learned its few requests would never end for it."""
    metrics = run("retrieval", tiny_checkpoint(), steps=4, shares={"requests": 0.5, "replay": 0.5}).metrics
    assert all(one["loss"] == one["choice_loss"] > 0 and one["text_loss"] == 0 for one in metrics)
    assert any(one["replayed_loss"] > 0 for one in metrics)
