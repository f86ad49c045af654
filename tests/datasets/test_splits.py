"""Splits depend on nothing but the group."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolgen.datasets.splits import SPLITS, hash_fraction, is_kept_unasked, split_of, split_outside_training, text_group


def test_the_shares_are_seventy_ten_twenty() -> None:
    counts = Counter(split_of(f"request {i}") for i in range(20_000))
    assert [counts[split] / 20_000 for split in SPLITS] == pytest.approx([0.7, 0.1, 0.2], abs=0.015)


def test_the_splits_of_known_texts_never_change() -> None:
    assert [split_of(text) for text in ("a", "b", "c", "d", "e", "f")] == [
        "train",
        "train",
        "train",
        "test",
        "train",
        "train",
    ]
    assert hash_fraction("a", "split") == pytest.approx(0.5490854188088541, abs=1e-12)


def test_outside_training_keeps_dev_and_test_and_divides_the_rest_one_to_two() -> None:
    groups = [f"request {i}" for i in range(20_000)]
    moved = Counter()  # type: Counter[str]
    for group in groups:
        own, other = split_of(group), split_outside_training(group)
        assert other == own if own != "train" else other in ("dev", "test")
        moved[other] += own == "train"
    assert moved["test"] / moved["dev"] == pytest.approx(2, abs=0.15)


def test_a_tenth_of_the_tools_is_kept_unasked() -> None:
    assert sum(is_kept_unasked(f"p&&{i}") for i in range(10_000)) == pytest.approx(1_000, abs=100)


@given(st.text(st.characters(categories=["L", "N"]), min_size=1))
def test_a_group_ignores_case_punctuation_and_spacing(text: str) -> None:
    assert text_group(f"  {text} !") == text_group(text)
    assert split_of(text_group(text)) in SPLITS


def test_requests_that_differ_in_words_differ_in_group() -> None:
    assert text_group("Square 5!") == text_group("square  5") != text_group("square 6")
