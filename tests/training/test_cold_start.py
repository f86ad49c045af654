"""A catalog without requests: the rows that find most on requests by rules are taken, and the history says which."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from toolgen.checkpoint import Checkpoint
from toolgen.retrieval import Resources, make_sum
from toolgen.retrieval.generative import GenerativeRetriever
from toolgen.testing import tiny_checkpoint
from toolgen.training.cold_start import fit_documentation, requests_by_rule
from toolgen.virtualization import output_rows


def fitted(checkpoint: Checkpoint) -> Checkpoint:
    teacher = make_sum(["bm25"], Resources())
    teacher.index(checkpoint.catalog)
    return fit_documentation(checkpoint, teacher.score_all)


def found(checkpoint: Checkpoint) -> float:
    texts, tools = zip(*requests_by_rule(checkpoint), strict=True)
    rankings = GenerativeRetriever(checkpoint).search(texts, k=5)
    ids = [checkpoint.catalog.ids[tool] for tool in tools]
    first = np.mean([ranking.tools[0] == tool for ranking, tool in zip(rankings, ids, strict=True)])
    five = np.mean([tool in ranking.tools for ranking, tool in zip(rankings, ids, strict=True)])
    return float(first + five) / 2


def test_the_rows_that_find_most_are_taken() -> None:
    before, after = tiny_checkpoint(), fitted(tiny_checkpoint())
    entry = after.stages[-1]
    assert entry.config["rows"] != "made" and entry.result[entry.config["rows"]] > entry.result["made"]
    teacher = make_sum(["bm25"], Resources())
    teacher.index(after.catalog)
    assert entry.result["made"] == pytest.approx(found(before), abs=0.1)
    texts = [tool.description or tool.name for tool in after.catalog]
    wanted = teacher.score_all(texts).argmax(1)
    agreement = [(GenerativeRetriever(one).score_all(texts).argmax(1) == wanted).mean() for one in (before, after)]
    assert agreement[1] > agreement[0]
    assert after.text_states is not None and len(after.text_states) == len(after.catalog)


def test_a_model_that_knows_better_keeps_its_rows() -> None:
    checkpoint = tiny_checkpoint()
    with torch.no_grad():  # a model that answers these very requests
        texts, tools = zip(*requests_by_rule(checkpoint), strict=True)
        states = GenerativeRetriever(checkpoint).hidden_states(texts)
        own = [checkpoint.vocabulary.token_id(checkpoint.catalog.ids[tool]) for tool in tools]
        solution = torch.linalg.lstsq(states, 50 * torch.eye(len(own))).solution
        output_rows(checkpoint.model)[own] = solution.T
    before = output_rows(checkpoint.model).detach().clone()

    def nonsense(texts: Sequence[str]) -> np.ndarray:
        return np.random.default_rng(len(texts)).normal(size=(len(texts), len(checkpoint.catalog)))

    after = fit_documentation(checkpoint, nonsense)
    assert after.stages[-1].config["rows"] == "made"
    assert torch.equal(output_rows(after.model), before)
