"""Distillation adds to the rows what ridge regression finds, and changes nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch.testing import assert_close

from toolgen.catalog.text import views
from toolgen.checkpoint import Checkpoint
from toolgen.datasets import Dataset, Query, Synthetic
from toolgen.errors import UsageError
from toolgen.retrieval import Resources, make_sum
from toolgen.retrieval.generative import GenerativeRetriever
from toolgen.testing import tiny_checkpoint
from toolgen.training import distillation
from toolgen.training.distillation import distill, distillation_texts
from toolgen.training.teacher import LogitsOfAll

TEXTS = [f"{verb} the {noun} please" for verb in ("show", "book", "count", "find") for noun in "abcdefghij"]


def imitate(checkpoint: Checkpoint, texts: Sequence[str], teacher: LogitsOfAll, **settings: Any) -> Checkpoint:
    return distill(checkpoint, texts, GenerativeRetriever(checkpoint).hidden_states, teacher, **settings)


def opinions(texts: Sequence[str]) -> np.ndarray:
    """Logits that depend on the text and are no linear function of anything that the model knows."""
    count = len(tiny_checkpoint().vocabulary)
    seeds = [sum(map(ord, text)) for text in texts]
    return np.stack([np.random.default_rng(seed).normal(3.0, 2.0, count) for seed in seeds])


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("chunk", [256, 7])
def test_the_rows_gain_the_solution_of_the_regression(tied: bool, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distillation, "_CHUNK", chunk)
    before, checkpoint = tiny_checkpoint(tied=tied), tiny_checkpoint(tied=tied)
    hidden = GenerativeRetriever(before).hidden_states(TEXTS).numpy().astype(float)
    target = opinions(TEXTS)
    target -= target.mean(1, keepdims=True)
    # Ridge as plain least squares: one more "text" for each dimension, whose logits should be 0.
    pull = np.sqrt(5 * (hidden**2).mean()) * np.eye(hidden.shape[1])
    rows, *_ = np.linalg.lstsq(
        np.vstack([hidden, pull]), np.vstack([target, np.zeros((len(pull), target.shape[1]))]), rcond=None
    )
    after = imitate(checkpoint, TEXTS, opinions, strength=0.5, penalty=5)
    assert_allclose(after.tool_rows.numpy(force=True), before.tool_rows.numpy(force=True) + 0.5 * rows.T, atol=1e-5)
    unexplained = ((hidden @ rows - target) ** 2).sum() / (target**2).sum()
    assert after.stages[-1].result["explained"] == pytest.approx(1 - unexplained, abs=1e-4)
    assert 0 < after.stages[-1].result["explained"] < 1
    others = dict(before.model.named_parameters())
    ids = before.vocabulary.tool_token_ids
    for name, found in after.model.named_parameters():
        if found.shape == others[name].shape and found.shape[0] >= ids.stop:
            assert_close(found[: ids.start], others[name][: ids.start])
        else:
            assert_close(found, others[name])


def test_a_model_that_knows_nothing_learns_to_rank_as_its_teacher() -> None:
    checkpoint = tiny_checkpoint()
    teacher = make_sum(["bm25"], Resources())
    teacher.index(checkpoint.catalog)
    texts = [views(tool).get("description") or tool.name for tool in checkpoint.catalog]
    wanted = teacher.score_all(texts).argmax(1)

    def agreement() -> float:
        return float((GenerativeRetriever(checkpoint).score_all(texts).argmax(1) == wanted).mean())

    at_first = agreement()
    imitate(checkpoint, texts, teacher.score_all, strength=100, penalty=1e-4)
    assert at_first < 0.5 and agreement() == 1.0


def test_no_strength_no_change() -> None:
    before = tiny_checkpoint()
    after = imitate(tiny_checkpoint(), TEXTS, opinions, strength=0)
    assert torch.equal(after.tool_rows, before.tool_rows)
    assert len(after.stages) == len(before.stages) + 1


def test_the_history_has_the_settings() -> None:
    seen: list[tuple[int, int]] = []
    after = imitate(
        tiny_checkpoint(), TEXTS, opinions, settings={"teacher": "x"}, on_progress=lambda *done: seen.append(done)
    )
    entry = after.stages[-1]
    assert (entry.stage, entry.examples, entry.config["teacher"]) == ("distillation", {"texts": len(TEXTS)}, "x")
    assert seen[-1] == (len(TEXTS), len(TEXTS))


def test_texts_are_training_requests_and_descriptions_each_once(dataset: Dataset) -> None:
    written = Query(
        id="w1", text="a written one", tools=dataset.catalog.ids[:1], origin=Synthetic(style="vague", by="rules")
    )
    both = replace(dataset, queries={**dataset.queries, "train": (*dataset.queries["train"], written, written)})
    texts = distillation_texts(both)
    assert len(texts) == len(set(texts))
    assert {query.text for query in both.searches("train")} < set(texts)
    others = {query.text for split in ("dev", "test") for query in both.searches(split)}
    assert not others & set(texts)
    for tool in dataset.catalog:
        assert views(tool).get("description", views(tool)["document"]) in texts


def test_what_cannot_be_distilled_is_refused() -> None:
    with pytest.raises(UsageError, match="one token each; this checkpoint has hierarchical indexing"):
        imitate(tiny_checkpoint(indexing="hierarchical"), TEXTS, opinions)
    with pytest.raises(UsageError, match="needs texts"):
        imitate(tiny_checkpoint(), [], opinions)
    with pytest.raises(UsageError, match="the penalty is 0; it must be above 0"):
        imitate(tiny_checkpoint(), TEXTS, opinions, penalty=0)
