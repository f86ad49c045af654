"""Search where a tool is several tokens: by the same retriever, against brute force over all tools."""

from __future__ import annotations

import math

import pytest
import torch

from toolgen.checkpoint import Checkpoint
from toolgen.errors import UsageError
from toolgen.retrieval import Resources, Retriever, RetrieverSpec, make_retriever
from toolgen.retrieval.generative import GenerativeRetriever
from toolgen.testing import tiny_catalog, tiny_checkpoint, tiny_dataset
from toolgen.virtualization import INDEXINGS, Indexing

SEVERAL: list[Indexing] = [one for one in INDEXINGS if one != "atomic"]
QUERIES = [query.text for query in tiny_dataset().queries["test"]][:3]
TOOLS = len(tiny_catalog())


@pytest.fixture(scope="module", params=SEVERAL)
def checkpoint(request: pytest.FixtureRequest) -> Checkpoint:
    return tiny_checkpoint(indexing=request.param)


def brute_force(checkpoint: Checkpoint, query: str) -> list[tuple[str, float]]:
    """All tools and no_tool by the probability of their tokens among those that one of them goes on with, best first."""
    prompt = checkpoint.protocol.prompt([{"role": "user", "content": query}])
    sequences = [*checkpoint.vocabulary.sequences, (checkpoint.vocabulary.no_tool_id,)]
    scored = []
    for tool, sequence in zip([*checkpoint.catalog.ids, "no_tool"], sequences, strict=True):
        with torch.inference_mode():
            logits = checkpoint.model(input_ids=torch.tensor([[*prompt, *sequence]])).logits[0].double()
        score = 0.0
        for place, token in enumerate(sequence):
            allowed = sorted({one[place] for one in sequences if one[:place] == sequence[:place] and len(one) > place})
            here = logits[len(prompt) - 1 + place]
            score += float(here[token] - here[allowed].logsumexp(0))
        scored.append((tool, math.exp(score)))
    return sorted(scored, key=lambda pair: -pair[1])


def test_the_ranking_of_all_tools_is_that_of_brute_force(checkpoint: Checkpoint) -> None:
    for query, ranking in zip(QUERIES, GenerativeRetriever(checkpoint).search(QUERIES, k=TOOLS), strict=True):
        expected, results = brute_force(checkpoint, query), ranking.with_no_tool(TOOLS + 1)
        assert results.tools == tuple(tool for tool, _ in expected)
        assert results.scores == pytest.approx([score for _, score in expected], rel=1e-3)
        assert math.fsum(results.scores) == pytest.approx(1, abs=1e-6)


def test_it_keeps_the_promises_of_a_retriever(checkpoint: Checkpoint) -> None:
    retriever = GenerativeRetriever(checkpoint)
    assert isinstance(retriever, Retriever)
    retriever.index(tiny_catalog())
    for k in (1, 4, 1000):
        for ranking in retriever.search(["a taxi", "", "天気"], k):
            assert len(ranking.tools) == len(set(ranking.tools)) == min(k, TOOLS)
            assert list(ranking.scores) == sorted(ranking.scores, reverse=True)
    assert retriever.search([], k=3) == []


@pytest.mark.parametrize("batch_tokens", [1, 10**6])
def test_a_batch_gives_what_each_query_gives_alone(checkpoint: Checkpoint, batch_tokens: int) -> None:
    queries = ["short", *QUERIES, "a rather long request " * 12]
    together = GenerativeRetriever(checkpoint, batch_tokens=batch_tokens).search(queries, k=5)
    for query, ranking in zip(queries, together, strict=True):
        (alone,) = GenerativeRetriever(checkpoint).search([query], k=5)
        assert ranking.tools == alone.tools
        assert ranking.scores == pytest.approx(alone.scores, abs=1e-4)


def test_a_narrow_beam_still_finds_k(checkpoint: Checkpoint) -> None:
    (ranking,) = GenerativeRetriever(checkpoint, beam=1).search(["a taxi"], k=4)
    assert len(ranking.tools) == 4


def test_a_request_longer_than_the_model_can_read_leaves_room_for_the_tool(checkpoint: Checkpoint) -> None:
    (ranking,) = GenerativeRetriever(checkpoint).search(["word " * 3000], k=3)
    assert len(ranking.tools) == 3


def test_unconstrained_search_is_refused(checkpoint: Checkpoint) -> None:
    with pytest.raises(
        UsageError, match=f"needs one token a tool; this checkpoint has {checkpoint.vocabulary.indexing}"
    ):
        make_retriever("generative-unconstrained", Resources(checkpoint=checkpoint))


def test_a_result_says_how_tools_are_spelled(checkpoint: Checkpoint) -> None:
    config = GenerativeRetriever(checkpoint, beam=7).config
    assert (config["indexing"], config["beam"]) == (checkpoint.vocabulary.indexing, 7)
    assert config["tokens_per_tool"] == pytest.approx(checkpoint.vocabulary.tokens_per_tool, abs=0.01)
    assert GenerativeRetriever(tiny_checkpoint()).config == {"indexing": "atomic", "tokens_per_tool": 1.0}


def test_a_beam_for_one_token_a_tool_is_refused() -> None:
    with pytest.raises(UsageError, match="exact without one"):
        GenerativeRetriever(tiny_checkpoint(), beam=3)


def test_sums_and_sets_work_with_every_indexing(checkpoint: Checkpoint) -> None:
    sets = [tiny_catalog().ids[:2]]
    for changed in ({"add": ("bm25",)}, {"sets": True}):
        retriever = make_retriever(
            RetrieverSpec(method="generative", **changed), Resources(checkpoint=checkpoint, tool_sets=sets)
        )
        retriever.index(tiny_catalog())
        (ranking,) = retriever.search(["a taxi"], k=5)
        assert len(set(ranking.tools)) == 5
