"""Sums of logits: the formula, what a member does not rank, and names."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolgen.catalog import Catalog, Tool
from toolgen.errors import UsageError
from toolgen.retrieval import (
    BM25Retriever,
    Ranking,
    Resources,
    Retriever,
    RetrieverSpec,
    SumRetriever,
    make_retriever,
    make_sum,
)

IDS = tuple(f"p&&{letter}" for letter in "abcd")
CATALOG = Catalog(Tool(id=tool, provider="p", name=tool[-1], description=f"about {tool[-1]}") for tool in IDS)


class Fixed:
    """Gives every request these scores, the best first; None is not ranked."""

    name = "fixed"

    def __init__(self, *scores: float | None) -> None:
        pairs = [(tool, score) for tool, score in zip(IDS, scores, strict=True) if score is not None]
        self.pairs = sorted(pairs, key=lambda pair: -pair[1])

    def index(self, catalog: Catalog) -> None:
        pass

    def search(self, queries: Sequence[str], k: int) -> list[Ranking]:
        tools, scores = zip(*self.pairs[:k], strict=True) if self.pairs else ((), ())
        return [Ranking(tools, scores) for _ in queries]


class Scored(Fixed):
    """The same for those of the tools that are indexed."""

    def index(self, catalog: Catalog) -> None:
        self._ids = catalog.ids

    def search(self, queries: Sequence[str], k: int) -> list[Ranking]:
        left = [pair for pair in self.pairs if pair[0] in self._ids][:k]
        return [Ranking(tuple(tool for tool, _ in left), tuple(score for _, score in left)) for _ in queries]


def search(*members: tuple[Retriever, float], k: int = len(IDS), bonus: float = 0.0) -> Ranking:
    retriever = SumRetriever(members, unasked_bonus=bonus, asked_tools=[IDS[0], IDS[2], "gone&&tool"])
    retriever.index(CATALOG)
    return retriever.search(["anything"], k)[0]


numbers = st.lists(st.floats(-10, 10), min_size=len(IDS), max_size=len(IDS))


@given(first=numbers, second=numbers, weight=st.floats(0, 30))
def test_scores_are_weighted_sums(first: list[float], second: list[float], weight: float) -> None:
    ranking = search((Fixed(*first), 1.0), (Fixed(*second), weight))
    expected = {tool: a + weight * b for tool, a, b in zip(IDS, first, second, strict=True)}
    assert dict(zip(ranking.tools, ranking.scores, strict=True)) == pytest.approx(expected, abs=1e-9)
    assert list(ranking.scores) == sorted(ranking.scores, reverse=True)


def test_a_sure_member_outweighs_one_that_hardly_prefers_anything() -> None:
    sure, unsure = Fixed(9.0, 1.0, 0.0, 0.0), Fixed(0.0, 0.3, 0.2, 0.1)
    assert search((sure, 1.0), (unsure, 1.0)).tools[0] == IDS[0]


def test_a_tool_that_a_member_does_not_rank_gets_its_least_score() -> None:
    ranking = search((Fixed(3.0, 2.0, None, None), 1.0), (Fixed(0.0, 0.0, 5.0, 0.0), 1.0), k=1)
    assert (ranking.tools, ranking.scores) == ((IDS[2],), (7.0,))
    assert search((Fixed(None, None, None, None), 1.0), (Fixed(1.0, 4.0, 2.0, 3.0), 1.0)).tools[0] == IDS[1]


def test_a_sum_is_recorded_with_its_weights_and_needs_one() -> None:
    made = make_retriever(RetrieverSpec(method="bm25", add=("bm25",)))
    assert isinstance(made, SumRetriever)
    assert [member["weight"] for member in made.config["members"]] == [8.0, 8.0]
    made.index(CATALOG)
    assert made.search(["about c"], 1)[0].tools == (IDS[2],)
    with pytest.raises(UsageError, match="at least one"):
        SumRetriever([])


def test_in_a_sum_bm25_gives_its_best_tool_as_many_logits_whatever_the_request() -> None:
    made = make_sum(["bm25"], Resources())
    made.index(CATALOG)
    scores_QN = made.score_all(["c", "about c, or about b", "nothing known"])
    assert scores_QN.max(1).tolist() == [8.0, 8.0, 0.0]


@pytest.mark.parametrize(
    ("methods", "beside", "taught", "weight"),
    [
        (["bm25"], ["generative"], True, 0.5),
        (["bm25"], ["generative"], False, 8.0),
        (["bm25"], [], True, 8.0),
        (["bm25"], ["toolretriever"], False, 0.5),
    ],
)
def test_beside_a_method_that_requests_have_taught_bm25_counts_by_its_scores(
    methods: list[str], beside: list[str], taught: bool, weight: float
) -> None:
    resources = Resources(checkpoint=cast("Any", SimpleNamespace(is_taught=taught)))
    made = make_sum(methods, resources, beside=beside)
    made.index(CATALOG)
    assert made.weights == (weight,)
    shares = [one.config.get("relative", False) for one in made.parts if isinstance(one, BM25Retriever)]
    assert shares == [weight == 8.0]


def test_a_bonus_lifts_the_tools_that_no_training_request_asks_for() -> None:
    ranking = search((Fixed(3.0, 2.5, 1.0, 0.9), 1.0), bonus=0.75)
    assert ranking.tools == (IDS[1], IDS[0], IDS[3], IDS[2])
    assert ranking.scores == pytest.approx((3.25, 3.0, 1.65, 1.0))


def test_a_bonus_goes_with_one_method_or_several_and_says_when_nothing_was_asked_for() -> None:
    spec = RetrieverSpec(method="bm25", unasked_bonus=0.75)
    made = make_retriever(spec, Resources(asked_tools=IDS[:1]))
    assert isinstance(made, SumRetriever) and made.name == "bm25+unasked"
    assert ([part.name for part in made.parts], made.weights) == (["bm25"], (8.0,))
    assert (made.config["unasked_bonus"], "unasked_bonus" in make_sum(["bm25"], Resources()).config) == (0.75, False)
    with pytest.raises(UsageError, match="which tools training requests ask for"):
        make_retriever(spec)


def test_many_queries_are_scored_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    class Counted(Fixed):
        def search(self, queries: Sequence[str], k: int) -> list[Ranking]:
            sizes.append(len(queries))
            return super().search(queries, k)

    summed = SumRetriever([(Counted(1.0, 2.0, 0.5, 0.0), 1.0)])
    summed.index(CATALOG)
    monkeypatch.setattr("toolgen.retrieval.summed.SCORES_AT_ONCE", 2 * len(IDS))
    assert summed.search(["a", "b", "c"], 2) == [Ranking((IDS[1], IDS[0]), (2.0, 1.0))] * 3
    assert sizes == [2, 1]


def test_hidden_tools_are_not_there_for_any_member() -> None:
    words = dict(zip(IDS, ["money money money", "money rain snow", "rain snow wind", "sun moon star"], strict=True))
    catalog = Catalog(Tool(id=tool, provider="p", name=tool[-1], description=text) for tool, text in words.items())
    fixed, bm25 = Scored(2.0, 1.5, 1.0, 0.5), BM25Retriever(relative=True)
    hidden = [(), IDS[:1], IDS[:2], IDS, ["gone&&tool"]]
    summed = SumRetriever([(fixed, 1.0), (bm25, 8.0)])
    summed.index(catalog)
    before = summed.search(["money"], 4)
    found = summed.search_without(["money"] * len(hidden), 4, hidden)
    for ranking, tools in zip(found, hidden, strict=True):
        part = Catalog(tool for tool in catalog if tool.id not in tools)
        masked = SumRetriever([(fixed, 1.0), (bm25, 8.0)])
        masked.index(part)
        (expected,) = masked.search(["money"], 4)
        assert ranking.tools == expected.tools
        assert ranking.scores == pytest.approx(expected.scores, abs=1e-5)
    summed.index(catalog)
    assert summed.search(["money"], 4) == before
    assert [one.scores[:1] for one in found] == [(10.0,), (9.5,), (1.0,), (), (10.0,)]
    assert summed.scores_among("money", IDS[1:])[1:].tolist() == pytest.approx([9.5, 1.0, 0.5], abs=1e-5)
    assert summed.scores_among("money", None).tolist() == summed.score_all(["money"])[0].tolist()


def test_a_request_that_hides_different_tools_is_scored_once() -> None:
    asked: list[str] = []

    class Counted(Fixed):
        def search(self, queries: Sequence[str], k: int) -> list[Ranking]:
            asked.extend(queries)
            return super().search(queries, k)

    summed = SumRetriever([(Counted(1.0, 2.0, 0.5, 0.0), 1.0)])
    summed.index(CATALOG)
    assert [one.tools for one in summed.search_without(["a", "a", "b"], 1, [(), IDS[1:2], ()])] == [
        (IDS[1],),
        (IDS[0],),
        (IDS[1],),
    ]
    assert asked == ["a", "b"]
