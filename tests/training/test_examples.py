"""Examples and batches: what is supervised, and in which order it comes."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from toolgen.errors import UsageError
from toolgen.training.collate import collate, micro_batches
from toolgen.training.examples import (
    TrainingExample,
    VariedExamples,
    batches,
    choice_example,
    conversation_example,
)


def numbered(source: str, count: int) -> list[TrainingExample]:
    return [TrainingExample((ord(source), i)) for i in range(count)]


SOURCES = {"a": numbered("a", 30), "b": numbered("b", 7), "empty": []}
SHARES = {"a": 0.7, "b": 0.3, "empty": 0.5, "unused": 0.0}


def test_a_choice_is_supervised_after_the_last_token_of_the_prompt() -> None:
    assert choice_example([5, 6, 7], [100, 101]) == TrainingExample((5, 6, 7), choices=((2, (100, 101)),))


def test_in_a_conversation_tool_tokens_are_choices_and_the_rest_of_the_assistant_is_text() -> None:
    example = conversation_example([1, 100, 2, 3, 101], [False, True, False, True, True], range(100, 102))
    assert example.choices == ((0, (100,)), (3, (101,)))
    assert example.text == (2,)


def test_batches_are_the_same_each_time_and_can_be_skipped() -> None:
    def first(skip: int, count: int, seed: int = 0) -> list[list[TrainingExample]]:
        return list(islice(batches(SOURCES, SHARES, batch_size=4, seed=seed), skip, skip + count))

    assert first(0, 20) == first(0, 20)
    assert first(13, 7) == first(0, 20)[13:]
    assert first(0, 20) != first(0, 20, seed=1)


def test_every_example_of_a_source_comes_once_an_epoch_and_in_a_new_order_the_next() -> None:
    drawn = [e for batch in islice(batches(SOURCES, {"b": 1.0}, batch_size=7, seed=0), 4) for e in batch]
    epochs = [drawn[i : i + 7] for i in range(0, 28, 7)]
    assert all(sorted(epoch, key=lambda e: e.ids) == SOURCES["b"] for epoch in epochs)
    assert len({tuple(e.ids for e in epoch) for epoch in epochs}) > 1


def test_shares_are_respected_and_an_empty_source_leaves_its_share_to_the_others() -> None:
    drawn = [e for batch in islice(batches(SOURCES, SHARES, batch_size=50, seed=0), 100) for e in batch]
    counts = Counter(chr(e.ids[0]) for e in drawn)
    assert counts["a"] / len(drawn) == pytest.approx(0.7, abs=0.03)


def test_a_source_does_not_disturb_the_order_of_another() -> None:
    def of_a(shares: dict[str, float]) -> list[TrainingExample]:
        drawn = (e for batch in batches(SOURCES, shares, batch_size=8, seed=0) for e in batch if chr(e.ids[0]) == "a")
        return list(islice(drawn, 40))

    assert of_a({"a": 1.0}) == of_a({"a": 0.2, "b": 0.8})


def test_nothing_to_train_on_is_an_error() -> None:
    with pytest.raises(UsageError, match="nothing to train on"):
        next(batches(SOURCES, {"empty": 1.0, "a": 0.0}, batch_size=4, seed=0))


lengths = st.lists(st.integers(1, 60), min_size=1, max_size=30)


@given(lengths, st.integers(16, 200))
def test_micro_batches_hold_every_example_once_within_the_budget(sizes: list[int], budget: int) -> None:
    examples = [TrainingExample(tuple(range(size))) for size in sizes]
    parts = micro_batches(examples, budget)
    assert sorted(len(e) for part in parts for e in part) == sorted(sizes)
    assert all(len(part) == 1 or sum(map(len, part)) <= budget for part in parts)


def test_collating_packs_the_shortest_first_and_points_into_the_row() -> None:
    batch = collate([TrainingExample((3, 4, 5), choices=((0, (60, 61)),), text=(1,)), choice_example([1, 2], [50])])
    assert batch.ids_T.tolist() == [1, 2, 3, 4, 5]
    assert batch.places_T.tolist() == [0, 1, 0, 1, 2]
    assert batch.lengths == (2, 3)
    assert batch.positions_P.tolist() == [1, 2, 3]
    assert batch.targets_PK.tolist() == [[50, -1], [60, 61], [5, -1]]
    assert batch.weights_PK.tolist() == [[1, 0], [0.5, 0.5], [1, 0]]
    assert batch.is_choice_P.tolist() == [True, True, False]
    assert batch.among_asked_P.tolist() == [False, False, False]


def test_only_the_choices_of_an_example_are_among_asked_tools() -> None:
    example = TrainingExample((3, 4, 5), choices=((0, (60,)),), text=(1,), among_asked=True)
    assert collate([example, choice_example([1], [50])]).among_asked_P.tolist() == [False, True, False]


def test_weights_of_an_example_are_kept() -> None:
    example = TrainingExample((3, 4), choices=((0, (60,)), (1, (61, 62))), weights=((1.0,), (0.25, 0.75)))
    assert collate([example]).weights_PK.tolist() == [[1, 0], [0.25, 0.75]]


def test_a_batch_without_any_supervision_can_be_collated() -> None:
    batch = collate([TrainingExample((1, 2, 3))])
    assert batch.positions_P.shape == (0,)
    assert batch.targets_PK.dtype == torch.long and batch.targets_PK.shape == (0, 1)


def test_a_positions_weight_is_in_its_targets() -> None:
    example = TrainingExample((5, 6, 7), text=(0, 1), text_weights=(0.25, 3.0))
    assert example.text_weight == 3.25
    assert collate([example]).weights_PK.tolist() == [[0.25], [3.0]]


def test_varied_examples_are_others_in_each_epoch_and_the_usual_ones_where_nothing_varies() -> None:
    def vary(place: int, epoch: int) -> TrainingExample | None:
        return TrainingExample((place, epoch)) if place else None

    varied = VariedExamples([TrainingExample((9,)), TrainingExample((8,))], vary)
    assert list(varied) == [TrainingExample((9,)), TrainingExample((8,))]
    drawn = [one.ids for batch in islice(batches({"a": varied}, {"a": 1.0}, batch_size=2, seed=0), 3) for one in batch]
    assert [sorted(drawn[i : i + 2]) for i in (0, 2, 4)] == [[(1, 0), (9,)], [(1, 1), (9,)], [(1, 2), (9,)]]
