"""What is asked, how it is grouped and scored, and that every method gets the same terms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from toolgen.catalog import Catalog
from toolgen.datasets import Dataset
from toolgen.errors import DatasetError, InputError, UsageError
from toolgen.evaluation import RetrievalResult, evaluate_retrieval
from toolgen.evaluation.metrics import ndcg
from toolgen.retrieval import BM25Retriever, Ranking

if TYPE_CHECKING:
    from tests.evaluation.conftest import Told


class Odd:
    """Returns the same rankings whatever it is asked."""

    name = "odd"

    def __init__(self, *rankings: Ranking) -> None:
        self.rankings = list(rankings)

    def index(self, catalog: Catalog) -> None:
        pass

    def search(self, queries: Sequence[str], k: int) -> list[Ranking]:
        return self.rankings[: len(queries)]


def test_only_single_requests_with_a_relevant_tool_are_scored(dataset: Dataset, told: Told) -> None:
    result = evaluate_retrieval(told, dataset)
    assert [record.id for record in result.records] == ["asked", "two", "unasked", "mixed"]
    assert told.indexed is dataset.catalog


def test_every_request_asks_for_the_same_number_of_tools(dataset: Dataset, told: Told) -> None:
    evaluate_retrieval(told, dataset, depth=7, batch_size=3)
    assert set(told.asked) == {7}


def test_a_request_is_seen_if_training_asks_for_all_its_tools(measure: Callable[..., RetrievalResult]) -> None:
    assert {record.id: record.asked for record in measure().records} == {
        "asked": True,
        "two": True,
        "unasked": False,
        "mixed": False,
    }


def test_metrics_are_means_over_the_records_of_each_group(measure: Callable[..., RetrievalResult]) -> None:
    result = measure()
    assert list(result.metrics) == [
        "all", "asked", "unasked", "tools=1", "tools=2", "tools>=3", "words<=8", "category=parallel", "category=simple",
    ]  # fmt: skip
    by_id = {record.id: record for record in result.records}
    assert by_id["asked"].metrics["ndcg@1"] == 1.0
    assert by_id["two"].metrics["comp@3"] == 1.0
    assert by_id["two"].metrics["recall@1"] == 0.5
    assert by_id["mixed"].metrics["ndcg@5"] == ndcg(by_id["mixed"].ranked, by_id["mixed"].relevant, 5)
    assert result.metrics["asked"]["ndcg@1"].mean == 1.0
    assert result.metrics["unasked"]["ndcg@1"].mean == 0.0
    assert result.metrics["all"]["ndcg@1"].count == 4
    assert result.metrics["tools=1"]["recall@5"].mean == 0.5


def test_a_list_longer_than_asked_for_gains_nothing(dataset: Dataset) -> None:
    everything = Ranking(dataset.catalog.ids, tuple(-float(i) for i in range(12)))
    result = evaluate_retrieval(Odd(*[everything] * 4), dataset, depth=3)
    assert {len(record.ranked) for record in result.records} == {3}
    assert "ndcg@5" not in result.records[0].metrics


def test_a_retriever_that_breaks_its_protocol_is_named(dataset: Dataset) -> None:
    with pytest.raises(InputError, match="names a tool twice"):
        evaluate_retrieval(Odd(*[Ranking(("p&&t0", "p&&t0"), (1.0, 1.0))] * 4), dataset)
    with pytest.raises(InputError, match="0 rankings for 4 queries"):
        evaluate_retrieval(Odd(), dataset)


def test_splits_that_cannot_be_scored_are_refused(dataset: Dataset, told: Told) -> None:
    with pytest.raises(UsageError, match="no split 'tset'"):
        evaluate_retrieval(told, dataset, "tset")
    with pytest.raises(DatasetError, match="nothing to score"):
        evaluate_retrieval(told, dataset, "dev")


def test_progress_and_limit(dataset: Dataset, told: Told) -> None:
    seen: list[tuple[int, int]] = []
    result = evaluate_retrieval(
        told, dataset, limit=3, batch_size=2, on_progress=lambda done, total: seen.append((done, total))
    )
    assert len(result.records) == 3
    assert seen == [(2, 3), (3, 3)]


def test_a_result_says_where_it_comes_from(dataset: Dataset) -> None:
    result = evaluate_retrieval(BM25Retriever(), dataset, config={"checkpoint": "here"})
    origin = result.provenance
    assert origin.dataset["name"] == "demo"
    assert origin.catalog == {"tools": 12, "hash": dataset.catalog.content_hash}
    assert origin.config["retriever"] == {"name": "bm25", "form": "lucene", "k1": 1.5, "b": 0.6}
    assert origin.config["checkpoint"] == "here"
    assert origin.hardware["cores"] >= 1
    assert origin.seconds >= 0
    assert "numpy" in origin.versions
    assert result.latency["median_ms"] > 0


def test_in_domain_only_tools_that_the_split_needs_are_candidates(dataset: Dataset, told: Told) -> None:
    needed = {tool for query in dataset.queries["test"] for tool in query.tools}
    whole, inner = evaluate_retrieval(told, dataset), evaluate_retrieval(told, dataset, candidates="split")
    for before, after in zip(whole.records, inner.records, strict=True):
        order = told.answers[before.text]
        assert list(after.ranked) == [tool for tool in order if tool in needed][: inner.depth]
    assert inner.provenance.config["candidates"] == "split"


@pytest.mark.parametrize(("words", "group"), [(8, "words<=8"), (9, "words=9-20"), (20, "words=9-20"), (21, "words>20")])
def test_requests_are_grouped_by_their_words(dataset: Dataset, words: int, group: str) -> None:
    long = replace(dataset.queries["test"][0], text="word " * words)
    one = replace(dataset, queries={**dataset.queries, "test": (long,)})
    result = evaluate_retrieval(Odd(Ranking(("p&&t0",), (1.0,))), one)
    assert group in result.metrics
