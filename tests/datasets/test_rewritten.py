"""Shorter wordings of requests: which words are left, what is kept for a paired comparison, and what a model may answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from toolgen.catalog import Catalog, Tool
from toolgen.catalog.words import content_words
from toolgen.datasets import Dataset, Rewritten, Task, Turn
from toolgen.datasets.rewritten import (
    SHORT,
    Shortener,
    parse_vague,
    rewritten_by_model,
    rewritten_by_rule,
    vague_prompt,
)
from toolgen.llm import ChatMessage
from toolgen.testing import tiny_dataset


def tool(name: str, description: str) -> Tool:
    return Tool(id=name, provider="", name=name, description=description)


CATALOG = Catalog(
    [
        tool("get_forecast", "Weather of a city in the coming days"),
        tool("get_stock", "Price of a share"),
        tool("get_rate", "Price of a currency"),
    ]
)
SHORTENER = Shortener(CATALOG)
REQUEST = (
    "I'm in Oslo with Anna and Bo: get the price of 20 Acme shares and then the weather for our walk tomorrow, please!"
)


def test_the_keyword_is_the_rarest_word_that_the_catalog_has() -> None:
    assert SHORTENER.keyword(REQUEST) == "weather"
    assert SHORTENER.keyword("get the currency of the city") == "currency"
    assert SHORTENER.keyword("Fly me to Oslo") == "Fly"
    assert SHORTENER.keyword("please") == "please"


def test_a_short_request_keeps_six_words_in_order_the_telling_ones_first() -> None:
    assert SHORTENER.short(REQUEST) == "Oslo Anna Bo price Acme weather"
    assert SHORTENER.short("Will it rain?") == "rain"
    assert SHORTENER.short("how?") == "how?"


def test_a_drawn_request_has_words_of_the_catalog_in_order() -> None:
    drawn = [SHORTENER.some(REQUEST, Random(seed)).split() for seed in range(50)]
    known = ["price", "weather"]
    assert {len(found) for found in drawn} == {1, 2}
    assert all(found == [word for word in known if word in found] for found in drawn)
    assert SHORTENER.some("Fly me to Oslo", Random(0)) == "Fly Oslo"


def test_the_choice_does_not_depend_on_the_relevant_tools(dataset: Dataset) -> None:
    ids = dataset.catalog.ids
    other = replace(
        dataset,
        queries={"test": tuple(replace(q, tools=(ids[0],) if q.tools else ()) for q in dataset.queries["test"])},
    )
    for how in ("keyword", "short"):
        texts = [[q.text for q in rewritten_by_rule(one, "test", how).queries["test"]] for one in (dataset, other)]
        assert texts[0] == texts[1]


@pytest.fixture
def dataset() -> Dataset:
    whole = tiny_dataset()
    task = Task(id="turns", turns=(Turn(text="first"), Turn(text="second")))
    return replace(whole, tasks={"test": (task,)})


def test_ids_tools_catalog_and_the_other_splits_stay(dataset: Dataset) -> None:
    made = rewritten_by_rule(dataset, "test", "short")
    full = [query for query in dataset.queries["test"] if query.tools]
    assert [(q.id, q.tools) for q in made.queries["test"]] == [(q.id, q.tools) for q in full]
    assert [q.origin for q in made.queries["test"]] == [
        Rewritten(how="short", by="rules", original=query.text) for query in full
    ]
    assert all(len(content_words(q.text)) <= SHORT and q.calls is None for q in made.queries["test"])
    assert made.catalog == dataset.catalog and made.queries["train"] == dataset.queries["train"]
    assert not made.tasks["test"] and not made.trajectories["test"]
    assert made.trajectories["train"] == dataset.trajectories["train"]


class Writer:
    """Answers every conversation with the same text."""

    name = "writer"

    def __init__(self, answer: str) -> None:
        self.answer = answer
        self.asked: list[str] = []

    def write(
        self, prompts: Sequence[Sequence[ChatMessage]], *, max_tokens: int, temperature: float = 0.7, seed: int = 0
    ) -> list[str]:
        del max_tokens, seed
        assert temperature == 0
        self.asked += [prompt[-1]["content"] for prompt in prompts]
        return [self.answer] * len(prompts)


def test_a_model_makes_requests_vague_and_rules_step_in_for_it(dataset: Dataset, tmp_path: Path) -> None:
    writer = Writer('1. "my day"\nor: what else')
    made = rewritten_by_model(dataset, "test", writer, tmp_path / "work.jsonl").queries["test"]
    texts = [query.text for query in dataset.searches("test")]
    assert writer.asked == texts
    assert [query.text for query in made] == ["my day"] * len(texts)
    assert [q.origin for q in made] == [Rewritten(how="vague", by="writer", original=text) for text in texts]
    silent = rewritten_by_model(dataset, "test", Writer(""), tmp_path / "other.jsonl").queries["test"]
    rules = rewritten_by_rule(dataset, "test", "short").queries["test"]
    assert [query.text for query in silent] == [query.text for query in rules]
    assert [q.origin for q in silent] == [Rewritten(how="vague", by="rules", original=text) for text in texts]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("weather soon", "weather soon"),
        ("- 'weather soon'", "weather soon"),
        ("", None),
        ("?!", None),
        ("Will it rain in Oslo tomorrow at noon?", None),
        (vague_prompt("x")[2]["content"], None),
    ],
)
def test_a_vague_request_is_shorter_and_no_copy(answer: str, expected: str | None) -> None:
    assert parse_vague(answer, "Will it rain in Oslo tomorrow?") == expected
