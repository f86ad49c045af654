"""Scores of all tools at once are those of a ranking of the whole catalog, in the catalog's order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from toolgen.catalog import Catalog
from toolgen.retrieval import BM25Retriever, DenseRetriever, Ranking, Retriever, SumRetriever
from toolgen.retrieval.generative import GenerativeRetriever
from toolgen.retrieval.protocol import Scorer, scores_of_all
from toolgen.testing import tiny_catalog, tiny_checkpoint

QUERIES = ["weather in a city", "", "send a letter to a person", "Wetter 天气 🌦"]
# The model's own rows are in another order than the catalog that is searched.
CATALOG = Catalog(tiny_catalog()[::-1])
POSITIONS = {tool: position for position, tool in enumerate(CATALOG.ids)}


class RankingOnly:
    """A retriever without the scores of all tools."""

    def __init__(self, retriever: Retriever) -> None:
        self.name, self._retriever = "ranking", retriever

    def index(self, catalog: Catalog) -> None:
        self._retriever.index(catalog)

    def search(self, queries: Sequence[str], k: int) -> list[Ranking]:
        return self._retriever.search(queries, k)


@pytest.fixture(params=["bm25", "dense", "sum", "generative"])
def retriever(request: pytest.FixtureRequest, dense: DenseRetriever) -> Retriever:
    match request.param:
        case "bm25":
            return BM25Retriever()
        case "dense":
            return dense
        case "sum":
            return SumRetriever([(BM25Retriever(), 0.5), (GenerativeRetriever(tiny_checkpoint()), 2.0)])
    return GenerativeRetriever(tiny_checkpoint())


def test_they_are_what_a_ranking_of_the_whole_catalog_says(retriever: Retriever) -> None:
    other = RankingOnly(retriever)
    assert isinstance(retriever, Scorer) and not isinstance(other, Scorer)
    other.index(CATALOG)
    found = scores_of_all(retriever, QUERIES, POSITIONS)
    assert found.shape == (len(QUERIES), len(CATALOG))
    expected = scores_of_all(other, QUERIES, POSITIONS)
    if retriever.name == "generative":  # its rankings show probabilities
        expected, found = np.log(expected), found - np.log(np.exp(found).sum(1, keepdims=True))
        assert np.ptp(expected - found, axis=1) == pytest.approx(0, abs=1e-5)
    elif retriever.name == "bm25":  # its rankings leave out tools
        expected[expected == expected.min(1, keepdims=True)] = 0
        assert np.array_equal(
            np.where(found == np.where(found > 0, found, np.inf).min(1, keepdims=True), 0, found), expected
        )
    else:
        assert np.array_equal(found, expected)


def test_what_a_ranking_leaves_out_is_as_bad_as_its_last() -> None:
    class Two:
        name = "two"

        def index(self, catalog: Catalog) -> None:
            pass

        def search(self, queries: Sequence[str], k: int) -> list[Ranking]:
            return [Ranking(CATALOG.ids[3:1:-1], (2.0, -1.0)) for _ in queries]

    assert scores_of_all(Two(), ["x"], POSITIONS).tolist() == [[-1.0] * 3 + [2.0] + [-1.0] * (len(CATALOG) - 4)]


def test_unconstrained_they_are_the_tools_own() -> None:
    free, constrained = (
        GenerativeRetriever(tiny_checkpoint(), constrained=False),
        GenerativeRetriever(tiny_checkpoint()),
    )
    for catalog in (CATALOG, tiny_catalog()):
        for retriever in (free, constrained):
            retriever.index(catalog)
        assert free.score_all(QUERIES) == pytest.approx(constrained.score_all(QUERIES), abs=1e-4)


def test_without_queries_there_are_none(retriever: Retriever) -> None:
    retriever.index(CATALOG)
    assert scores_of_all(retriever, [], POSITIONS).shape == (0, len(CATALOG))
