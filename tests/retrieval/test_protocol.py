"""Every retriever keeps the same promises, and the exact top k equals sorting everything."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolgen.catalog import Catalog
from toolgen.checkpoint.calibration import Calibration
from toolgen.errors import UsageError
from toolgen.retrieval import (
    BM25Retriever,
    DenseRetriever,
    Ranking,
    Resources,
    Retriever,
    SumRetriever,
    make_retriever,
)
from toolgen.retrieval.confidence import ConfidentRetriever
from toolgen.retrieval.protocol import separate, top_ranking
from toolgen.retrieval.tool_sets import ToolSetRetriever

if TYPE_CHECKING:
    from tests.retrieval.conftest import ScriptedModel


@pytest.fixture(params=["bm25", "dense", "sum", "sets", "calibrated", "re-invoke", "iterfeedback", "long-context"])
def retriever(
    request: pytest.FixtureRequest, dense: DenseRetriever, scripted: type[ScriptedModel], tmp_path: Path
) -> Retriever:
    if request.param == "dense":
        return dense
    summed = SumRetriever([(BM25Retriever(), 0.5), (dense, 20.0)])
    if request.param == "sum":
        return summed
    if request.param == "sets":
        return ToolSetRetriever(summed, [])
    if request.param == "calibrated":
        return ConfidentRetriever(summed, Calibration(weights=(0.0, 1.0, 0.0, 0.0), confidences=(0.0,)))
    return make_retriever(request.param, Resources(llm=scripted(), base_retriever="bm25", cache=tmp_path))


def test_a_retriever_fits_the_protocol(retriever: Retriever) -> None:
    assert isinstance(retriever, Retriever)


def test_a_user_class_needs_no_base_class() -> None:
    class First:
        name = "first"

        def index(self, catalog: Catalog) -> None:
            self.ids = catalog.ids

        def search(self, queries: Sequence[str], k: int) -> list[Ranking]:
            return [Ranking(self.ids[:k], (1.0,) * min(k, len(self.ids))) for _ in queries]

    assert isinstance(First(), Retriever)


@pytest.mark.parametrize("k", [1, 3, 100])
def test_one_ranking_a_query_with_distinct_tools_and_falling_scores(
    retriever: Retriever, catalog: Catalog, k: int
) -> None:
    retriever.index(catalog)
    rankings = retriever.search(["weather in a city", "", "xyzzy", "Wetter 天气 🌦"], k)
    assert len(rankings) == 4
    for ranking in rankings:
        assert len(ranking.tools) == len(ranking.scores) <= min(k, len(catalog))
        assert len(set(ranking.tools)) == len(ranking.tools)
        assert set(ranking.tools) <= set(catalog.ids)
        assert list(ranking.scores) == sorted(ranking.scores, reverse=True)


def test_the_right_tool_comes_first(retriever: Retriever, catalog: Catalog) -> None:
    retriever.index(catalog)
    found = retriever.search(["convert money between currencies", "send a letter to a person"], 1)
    assert [ranking.tools[0] for ranking in found] == ["demo&&convert_currency", "demo&&send_mail"]


def test_more_results_begin_with_the_same_ones(retriever: Retriever, catalog: Catalog) -> None:
    retriever.index(catalog)
    few, many = retriever.search(["weather of a city"], 2)[0], retriever.search(["weather of a city"], 5)[0]
    assert many.tools[:2] == few.tools


def test_searching_together_equals_searching_one_by_one(retriever: Retriever, catalog: Catalog) -> None:
    retriever.index(catalog)
    queries = ["weather", "a file and a folder", "German text", "mail"]
    alone = [retriever.search([query], 6)[0].tools for query in queries]
    assert [ranking.tools for ranking in retriever.search(queries, 6)] == alone


def test_an_empty_catalog_and_no_queries_give_nothing(retriever: Retriever, catalog: Catalog) -> None:
    retriever.index(Catalog())
    assert [(one.tools, one.scores) for one in retriever.search(["weather"], 5)] == [((), ())]
    retriever.index(catalog)
    assert retriever.search([], 5) == []


def test_a_new_index_replaces_the_old_one(retriever: Retriever, catalog: Catalog) -> None:
    retriever.index(catalog)
    retriever.index(Catalog([catalog[2]]))
    assert retriever.search(["weather letter"], 5)[0].tools == ("demo&&send_mail",)


def test_one_text_alone_is_one_request(retriever: Retriever, catalog: Catalog) -> None:
    retriever.index(catalog)
    assert retriever.search("weather of a city", 2) == retriever.search(["weather of a city"], 2)


@pytest.mark.parametrize(("wrong", "said"), [(None, "None"), ([None], "None"), ([["weather"]], "'weather'"), (3, "3")])
def test_what_is_no_text_is_named(retriever: Retriever, catalog: Catalog, wrong: Any, said: str) -> None:
    retriever.index(catalog)
    with pytest.raises(UsageError, match=f"a request is a text; got .*{said}.*; give one text, or a list of texts"):
        retriever.search(wrong, 2)


@pytest.mark.parametrize("k", [-1, 0, True, 1.5, None, "3"])
def test_the_number_of_results_is_a_whole_number_above_zero(retriever: Retriever, catalog: Catalog, k: Any) -> None:
    retriever.index(catalog)
    with pytest.raises(UsageError, match=f"a whole number above 0; got {k!r}"):
        retriever.search(["weather"], k)


def test_a_numpy_number_of_results_will_do(retriever: Retriever, catalog: Catalog) -> None:
    retriever.index(catalog)
    assert retriever.search(["weather"], cast(int, np.int64(2))) == retriever.search(["weather"], 2)


def test_a_lone_surrogate_is_searched_as_a_question_mark(retriever: Retriever, catalog: Catalog) -> None:
    retriever.index(catalog)
    assert retriever.search("weather \ud83d of a city", 3) == retriever.search("weather ? of a city", 3)


def test_a_megabyte_is_a_request_too(retriever: Retriever, catalog: Catalog) -> None:
    retriever.index(catalog)
    assert retriever.search("weather of a city " * 60_000, 3)[0].tools[0] == "demo&&getWeather"


@given(
    scores=st.lists(st.integers(-3, 3).map(float), min_size=0, max_size=40),
    k=st.integers(0, 50),
)
def test_the_exact_top_k_equals_a_stable_sort_of_everything(scores: list[float], k: int) -> None:
    ids = [f"t{i}" for i in range(len(scores))]
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:k]
    found = top_ranking(ids, np.array(scores, dtype=np.float32), k)
    assert found == Ranking(tuple(ids[i] for i in order), tuple(scores[i] for i in order))


def test_no_tool_stands_where_it_ranks() -> None:
    ranking = Ranking(("a", "b", "c"), (0.5, 0.2, 0.1), no_tool=0.2)
    assert ranking.with_no_tool(3) == Ranking(("a", "b", "no_tool"), (0.5, 0.2, 0.2))
    assert ranking.with_no_tool(2) == Ranking(("a", "b"), (0.5, 0.2))
    assert Ranking(("a",), (0.1,), no_tool=0.9).with_no_tool(5).tools == ("no_tool", "a")
    assert Ranking(("a", "b"), (2.0, 1.0)).with_no_tool(1) == Ranking(("a",), (2.0,))


def test_a_separate_retriever_has_an_index_of_its_own(retriever: Retriever, catalog: Catalog) -> None:
    retriever.index(catalog)
    requests = [tool.description for tool in catalog]
    before = retriever.search(requests, 5)
    part = separate(retriever)
    part.index(Catalog([catalog[0]]))
    assert {tool for ranking in part.search(requests, 5) for tool in ranking.tools} == {catalog[0].id}
    assert retriever.search(requests, 5) == before
