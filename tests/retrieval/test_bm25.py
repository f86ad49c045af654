"""BM25 against its formula written out."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pytest

from toolgen.catalog import Catalog
from toolgen.catalog.text import document
from toolgen.catalog.words import words
from toolgen.errors import UsageError
from toolgen.retrieval import BM25Retriever, bm25


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


@pytest.mark.parametrize(("k1", "b"), [(1.5, 0.2), (1.2, 0.75), (0.9, 0.0)])
@pytest.mark.parametrize("query", ["weather of a city", "weather weather city money", "copies a text", "nothing known"])
def test_scores_follow_the_formula(catalog: Catalog, query: str, k1: float, b: float) -> None:
    retriever = BM25Retriever(k1=k1, b=b)
    retriever.index(catalog)
    ranking = retriever.search([query], len(catalog))[0]
    expected = dict(zip(catalog.ids, bm25_by_hand(query, catalog, k1, b), strict=True))
    assert [expected[tool] for tool in ranking.tools] == pytest.approx(ranking.scores, abs=1e-5)


def test_a_query_of_unknown_words_keeps_catalog_order(catalog: Catalog) -> None:
    retriever = BM25Retriever()
    retriever.index(catalog)
    assert retriever.search(["qwertz asdf"], 4)[0].tools == catalog.ids[:4]


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
    changed = Catalog(catalog[:-1])
    retriever = BM25Retriever(cache=tmp_path)
    retriever.index(changed)
    assert len(retriever.search(["weather"], 9)[0].tools) == len(changed)
    (folder,) = tmp_path.iterdir()
    (folder / "params.index.json").write_text("{")
    retriever.index(changed)
    assert retriever.search(["weather of a city"], 1)[0].tools == found[0][0].tools[:1]


def test_searching_before_indexing_says_so() -> None:
    with pytest.raises(UsageError, match="before index"):
        BM25Retriever().search(["weather"], 5)
