"""Every retriever keeps the same promises, and the exact top k equals sorting everything."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolgen.catalog import Catalog
from toolgen.retrieval import (
    BM25Retriever,
    DenseRetriever,
    Ranking,
    Resources,
    Retriever,
    SumRetriever,
    make_retriever,
)
from toolgen.retrieval.protocol import top_ranking

if TYPE_CHECKING:
    from tests.retrieval.conftest import ScriptedModel


@pytest.fixture(params=["bm25", "dense", "sum", "re-invoke", "iterfeedback", "long-context"])
def retriever(
    request: pytest.FixtureRequest, dense: DenseRetriever, scripted: type[ScriptedModel], tmp_path: Path
) -> Retriever:
    if request.param == "dense":
        return dense
    if request.param == "sum":
        return SumRetriever([(BM25Retriever(), 0.5), (dense, 20.0)])
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
def test_one_ranking_a_query_with_k_distinct_tools_and_falling_scores(
    retriever: Retriever, catalog: Catalog, k: int
) -> None:
    retriever.index(catalog)
    rankings = retriever.search(["weather in a city", "", "xyzzy", "Wetter 天气 🌦"], k)
    assert len(rankings) == 4
    for ranking in rankings:
        assert len(ranking.tools) == len(ranking.scores) == min(k, len(catalog))
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
    assert retriever.search(["weather"], 5) == [Ranking((), ())]
    retriever.index(catalog)
    assert retriever.search([], 5) == []


def test_a_new_index_replaces_the_old_one(retriever: Retriever, catalog: Catalog) -> None:
    retriever.index(catalog)
    retriever.index(Catalog([catalog[2]]))
    assert retriever.search(["weather"], 5)[0].tools == ("demo&&send_mail",)


@given(
    scores=st.lists(st.integers(-3, 3).map(float), min_size=0, max_size=40),
    k=st.integers(0, 50),
)
def test_the_exact_top_k_equals_a_stable_sort_of_everything(scores: list[float], k: int) -> None:
    ids = [f"t{i}" for i in range(len(scores))]
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:k]
    found = top_ranking(ids, np.array(scores, dtype=np.float32), k)
    assert found == Ranking(tuple(ids[i] for i in order), tuple(scores[i] for i in order))
