"""A teacher changes the targets of requests, and of nothing else; the model learns what it says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from toolgen.datasets import Dataset
from toolgen.errors import UsageError
from toolgen.retrieval import Resources, make_sum
from toolgen.retrieval.generative import GenerativeRetriever
from toolgen.testing import tiny_checkpoint
from toolgen.training.examples import TrainingExample, choice_example
from toolgen.training.run import run_stage
from toolgen.training.stages import AGENT, RETRIEVAL
from toolgen.training.teacher import KEPT, Teacher

from .conftest import tiny_config

CHECKPOINT = tiny_checkpoint()
VOCABULARY = CHECKPOINT.vocabulary
FIRST = VOCABULARY.tool_token_ids.start


def likes(*tools: int) -> Teacher:
    """A teacher that knows two tools, nine times in ten the first of them, and takes no other for possible."""

    def logits(requests: Sequence[str]) -> np.ndarray:
        logits_BN = np.full((len(requests), len(VOCABULARY)), -100.0)
        logits_BN[:, list(tools)] = np.log([0.9, 0.1])
        return logits_BN

    return Teacher(logits, VOCABULARY, share=0.5)


def distribution(example: TrainingExample) -> dict[int, float]:
    (((_, tokens),), (weights,)) = example.choices, example.weights
    return {token - FIRST: round(weight, 6) for token, weight in zip(tokens, weights, strict=True) if weight > 1e-9}


def test_the_target_is_half_the_teachers_and_half_the_labels() -> None:
    one = choice_example([5, 6], [FIRST + 1], among_asked=True, request="a")
    two = choice_example([5, 6, 7], [FIRST + 1, FIRST + 2], request="b")
    first, second = likes(1, 4)([one, two])
    assert distribution(first) == {1: 0.95, 4: 0.05}
    assert distribution(second) == {1: 0.7, 2: 0.25, 4: 0.05}
    assert (first.ids, first.choices[0][0], first.among_asked) == (one.ids, 1, False)
    assert sum(first.weights[0]) == pytest.approx(1)


def test_what_asks_for_no_tool_is_left_as_it_is(dataset: Dataset) -> None:
    config = tiny_config("agent")
    teacher = likes(0, 1)
    taught = {
        name: [example for example in source(CHECKPOINT, dataset, config) if teacher([example]) != [example]]
        for name, source in AGENT.sources.items()
    }
    assert not taught["abstentions"] and not taught["trajectories"]
    assert len(taught["requests"]) == len(list(AGENT.sources["requests"](CHECKPOINT, dataset, config)))
    assert taught["keywords"] and taught["description"]


def test_a_teacher_that_says_the_same_of_all_tools_changes_nothing() -> None:
    teacher = Teacher(lambda requests: np.zeros((len(requests), len(VOCABULARY))), VOCABULARY, share=0.5)
    one = choice_example([5, 6], [FIRST + 1], among_asked=True, request="a word that BM25 does not know")
    assert teacher([one]) == [one]


def test_the_least_likely_tools_are_left_out_and_the_rest_sums_to_one() -> None:
    many = KEPT + 5
    logits = np.linspace(0, 1, many)[None]

    class Wide:
        is_atomic, sequences = True, [(token_id,) for token_id in range(FIRST, FIRST + many)]

    teacher = Teacher(lambda requests: logits, Wide(), share=1.0)  # type: ignore[arg-type]
    (taught,) = teacher([choice_example([5], [FIRST], request="a")])
    found = distribution(taught)
    assert set(found) == set(range(5, many))
    assert sum(taught.weights[0]) == pytest.approx(1)


def test_several_tokens_a_tool_have_no_teacher() -> None:
    several = tiny_checkpoint(indexing="hierarchical").vocabulary
    with pytest.raises(UsageError, match="one token each; this checkpoint has hierarchical indexing"):
        Teacher(lambda requests: np.zeros((1, 1)), several, 0.5)


def test_training_follows_the_teacher(dataset: Dataset, tmp_path: Path) -> None:
    """BM25 alone is believed: on requests that the model learns, it ends up ranking as BM25 does."""
    checkpoint = tiny_checkpoint()
    bm25 = make_sum(["bm25"], Resources())
    bm25.index(dataset.catalog)
    config = tiny_config(
        "retrieval", steps=90, batch_size=16, shares={"requests": 1.0}, teacher=["bm25"], teacher_share=1.0
    )
    trained = run_stage(RETRIEVAL, checkpoint, dataset, config, tmp_path / "out", teacher=bm25.score_all)
    texts = [query.text for query in dataset.queries["train"] if query.tools]
    mine = GenerativeRetriever(trained).score_all(texts)
    theirs = bm25.score_all(texts)
    shares = np.exp(mine - mine.max(1, keepdims=True)), np.exp(theirs - theirs.max(1, keepdims=True))
    found, wanted = (share / share.sum(1, keepdims=True) for share in shares)
    assert np.abs(found - wanted).sum(1).mean() < 0.3
    assert trained.stages[-1].config["teacher"] == ["bm25"]


def test_a_named_teacher_must_be_given_and_a_given_one_named(dataset: Dataset, tmp_path: Path) -> None:
    for config, teacher in (
        (tiny_config("retrieval", teacher=["bm25"]), None),
        (tiny_config("retrieval"), lambda requests: np.zeros((1, 1))),
    ):
        with pytest.raises(UsageError, match="names the teacher"):
            run_stage(RETRIEVAL, tiny_checkpoint(), dataset, config, tmp_path / "out", teacher=teacher)
