"""Sets of tools: the formula against a plain loop, what it changes, and what it leaves alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolgen.catalog import Catalog, Tool
from toolgen.errors import UsageError
from toolgen.retrieval import Ranking, Retriever, ToolSetRetriever

IDS = tuple(f"p&&{letter}" for letter in "abcdef")
CATALOG = Catalog(Tool(id=tool, provider="p", name=tool[-1]) for tool in IDS)


class Fixed:
    """Gives every request the same scores, the best first."""

    name = "fixed"

    def __init__(self, scores: Mapping[str, float]) -> None:
        self.scores = dict(sorted(scores.items(), key=lambda pair: -pair[1]))

    def index(self, catalog: Catalog) -> None:
        pass

    def search(self, queries: Sequence[str], k: int) -> list[Ranking]:
        return [Ranking(tuple(self.scores)[:k], tuple(self.scores.values())[:k]) for _ in queries]


def search(
    scores: Sequence[float],
    sets: Sequence[Sequence[str]],
    k: int = len(IDS),
    sharpness: float = 3.0,
    plain: float = 0.1,
) -> Ranking:
    base = Fixed(dict(zip(IDS, scores, strict=False)))
    retriever = ToolSetRetriever(base, sets, sharpness=sharpness, plain=plain)
    retriever.index(CATALOG)
    return retriever.search(["anything"], k)[0]


def by_hand(scores: Sequence[float], sets: Sequence[Sequence[str]], sharpness: float, plain: float) -> dict[str, float]:
    total = sum(map(math.exp, scores))
    p = {tool: math.exp(score) / total for tool, score in zip(IDS, scores, strict=True)}
    candidates = [(tool,) for tool in IDS] + [tuple(one) for one in sets]
    weights = [
        math.exp(sharpness * (sum(math.log(p[tool]) for tool in one) / len(one) + math.log(len(one))))
        for one in candidates
    ]
    return {
        tool: math.log(
            (1 - plain) * sum(w for w, one in zip(weights, candidates, strict=True) if tool in one) / sum(weights)
            + plain * p[tool]
        )
        for tool in IDS
    }


scores_of_all = st.lists(st.floats(-5, 5), min_size=len(IDS), max_size=len(IDS))
some_sets = st.lists(st.lists(st.sampled_from(IDS), min_size=2, max_size=4, unique=True).map(sorted), unique_by=tuple)


@given(scores=scores_of_all, sets=some_sets, sharpness=st.floats(0.5, 5), plain=st.floats(0.01, 1))
def test_scores_are_the_formula(scores: list[float], sets: list[list[str]], sharpness: float, plain: float) -> None:
    ranking = search(scores, sets, sharpness=sharpness, plain=plain)
    expected = by_hand(scores, sets, sharpness, plain)
    assert dict(zip(ranking.tools, ranking.scores, strict=True)) == pytest.approx(expected, abs=1e-9)
    assert list(ranking.scores) == sorted(ranking.scores, reverse=True)


@given(scores=scores_of_all)
def test_without_sets_the_order_is_the_base_s(scores: list[float]) -> None:
    scores = [round(score, 3) for score in scores]
    assert search(scores, []).tools == tuple(sorted(IDS, key=lambda tool: -scores[IDS.index(tool)]))


def test_a_tool_that_is_asked_for_together_with_the_best_ones_passes_one_that_is_not() -> None:
    scores = [5.0, 4.8, 1.1, 1.0, 0.0, 0.0]  # c is a little ahead of d, but a, b and d are a set
    assert search(scores, []).tools[:3] == IDS[:3]
    assert set(search(scores, [IDS[:2] + IDS[3:4]]).tools[:3]) == {*IDS[:2], IDS[3]}


def test_sets_with_unknown_tools_or_one_tool_and_repetitions_do_not_count() -> None:
    retriever = ToolSetRetriever(
        Fixed(dict.fromkeys(IDS, 1.0)), [(IDS[0], "p&&gone"), IDS[:1], IDS[:1] * 2, IDS[:2], IDS[1::-1]]
    )
    retriever.index(CATALOG)
    assert retriever.config["sets"] == 1
    assert retriever.name == "fixed (sets)" and isinstance(retriever, Retriever)


def test_what_the_base_does_not_rank_comes_last_and_nothing_breaks() -> None:
    ranking = search([3.0, 2.0], [IDS[:3]])
    assert set(ranking.tools) == set(IDS) and ranking.tools[0] in IDS[:2]
    assert all(map(math.isfinite, ranking.scores))
    nothing = ToolSetRetriever(Fixed({}), [])
    nothing.index(Catalog([]))
    assert nothing.search(["anything"], 3) == [Ranking((), ())]


def test_fewer_results_are_the_beginning_of_more() -> None:
    scores = [1.0, 2.0, 3.0, 2.5, 0.0, -1.0]
    assert search(scores, [IDS[2:4]], 2).tools == search(scores, [IDS[2:4]]).tools[:2]


def test_it_must_be_indexed_first() -> None:
    with pytest.raises(UsageError, match="before index"):
        ToolSetRetriever(Fixed({}), []).search(["x"], 1)
