"""Metrics by hand, against pytrec_eval, and by their properties on random rankings."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolgen.errors import InputError
from toolgen.evaluation.metrics import comp, ndcg, ndcg_toolgen, recall

IDS = [f"t{i:02d}" for i in range(20)]
Case = tuple[list[str], list[str], int]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A ranking of up to 20 distinct tools, 1 to 6 relevant ones, a cutoff."""
    ranked = draw(st.permutations(IDS))[: draw(st.integers(0, 20))]
    relevant = draw(st.lists(st.sampled_from(IDS), min_size=1, max_size=6, unique=True))
    return ranked, relevant, draw(st.integers(1, 12))


def test_ndcg_by_hand() -> None:
    # Relevant tools at places 1 and 3 of three relevant ones.
    gain = 1 + 1 / math.log2(4)
    ideal = 1 + 1 / math.log2(3) + 1 / math.log2(4)
    assert ndcg(["a", "x", "b", "y"], ["a", "b", "c"], 5) == pytest.approx(gain / ideal)
    assert ndcg(["a", "x", "b", "y"], ["a", "b", "c"], 2) == pytest.approx(1 / (1 + 1 / math.log2(3)))
    assert ndcg(["a"], ["a"], 1) == 1.0
    assert ndcg(["x", "a"], ["a"], 1) == 0.0
    assert ndcg([], ["a"], 5) == 0.0


def test_recall_and_comp_by_hand() -> None:
    assert recall(["a", "x", "b"], ["a", "b", "c"], 3) == pytest.approx(2 / 3)
    assert recall(["a", "x", "b"], ["a", "b", "c"], 1) == pytest.approx(1 / 3)
    assert comp(["a", "x", "b"], ["a", "b"], 3) == 1.0
    assert comp(["a", "x", "b"], ["a", "b"], 2) == 0.0


def test_the_original_variant_forgives_what_was_not_returned() -> None:
    assert ndcg(["a", "x"], ["a", "b"], 5) == pytest.approx(1 / (1 + 1 / math.log2(3)))
    assert ndcg_toolgen(["a", "x"], ["a", "b"], 5) == 1.0
    assert ndcg_toolgen(["x", "a"], ["a", "b"], 5) == pytest.approx(1 / math.log2(3))
    assert ndcg_toolgen(["x"], ["a"], 5) == 0.0


@pytest.mark.parametrize("metric", [ndcg, recall, comp, ndcg_toolgen])
def test_a_query_without_a_relevant_tool_is_refused(metric: Callable[..., float]) -> None:
    with pytest.raises(InputError, match="at least one relevant tool"):
        metric(["a"], [], 5)


@given(cases())
def test_ndcg_and_recall_equal_pytrec_eval(case: Case) -> None:
    pytrec_eval = pytest.importorskip("pytrec_eval")
    ranked, relevant, k = case
    measures = {f"ndcg_cut.{k}", f"recall.{k}"}
    evaluator = pytrec_eval.RelevanceEvaluator({"q": dict.fromkeys(relevant, 1)}, measures)
    # trec_eval breaks ties by document id, so the places are given as scores; an empty run is no run to it.
    run = {tool: float(len(ranked) - place) for place, tool in enumerate(ranked)}
    expected = evaluator.evaluate({"q": run or {"none": 0.0}})["q"]
    assert ndcg(ranked, relevant, k) == pytest.approx(expected[f"ndcg_cut_{k}"])
    assert recall(ranked, relevant, k) == pytest.approx(expected[f"recall_{k}"])


@given(cases())
def test_ndcg_equals_the_best_order_found_by_trying(case: Case) -> None:
    ranked, relevant, k = case

    def gain(order: list[str]) -> float:
        return math.fsum(1 / math.log2(i + 2) for i, tool in enumerate(order[:k]) if tool in relevant)

    ideal = max(gain(relevant[:used] + ["-"] * 3 + relevant[used:]) for used in range(len(relevant) + 1))
    assert ndcg(ranked, relevant, k) == pytest.approx(gain(ranked) / ideal)


@given(cases())
def test_metrics_stay_within_bounds_and_agree_with_each_other(case: Case) -> None:
    ranked, relevant, k = case
    for metric in (ndcg, recall, comp, ndcg_toolgen):
        assert 0.0 <= metric(ranked, relevant, k) <= 1.0 + 1e-12
    assert (comp(ranked, relevant, k) == 1.0) == (recall(ranked, relevant, k) == 1.0)
    assert ndcg_toolgen(ranked, relevant, k) >= ndcg(ranked, relevant, k) - 1e-12
    assert recall(ranked, relevant, k + 1) >= recall(ranked, relevant, k)


@given(cases(), st.randoms())
def test_the_order_of_the_relevant_tools_and_repetitions_do_not_matter(case: Case, random: object) -> None:
    ranked, relevant, k = case
    shuffled = relevant[::-1] + relevant[:1]
    for metric in (ndcg, recall, comp, ndcg_toolgen):
        assert metric(ranked, relevant, k) == metric(ranked, shuffled, k)


@given(cases())
def test_moving_a_relevant_tool_up_never_lowers_ndcg(case: Case) -> None:
    ranked, relevant, k = case
    for place in range(1, len(ranked)):
        if ranked[place] in relevant and ranked[place - 1] not in relevant:
            better = [*ranked[: place - 1], ranked[place], ranked[place - 1], *ranked[place + 1 :]]
            assert ndcg(better, relevant, k) >= ndcg(ranked, relevant, k)
