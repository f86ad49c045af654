"""IterFeedback: what the model sees, what is read out of its answer, and when the rounds end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolgen.catalog import Catalog
from toolgen.retrieval import BM25Retriever, IterFeedbackRetriever, Resources, make_retriever
from toolgen.retrieval.iter_feedback import parse_refined

if TYPE_CHECKING:
    from tests.retrieval.conftest import ScriptedModel

UMBRELLA = "umbrella or no umbrella?"


def answer(text: str) -> str:
    """Leads from the umbrella over the weather to the coming days, and is then content."""
    current = text.splitlines()[1].removeprefix("Searched for: ")
    steps = {UMBRELLA: "weather", "weather": "weather of the coming days"}
    return f"Feedback: not yet.\nRequest: {steps.get(current, 'N/A')}"


def iter_feedback(llm: ScriptedModel, catalog: Catalog, rounds: int = 3) -> IterFeedbackRetriever:
    retriever = IterFeedbackRetriever(BM25Retriever(), llm, rounds=rounds)
    retriever.index(catalog)
    return retriever


def plain(catalog: Catalog) -> BM25Retriever:
    retriever = BM25Retriever()
    retriever.index(catalog)
    return retriever


@pytest.mark.parametrize(
    ("rounds", "last"),
    [(0, UMBRELLA), (1, "weather"), (2, "weather of the coming days"), (9, "weather of the coming days")],
)
def test_the_ranking_is_that_of_the_last_request(
    scripted: type[ScriptedModel], catalog: Catalog, rounds: int, last: str
) -> None:
    llm = scripted(answer)
    assert iter_feedback(llm, catalog, rounds).search([UMBRELLA], 6) == plain(catalog).search([last], 6)
    assert len(llm.asked) == min(rounds, 3)


def test_a_request_that_bm25_misses_is_found_through_feedback(scripted: type[ScriptedModel], catalog: Catalog) -> None:
    assert plain(catalog).search([UMBRELLA], 6)[0].tools == ()
    assert iter_feedback(scripted(answer), catalog).search([UMBRELLA], 1)[0].tools == ("demo&&get_forecast",)


def test_the_model_sees_the_users_request_the_current_one_and_the_tools(
    scripted: type[ScriptedModel], catalog: Catalog
) -> None:
    llm = scripted(answer)
    iter_feedback(llm, catalog).search([UMBRELLA], 1)
    lines = llm.asked[1].splitlines()
    assert lines[:3] == [f"Request: {UMBRELLA}", "Searched for: weather", "Found:"]
    assert lines[3] == "1. demo.getWeather: Current weather of a city" and len(lines) == 5
    assert llm.asked[0].splitlines()[3:] == ["nothing"]


@pytest.mark.parametrize("text", ["", "I cannot help with that.", "Request:", "Request: N/A", "Feedback: all wrong"])
def test_an_answer_that_cannot_be_read_leaves_the_request(
    scripted: type[ScriptedModel], catalog: Catalog, text: str
) -> None:
    llm = scripted(lambda _: text)
    queries = ["weather of a city", "send a letter"]
    assert iter_feedback(llm, catalog).search(queries, 6) == plain(catalog).search(queries, 6)
    assert len(llm.asked) == 2


def test_an_answer_that_repeats_the_request_ends_the_rounds(scripted: type[ScriptedModel], catalog: Catalog) -> None:
    llm = scripted(lambda _: "Request: weather")
    assert iter_feedback(llm, catalog).search(["rain"], 6) == plain(catalog).search(["weather"], 6)
    assert len(llm.asked) == 2


def test_only_what_changed_goes_into_the_next_round(scripted: type[ScriptedModel], catalog: Catalog) -> None:
    llm = scripted(answer)
    queries = ["send a letter", UMBRELLA, ""]
    together = iter_feedback(llm, catalog).search(queries, 3)
    assert [text.splitlines()[0].removeprefix("Request: ") for text in llm.asked] == [queries[0], *[UMBRELLA] * 3]
    assert together == [iter_feedback(llm, catalog).search([query], 3)[0] for query in queries]


def test_empty_requests_and_catalogs_ask_nothing(scripted: type[ScriptedModel], catalog: Catalog) -> None:
    llm = scripted(answer)
    assert iter_feedback(llm, catalog).search([], 3) == []
    assert iter_feedback(llm, catalog).search(["", "  "], 100) == plain(catalog).search(["", "  "], 100)
    assert iter_feedback(llm, Catalog()).search([UMBRELLA], 3)[0].tools == ()
    assert llm.asked == []


@pytest.mark.parametrize(
    ("text", "refined"),
    [
        ("Feedback: no weather.\nRequest: weather in Oslo", "weather in Oslo"),
        ("1. **Feedback:** none\n2. **Refined request:** 'weather in Oslo'", "weather in Oslo"),
        ("Request: the old one\nrequest：天气预报", "天气预报"),
        ("Request: n/a.", None),
        ("Request: None", None),
        ("Request: weather forecast of the coming days, for painting outdoors", None),
        ("My request: is this one?", "is this one?"),
        ("The request is unclear", None),
    ],
)
def test_the_refined_request_follows_its_label(text: str, refined: str | None) -> None:
    assert parse_refined(text) == refined


@given(st.text())
def test_any_answer_can_be_read(text: str) -> None:
    assert parse_refined(text) is None or parse_refined(text)
    assert parse_refined(f"Request: {text}") != ""


def test_a_result_records_how_it_was_made(scripted: type[ScriptedModel]) -> None:
    retriever = make_retriever("iterfeedback", Resources(llm=scripted(), base_retriever="bm25"))
    assert isinstance(retriever, IterFeedbackRetriever)
    assert retriever.config == {
        "model": "scripted",
        "rounds": 3,
        "shown": 10,
        "budget": 2000,
        "base": {"name": "bm25", **BM25Retriever().config},
    }
