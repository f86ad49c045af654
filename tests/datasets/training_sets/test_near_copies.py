"""Near copies of test requests are told from other texts."""

from __future__ import annotations

import pytest

from toolgen.datasets.training_sets.near_copies import NearCopies

TEST = "Find me a cheap hotel in Rome for two nights from Monday and book the first one that has a pool."


@pytest.mark.parametrize(
    "text",
    [
        TEST,
        TEST.upper().replace(",", ""),
        f"Hello there! {TEST} Thank you.",
        TEST.replace("Rome", "Oslo"),
        TEST[: TEST.index(" and book")],
        "What is the weather like?",
    ],
)
def test_a_text_that_shares_most_of_its_words_in_order_is_a_near_copy(text: str) -> None:
    assert text in NearCopies([TEST, "what is the weather like"])


@pytest.mark.parametrize(
    "text",
    [
        "Find me a cheap hotel in Rome for two nights; then a train to Milan, a museum there, and a table for dinner at eight.",
        "What is the weather like in Rome?",
        "Book the one that has a pool.",
        "Hello",
        "",
    ],
)
def test_a_text_that_shares_a_phrase_is_none(text: str) -> None:
    assert text not in NearCopies([TEST, "what is the weather like", "Hello!"])


def test_requests_that_say_the_same_count_once() -> None:
    assert len(NearCopies([TEST, TEST.lower(), "Any other request of this kind"])) == 2
