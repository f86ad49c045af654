"""Declining: the area is that of all pairs, and risk is counted over the surest requests."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from toolgen.catalog import Catalog
from toolgen.datasets import Dataset, Query
from toolgen.evaluation import evaluate_retrieval
from toolgen.evaluation.declining import POINTS, judge_declining
from toolgen.evaluation.results import RetrievalResult
from toolgen.retrieval import Ranking


def ranking(score: float, **known: float | bool) -> Ranking:
    return replace(Ranking(("a",), (score,)), **known)  # type: ignore[arg-type]


def test_the_area_is_the_share_of_pairs_in_order() -> None:
    random = np.random.default_rng(0)
    sure, unsure = random.integers(0, 9, 40).tolist(), random.integers(-4, 6, 25).tolist()
    found = judge_declining([ranking(s) for s in sure], [True] * 40, [ranking(s) for s in unsure])
    pairs = [1.0 if a > b else 0.5 * (a == b) for a, b in itertools.product(sure, unsure)]
    assert found.auc.mean == pytest.approx(np.mean(pairs)) and found.sign == "first score"
    assert found.auc.low < found.auc.mean < found.auc.high and found.auc.count == 65


def test_the_interval_holds_the_true_area_about_as_often_as_it_says() -> None:
    random, held = np.random.default_rng(1), 0
    for _ in range(200):
        sure, unsure = random.normal(1, 1, 60), random.normal(0, 1, 40)
        found = judge_declining([ranking(s) for s in sure], [True] * 60, [ranking(s) for s in unsure]).auc
        held += found.low <= 0.7602 <= found.high  # of two normal distributions one apart: Phi(1 / sqrt(2))
    assert 0.89 <= held / 200 <= 0.99


def test_risk_is_the_share_of_wrong_first_tools_among_the_surest() -> None:
    answerable = [ranking(0, confidence=one) for one in (0.9, 0.8, 0.3)]
    others = [ranking(0, confidence=0.5, is_unsure=True)]
    found = judge_declining(answerable, [True, False, True], others)
    assert found.sign == "confidence" and found.declined == (0.0, 1.0)
    np.testing.assert_allclose(found.risk_coverage, [(0.25, 0.0), (0.5, 0.5), (0.75, 2 / 3), (1.0, 0.5)])
    assert len(judge_declining(answerable * 40, [True] * 120, others * 40).risk_coverage) == POINTS
    told = [ranking(0.2, no_tool=0.1), ranking(0.3, no_tool=0.9)]
    assert judge_declining(told[:1], [True], told[1:]).sign == "1 - no_tool"


def test_an_evaluation_with_requests_that_none_answers_has_it_and_keeps_it(dataset: Dataset) -> None:
    class Unsure:
        name = "unsure"

        def index(self, catalog: Catalog) -> None:
            pass

        def search(self, queries: Sequence[str], k: int) -> list[Ranking]:
            return [Ranking(("p&&t0",), (0.1 if "nothing" in text else 0.9,)) for text in queries]

    result = evaluate_retrieval(Unsure(), dataset)
    assert result.declining is not None and result.declining.auc.mean == 1.0
    assert (result.declining.answerable, result.declining.unanswerable) == (4, 1)
    assert RetrievalResult.from_dict(result.to_dict()) == result
    assert result.sound_declining is None
    wrong = Query(id="wrong", text="p0", tools=(), faults=("a tool fits",))
    more = replace(dataset, queries={"test": (*dataset.queries["test"], wrong)})
    both = evaluate_retrieval(Unsure(), more)
    assert both.declining is not None and both.declining.unanswerable == 2 and both.declining.auc.mean == 0.75
    assert both.sound_declining == result.declining
    assert RetrievalResult.from_dict(both.to_dict()) == both
    alone = replace(dataset, queries={"test": tuple(dataset.searches("test"))})
    assert evaluate_retrieval(Unsure(), alone).declining is None
