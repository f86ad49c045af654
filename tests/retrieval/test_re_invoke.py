"""Re-Invoke: synthetic requests bring tools nearer, intents are searched for one by one, nothing is written twice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolgen.catalog import Catalog
from toolgen.errors import UsageError
from toolgen.retrieval import BM25Retriever, Ranking, ReInvokeRetriever, Resources, make_retriever
from toolgen.retrieval.re_invoke import MAX_INTENTS, parse_intents

if TYPE_CHECKING:
    from tests.retrieval.conftest import ScriptedModel

REQUESTS = {
    "get_forecast": "1. do i need an umbrella tomorrow\n2. Will it snow in Oslo on Sunday?",
    "convert_currency": "how many euros for 30 dollars",
}


def answer(text: str) -> str:
    """Requests for two tools; intents of a request are its parts around `and`."""
    if text.endswith("requests."):
        return next((written for name, written in REQUESTS.items() if text.splitlines()[0].endswith(name)), "?")
    return "\n".join(f"- {part}" for part in text.split(" and "))


def re_invoke(llm: ScriptedModel, cache: Path, catalog: Catalog, **options: Any) -> ReInvokeRetriever:
    retriever = ReInvokeRetriever(BM25Retriever(), llm, cache=cache, **options)
    retriever.index(catalog)
    return retriever


def test_a_request_in_other_words_is_found_through_a_synthetic_one(
    scripted: type[ScriptedModel], catalog: Catalog, tmp_path: Path
) -> None:
    request = "umbrella or no umbrella"
    plain = BM25Retriever()
    plain.index(catalog)
    assert plain.search([request], 1)[0].tools == ()
    found = re_invoke(scripted(answer), tmp_path, catalog).search([request], 2)[0]
    assert (found.tools, found.scores) == (("demo&&get_forecast",), (1.0,))


def test_the_document_alone_is_a_view_too(scripted: type[ScriptedModel], catalog: Catalog, tmp_path: Path) -> None:
    plain = BM25Retriever()
    plain.index(catalog)
    unreadable = re_invoke(scripted(), tmp_path, catalog)
    for query in ("weather of a city", "copies a text into German", ""):
        assert unreadable.search([query], 6)[0].tools == plain.search([query], 6)[0].tools


def test_each_intent_has_its_best_tool_among_the_first(
    scripted: type[ScriptedModel], catalog: Catalog, tmp_path: Path
) -> None:
    request = "weather in the city of Turin, weather weather and euros for dollars and send a letter"
    found = re_invoke(scripted(answer), tmp_path, catalog).search([request], 3)[0]
    assert set(found.tools) == {"demo&&getWeather", "demo&&convert_currency", "demo&&send_mail"}


def test_an_intent_without_a_known_word_lifts_no_tool(
    scripted: type[ScriptedModel], catalog: Catalog, tmp_path: Path
) -> None:
    retriever = re_invoke(scripted(answer), tmp_path, catalog)
    expected = ("demo&&send_mail", "demo&&копировать")
    assert retriever.search(["send a letter to one"], 5)[0].tools == expected
    assert retriever.search(["qwertz and send a letter to one and asdf"], 5)[0].tools == expected


class Fixed:
    """Ranks the views as it is told, by query."""

    name = "fixed"

    def __init__(self, rankings: dict[str, Ranking]) -> None:
        self.rankings = rankings

    def index(self, catalog: Catalog) -> None:
        self.views = catalog.ids

    def search(self, queries: Sequence[str], k: int) -> list[Ranking]:
        return [self.rankings[query] for query in queries]


def test_the_best_place_counts_then_the_score_then_the_catalog(
    scripted: type[ScriptedModel], catalog: Catalog, tmp_path: Path
) -> None:
    weather, forecast, mail, money, *_ = catalog.ids
    base = Fixed(
        {
            "one": Ranking((f"{mail}#0", f"{mail}#1", f"{money}#0", f"{forecast}#2"), (0.5, 0.4, 0.3, 0.2)),
            "two": Ranking((f"{money}#1", f"{weather}#0", f"{mail}#0"), (0.9, 0.3, 0.1)),
        }
    )
    retriever = ReInvokeRetriever(base, scripted(answer), cache=tmp_path)
    retriever.index(catalog)
    assert retriever.search(["one and two"], 9)[0].tools == (money, mail, weather, forecast)
    base.rankings["two"] = Ranking((f"{forecast}#1", f"{weather}#0"), (0.5, 0.3))
    assert retriever.search(["one and two"], 4)[0].tools == (forecast, mail, weather, money)


@pytest.mark.parametrize("k", [1, 3, 6, 100])
def test_every_tool_comes_once_and_the_order_is_the_same_each_time(
    scripted: type[ScriptedModel], catalog: Catalog, tmp_path: Path, k: int
) -> None:
    retriever = re_invoke(scripted(answer), tmp_path, catalog)
    queries = ["will it snow and how many euros", "", "nothing known", "weather"]
    rankings = retriever.search(queries, k)
    assert rankings == retriever.search(queries, k)
    for ranking, every in zip(rankings, retriever.search(queries, 100), strict=True):
        assert len(ranking.tools) == len({*ranking.tools})
        assert ranking.tools == every.tools[:k]


def test_what_was_written_is_not_asked_for_again(
    scripted: type[ScriptedModel], catalog: Catalog, tmp_path: Path
) -> None:
    first, again = scripted(answer), scripted(answer)
    before = re_invoke(first, tmp_path, catalog).search(["umbrella"], 6)
    retriever = re_invoke(again, tmp_path, catalog)
    assert again.asked == []
    assert retriever.search(["umbrella"], 6) == before
    # Another order asks for nothing either, other settings ask for everything.
    re_invoke(again, tmp_path, Catalog(reversed(catalog)))
    assert again.asked == ["umbrella"]
    re_invoke(again, tmp_path, catalog, per_tool=2)
    assert len(again.asked) == len(first.asked)


def test_an_interrupted_index_goes_on_where_it_stopped(
    scripted: type[ScriptedModel], catalog: Catalog, tmp_path: Path
) -> None:
    re_invoke(scripted(answer), tmp_path, Catalog(catalog[:4]))
    llm, seen = scripted(answer), []
    re_invoke(llm, tmp_path, catalog, on_progress=lambda done, total: seen.append((done, total)))
    assert {text.splitlines()[0] for text in llm.asked} == {"demo.Übersetzen", "demo.копировать"}
    assert seen[-1] == (6, 6)


def test_no_more_requests_than_wanted_are_asked_for_and_indexed(
    scripted: type[ScriptedModel], catalog: Catalog, tmp_path: Path
) -> None:
    numbers = iter(range(1000))
    base, llm = Fixed({}), scripted(lambda _: "\n".join(f"find thing {next(numbers)} for me" for _ in range(9)))
    ReInvokeRetriever(base, llm, cache=tmp_path, per_tool=5).index(catalog)
    assert {text.splitlines()[-1] for text in llm.asked} == {"Write 3 requests."}  # of each of the two styles
    assert base.views == tuple(f"{tool_id}#{number}" for tool_id in catalog.ids for number in range(6))


@pytest.mark.parametrize(
    ("text", "intents"),
    [
        ("The intents are:\n1. book a flight\n2) find a hotel", ["book a flight", "find a hotel"]),
        ('["book a flight", "book a flight"]', ["book a flight"]),
        ("Intent: 翻译这句话", ["翻译这句话"]),
        ("practise speaking French\n---\n12", []),
        ("", []),
    ],
)
def test_intents_are_read_out_of_lists_of_any_kind(text: str, intents: list[str]) -> None:
    assert parse_intents(text) == intents


@given(st.text())
def test_any_answer_can_be_read(text: str) -> None:
    assert len(parse_intents(text)) <= MAX_INTENTS


def test_a_result_records_how_it_was_made(scripted: type[ScriptedModel], tmp_path: Path) -> None:
    retriever = make_retriever("re-invoke", Resources(llm=scripted(), base_retriever="bm25", cache=tmp_path))
    assert isinstance(retriever, ReInvokeRetriever)
    assert retriever.config == {
        "model": "scripted",
        "per_tool": 10,
        "seed": 0,
        "max_intents": MAX_INTENTS,
        "base": {"name": "bm25", **BM25Retriever().config},
    }


def test_searching_before_indexing_says_so(scripted: type[ScriptedModel], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="before index"):
        ReInvokeRetriever(BM25Retriever(), scripted(), cache=tmp_path).search(["weather"], 5)
