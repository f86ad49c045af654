"""Long-context prompting: the model's numbers come first, the retriever's order fills up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolgen.catalog import Catalog
from toolgen.retrieval import BM25Retriever, LongContextRetriever, Resources, make_retriever
from toolgen.retrieval.long_context import parse_numbers

if TYPE_CHECKING:
    from tests.retrieval.conftest import ScriptedModel

REQUEST = "weather of a city"


def long_context(
    llm: ScriptedModel, catalog: Catalog, candidates: int = 20, budget: int = 4000
) -> LongContextRetriever:
    retriever = LongContextRetriever(BM25Retriever(), llm, candidates=candidates, budget=budget)
    retriever.index(catalog)
    return retriever


def base_order(catalog: Catalog, query: str = REQUEST) -> tuple[str, ...]:
    retriever = BM25Retriever()
    retriever.index(catalog)
    return retriever.search([query], len(catalog))[0].tools


def test_chosen_tools_come_first_and_the_rest_keeps_its_order(scripted: type[ScriptedModel], catalog: Catalog) -> None:
    before = base_order(catalog, "weather of a city, a file and money")
    assert len(before) == 4
    found = long_context(scripted(lambda _: "3, 2"), catalog).search(["weather of a city, a file and money"], 6)[0]
    assert found.tools == (before[2], before[1], before[0], before[3])
    assert found.scores == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4])


def test_a_tool_that_bm25_does_not_rank_can_be_chosen(scripted: type[ScriptedModel], catalog: Catalog) -> None:
    def choose(text: str) -> str:
        return next(line.split(".")[0] for line in text.splitlines() if "coming days" in line)

    request = "umbrella tomorrow"
    assert base_order(catalog, request) == ()
    assert long_context(scripted(choose), catalog).search([request], 3)[0].tools == ("demo&&get_forecast",)


def test_only_candidates_are_shown_and_can_be_chosen(scripted: type[ScriptedModel], catalog: Catalog) -> None:
    before, llm = base_order(catalog), scripted(lambda _: "4, 3")
    assert before == catalog.ids[:2]
    found = long_context(llm, catalog, candidates=3).search([REQUEST], 5)[0]
    assert found.tools == (catalog.ids[2], *before)  # the third candidate is the next tool of the catalog
    assert "\n3. " in llm.asked[0] and "\n4. " not in llm.asked[0]


def test_the_list_keeps_to_its_budget(scripted: type[ScriptedModel], catalog: Catalog) -> None:
    llm = scripted()
    long_context(llm, catalog, budget=120).search([REQUEST], 1)
    listed = llm.asked[0].removeprefix("Tools:\n").removesuffix(f"\n\nRequest: {REQUEST}")
    assert len(listed) <= 120 and len(listed.splitlines()) == len(catalog)


@pytest.mark.parametrize("text", ["", "none of them", "0, 7, 99", "get_v2", "9" * 5000])
def test_an_answer_that_cannot_be_read_leaves_the_order(
    scripted: type[ScriptedModel], catalog: Catalog, text: str
) -> None:
    assert long_context(scripted(lambda _: text), catalog).search([REQUEST], 6)[0].tools == base_order(catalog)


@pytest.mark.parametrize("k", [1, 3, 6, 100])
def test_every_tool_comes_once_and_the_order_is_the_same_each_time(
    scripted: type[ScriptedModel], catalog: Catalog, k: int
) -> None:
    retriever = long_context(scripted(lambda _: "5, 5, 2, 1, 2"), catalog, candidates=5)
    queries = [REQUEST, "", "nothing known"]
    rankings = retriever.search(queries, k)
    assert rankings == retriever.search(queries, k)
    for ranking, every in zip(rankings, retriever.search(queries, 100), strict=True):
        assert len(ranking.tools) == len({*ranking.tools})
        assert ranking.tools == every.tools[:k]


def test_empty_requests_and_catalogs_ask_nothing(scripted: type[ScriptedModel], catalog: Catalog) -> None:
    llm = scripted(lambda _: "2")
    assert long_context(llm, catalog).search([], 3) == []
    assert long_context(llm, catalog).search([" "], 6)[0].tools == base_order(catalog, "")
    assert long_context(llm, Catalog()).search([REQUEST], 3)[0].tools == ()
    assert llm.asked == []


@given(st.text() | st.from_regex(r"[\d ,]+"), st.integers(0, 20))
def test_numbers_are_of_the_list_and_distinct(text: str, count: int) -> None:
    numbers = parse_numbers(text, count)
    assert len({*numbers}) == len(numbers)
    assert all(1 <= number <= count for number in numbers)


def test_a_result_records_how_it_was_made(scripted: type[ScriptedModel]) -> None:
    retriever = make_retriever("long-context", Resources(llm=scripted()))
    assert isinstance(retriever, LongContextRetriever)
    assert retriever.config == {
        "model": "scripted",
        "candidates": 20,
        "budget": 4000,
        "base": {"name": "bm25", **BM25Retriever().config},
    }
