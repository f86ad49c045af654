"""BM25 against its formula written out."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from toolgen.catalog import Catalog, Tool
from toolgen.catalog.text import document
from toolgen.catalog.words import words
from toolgen.errors import UsageError
from toolgen.retrieval import (
    BM25Retriever,
    DenseRetriever,
    Ranking,
    Resources,
    SumRetriever,
    ToolSetRetriever,
    bm25,
    make_sum,
)


def bm25_by_hand(query: str, catalog: Catalog, k1: float, b: float) -> list[float]:
    """Lucene's BM25, straight from the formula."""
    documents = [Counter(words(document(tool))) for tool in catalog]
    mean_length = sum(doc.total() for doc in documents) / len(documents)
    scores = []
    for doc in documents:
        score = 0.0
        for term in words(query):
            containing = sum(term in other for other in documents)
            idf = math.log(1 + (len(documents) - containing + 0.5) / (containing + 0.5))
            norm = k1 * (1 - b + b * doc.total() / mean_length)
            score += idf * doc[term] / (doc[term] + norm) if containing else 0.0
        scores.append(score)
    return scores


@pytest.mark.parametrize(("k1", "b"), [(1.5, 0.6), (1.2, 0.75), (0.9, 0.0)])
@pytest.mark.parametrize("query", ["weather of a city", "weather weather city money", "copies a text", "nothing known"])
def test_scores_follow_the_formula(catalog: Catalog, query: str, k1: float, b: float) -> None:
    retriever = BM25Retriever(k1=k1, b=b)
    retriever.index(catalog)
    ranking = retriever.search([query], len(catalog))[0]
    expected = dict(zip(catalog.ids, bm25_by_hand(query, catalog, k1, b), strict=True))
    assert {*ranking.tools} == {tool for tool, score in expected.items() if score > 0}
    assert [expected[tool] for tool in ranking.tools] == pytest.approx(ranking.scores, abs=1e-5)
    assert retriever.score_all([query])[0].tolist() == pytest.approx(list(expected.values()), abs=1e-5)


def test_relative_scores_are_shares_of_the_best_one_of_a_request(catalog: Catalog) -> None:
    plain, relative = BM25Retriever(), BM25Retriever(relative=True)
    queries = ["weather of a city", "money", "nothing known"]
    for retriever in (plain, relative):
        retriever.index(catalog)
    scores_QN = plain.score_all(queries)
    assert relative.score_all(queries) == pytest.approx(scores_QN / np.maximum(scores_QN.max(1, keepdims=True), 1e-9))
    assert [one.scores[:1] for one in relative.search(queries, 3)] == [(1.0,), (1.0,), ()]
    assert [one.tools for one in relative.search(queries, 3)] == [one.tools for one in plain.search(queries, 3)]
    assert (relative.unit, relative.config) == ("share of the best BM25 score", {**plain.config, "relative": True})


def test_a_tool_without_a_word_of_the_request_is_not_ranked(catalog: Catalog) -> None:
    retriever = BM25Retriever()
    retriever.index(catalog)
    assert [ranking.tools for ranking in retriever.search(["qwertz asdf", "", "the", "money"], 4)] == [
        *[()] * 3,
        ("demo&&convert_currency",),
    ]


def test_nor_does_it_stand_in_a_sum_that_only_knows_words(catalog: Catalog, dense: DenseRetriever) -> None:
    alone, together = make_sum(["bm25", "bm25"], Resources()), SumRetriever([(BM25Retriever(), 0.5), (dense, 20.0)])
    sets = ToolSetRetriever(BM25Retriever(), [catalog.ids[:2]])
    for retriever in (alone, together, sets):
        retriever.index(catalog)
    assert alone.search(["money", "qwertz"], 6) == [
        Ranking(("demo&&convert_currency",), alone.search(["money"], 1)[0].scores),
        Ranking((), ()),
    ]
    assert sets.search(["qwertz"], 6) == [Ranking((), ())]
    assert together.search(["qwertz"], 6)[0].tools == dense.search(["qwertz"], 6)[0].tools


LANGUAGES = {
    "東京の天気予報を表示します": "明日の天気は？",
    "发送电子邮件给联系人": "我想发邮件",
    "降雨量查询": "明天有雨吗",
    "날씨를 알려줍니다": "오늘 날씨",
    "พยากรณ์อากาศประจำวัน": "วันนี้อากาศเป็นอย่างไร",
    "किसी शहर का मौसम बताता है": "मौसम कैसा है",
    "Réserve une table au cafe\u0301": "un CAFÉ pour deux",
    "Öffnet die Straßenkarte": "STRASSENKARTE bitte",
    "ＰＤＦファイルを結合": "pdf",
}


@pytest.mark.parametrize("wanted", LANGUAGES)
def test_a_request_finds_its_tool_in_every_language(wanted: str) -> None:
    catalog = Catalog(Tool(id=text, provider="", name=f"tool{i}", description=text) for i, text in enumerate(LANGUAGES))
    retriever = BM25Retriever()
    retriever.index(catalog)
    assert retriever.search(LANGUAGES[wanted], 1)[0].tools == (wanted,)


def test_the_order_of_the_catalog_changes_no_score(catalog: Catalog) -> None:
    scores = []
    for one in (catalog, Catalog(reversed(catalog))):
        retriever = BM25Retriever()
        retriever.index(one)
        ranking = retriever.search(["weather of the city"], len(one))[0]
        scores.append(dict(zip(ranking.tools, ranking.scores, strict=True)))
    assert scores[0] == pytest.approx(scores[1])


def test_a_large_catalog_is_indexed_once_and_gives_the_same_from_the_cache(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bm25, "CACHED_FROM", 1)
    monkeypatch.setattr(bm25, "_SAMPLES", 2)
    counted: list[int] = []
    found = []
    for _ in range(2):
        retriever = BM25Retriever(cache=tmp_path, on_progress=lambda done, _total: counted.append(done))
        retriever.index(catalog)
        found.append(retriever.search(["weather of a city"], 3))
    assert found[0] == found[1] and counted == [len(catalog)]
    changed = Catalog(catalog[1:])
    retriever = BM25Retriever(cache=tmp_path)
    retriever.index(changed)
    assert retriever.search(["weather"], 9)[0].tools == ("demo&&get_forecast",)
    (folder,) = tmp_path.iterdir()
    (folder / "params.index.json").write_text("{")
    retriever.index(changed)
    assert retriever.search(["weather of a city"], 1)[0].tools == ("demo&&get_forecast",)


def test_searching_before_indexing_says_so() -> None:
    with pytest.raises(UsageError, match="before index"):
        BM25Retriever().search(["weather"], 5)
