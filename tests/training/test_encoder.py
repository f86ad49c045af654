"""ToolRetriever's training: its loss by hand, what it learns, and the folder it writes."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from toolgen.errors import DatasetError, DivergenceError, InputError
from toolgen.retrieval import Resources, make_retriever
from toolgen.testing import tiny_dataset, tiny_encoder
from toolgen.training.encoder import EncoderConfig, encoder_steps, ranking_loss, train_encoder

pytest.importorskip("sentence_transformers")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_encoder(tmp_path_factory.mktemp("encoder"))


def test_the_loss_is_cross_entropy_without_a_request_s_other_tools() -> None:
    scores = torch.tensor([[2.0, 1.0, 0.5], [0.0, 3.0, 1.0]])
    wanted = [(("a", "c"), "a"), (("b",), "b")]  # the first request needs c too, which is then no negative
    first = -math.log(math.exp(2) / (math.exp(2) + math.exp(1)))
    second = -math.log(math.exp(3) / (math.exp(0) + math.exp(3) + math.exp(1)))
    assert float(ranking_loss(scores, wanted, ["a", "b", "c"])) == pytest.approx((first + second) / 2)


def test_training_learns_writes_an_encoder_and_repeats(base: Path, tmp_path: Path) -> None:
    dataset, config = tiny_dataset(), EncoderConfig(epochs=12, batch_size=8, learning_rate=3e-3)
    seen: list[float] = []
    record = train_encoder(
        base, dataset, tmp_path / "trained", config, on_step=lambda step: seen.append(float(step["loss"]))
    )
    assert len(seen) == record["steps"] == encoder_steps(dataset, config)
    assert sum(seen[-5:]) < 0.7 * sum(seen[:5])
    assert json.loads((tmp_path / "trained" / "toolgen-encoder.json").read_text(encoding="utf-8")) == record
    again = train_encoder(base, dataset, tmp_path / "again", config)
    assert again["loss"] == pytest.approx(record["loss"], rel=1e-4)
    found = []
    for encoder in (base, tmp_path / "trained"):
        retriever = make_retriever("toolretriever", Resources(encoder=encoder, cache=tmp_path / "cache"))
        retriever.index(dataset.catalog)
        queries = [query for query in dataset.queries["train"] if query.tools]
        rankings = retriever.search([query.text for query in queries], 1)
        found.append(sum(one.tools[0] in query.tools for query, one in zip(queries, rankings, strict=True)))
    assert found[1] > found[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "cache", "trained"]


def test_a_loss_that_is_no_number_ends_the_training_and_nothing_is_written(base: Path, tmp_path: Path) -> None:
    for rate, step in ((1e30, "step 2"), (math.inf, "step [12]")):
        config = EncoderConfig(epochs=2, batch_size=4, learning_rate=rate, warmup=0.0)
        with pytest.raises(DivergenceError, match=rf"diverged at {step}: .*lower the learning rates"):
            train_encoder(base, tiny_dataset(), tmp_path / "out", config)
    one_step = EncoderConfig(epochs=1, batch_size=1000, learning_rate=math.inf, warmup=0.0)
    with pytest.raises(DivergenceError, match="holds NaN or infinity"):
        train_encoder(base, tiny_dataset(), tmp_path / "out", one_step)
    assert list(tmp_path.iterdir()) == []


def test_nothing_to_learn_from_and_no_encoder_are_one_clear_line(base: Path, tmp_path: Path) -> None:
    dataset = tiny_dataset()
    empty = replace(dataset, queries={**dataset.queries, "train": ()})
    with pytest.raises(DatasetError, match="no request with a tool"):
        train_encoder(base, empty, tmp_path / "out", EncoderConfig())
    with pytest.raises(InputError, match="is not a sentence-transformers folder"):
        train_encoder(tmp_path, dataset, tmp_path / "out", EncoderConfig())
    assert not (tmp_path / "out").exists()
