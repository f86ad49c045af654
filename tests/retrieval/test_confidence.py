"""Confidence: it is the probability that the first tool is right, and a threshold keeps its promise about declining."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from toolgen.catalog import Catalog, Tool
from toolgen.checkpoint.calibration import Calibration
from toolgen.errors import UsageError
from toolgen.retrieval import ConfidentRetriever, Ranking, Resources, calibrate, make_sum
from toolgen.retrieval.confidence import evidence
from toolgen.retrieval.generative import GenerativeRetriever
from toolgen.testing import tiny_checkpoint

TOOLS = ("a", "b", "c", "d")


class Numbered:
    """Ranks for the text of a seed: tool `a` first with a logit that says how likely that is right."""

    name = "numbered"
    unit = "logit"

    def index(self, catalog: Catalog) -> None:
        pass

    def search(self, queries: Sequence[str], k: int) -> list[Ranking]:
        return [self._ranking(float(query.partition(" ")[0])).first(k) for query in queries]

    def _ranking(self, logit: float) -> Ranking:
        return Ranking(TOOLS, (logit, -5.0, -6.0, -7.0))


def requests(count: int, seed: int = 0) -> list[tuple[str, tuple[str, ...]]]:
    """The first tool is right with the probability that its logit stands for; otherwise none is."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, count)
    right = random.random(count) < 1 / (1 + np.exp(-logits))
    return [(f"{logit} {i}", ("a",) if one else ()) for i, (logit, one) in enumerate(zip(logits, right, strict=True))]


def test_confidence_is_how_often_the_first_tool_is_right() -> None:
    calibration = calibrate(Numbered(), requests(3000))
    new = requests(3000, seed=1)
    found = ConfidentRetriever(Numbered(), calibration).search([text for text, _ in new], 1)
    sure = np.array([ranking.confidence for ranking in found])
    right = np.array([tools == ("a",) for _, tools in new])
    for low in (0.1, 0.3, 0.5, 0.7):
        part = (sure >= low) & (sure < low + 0.2)
        assert right[part].mean() == pytest.approx(sure[part].mean(), abs=0.07)
    assert all(ranking.tools == ("a",) and ranking.is_unsure is None for ranking in found)


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.2, 1.0])
def test_at_most_the_share_asked_for_of_answerable_requests_is_declined(rate: float) -> None:
    calibration = calibrate(Numbered(), requests(2000))
    answerable = [text for text, tools in requests(4000, seed=2) if tools]
    found = ConfidentRetriever(Numbered(), calibration, rate).search(answerable, 2)
    declined = np.mean([ranking.is_declined for ranking in found])
    assert declined <= rate + 0.02 and declined >= rate - 0.03


def test_hidden_tools_teach_what_an_unanswerable_request_looks_like() -> None:
    catalog_only = [(f"{logit} {i}", ("a",)) for i, logit in enumerate(np.linspace(2, 6, 50))]
    calibration = calibrate(Numbered(), catalog_only)
    sure, unsure = (Numbered()._ranking(logit) for logit in (5.0, -6.0))
    assert calibration.confidence(evidence(sure)) > 0.9 > 0.1 > calibration.confidence(evidence(unsure))


def test_where_tools_are_hidden_bm25_gives_the_best_of_the_others_as_many_logits() -> None:
    texts = {"a": "money money money", "b": "money rain snow", "c": "rain wind sun"}
    retriever = make_sum(["bm25"], Resources())
    retriever.index(Catalog(Tool(id=name, provider="p", name=name, description=text) for name, text in texts.items()))
    answered = [("money", ("a",)), ("rain", ("b",)), ("snow", ("c",)), ("rain", ())]
    calibration = calibrate(retriever, answered)
    assert calibration.weights[1] == 0  # the first tool has 8 logits, right or wrong, hidden or not
    assert calibration.weights[2] != 0
    assert calibrate(ConfidentRetriever(retriever, calibration), answered) == calibration


def test_evidence_is_in_logits_also_where_scores_are_probabilities() -> None:
    checkpoint = tiny_checkpoint()
    retriever = GenerativeRetriever(checkpoint)
    (ranking,), logits_N = retriever.search(["weather in Oslo"], 3), retriever.score_all(["weather in Oslo"])[0]
    top, second = np.sort(logits_N)[::-1][:2]
    assert evidence(ranking)[:2] == pytest.approx((top, top - second), abs=1e-4)


def test_a_sum_tells_by_how_much_its_model_would_decline() -> None:
    checkpoint = tiny_checkpoint()
    alone, text = GenerativeRetriever(checkpoint), "weather in Oslo"
    summed = make_sum(["generative", "bm25"], Resources(checkpoint=checkpoint))
    summed.index(checkpoint.catalog)
    (ranking,) = alone.search([text], 3)
    best, second = ranking.tools[:2]
    (whole,) = summed.search([text], 2)
    assert evidence(whole)[2] == pytest.approx(evidence(ranking)[2], abs=1e-4)
    (without,) = summed.search_without([text], 2, [[best]])
    logits_N = alone.score_all([text])[0]
    first, other = (logits_N[checkpoint.catalog.position(tool)] for tool in (best, second))
    assert evidence(without)[2] == pytest.approx(evidence(whole)[2] + first - other, abs=1e-4), "of the tools left"
    assert summed.search_without([text], 2, [checkpoint.catalog.ids])[0].declining is None
    bm25 = make_sum(["bm25"], Resources())
    bm25.index(checkpoint.catalog)
    assert bm25.search([text], 2)[0].declining is None


def test_a_calibration_needs_an_answerable_request_and_few_are_never_all_declined() -> None:
    with pytest.raises(UsageError, match="requests that some tool answers"):
        calibrate(Numbered(), [("1.0", ())])
    few = Calibration(weights=(0.0, 1.0, 0.0, 0.0), confidences=(0.2, 0.4, 0.9))
    assert [few.threshold(rate) for rate in (0.0, 0.05, 0.25, 0.5, 1.0)] == [0.0, 0.0, 0.2, 0.4, 0.9]
    empty = type("Empty", (Numbered,), {"_ranking": lambda *_: Ranking((), ())})()
    nothing = ConfidentRetriever(empty, few, 0.1)
    assert nothing.search(["1.0"], 1)[0].is_unsure is True
