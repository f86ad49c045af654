"""One forward pass is the search: against brute force over the full vocabulary, in batches and alone."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch

from toolgen.catalog import Catalog
from toolgen.catalog.transforms import select_tools
from toolgen.checkpoint import Checkpoint
from toolgen.errors import UsageError
from toolgen.retrieval import Retriever
from toolgen.retrieval.generative import GenerativeRetriever
from toolgen.testing import ARCHITECTURES, Architecture, tiny_catalog, tiny_checkpoint, tiny_dataset

QUERIES = [query.text for query in tiny_dataset().queries["test"]]
TOOLS = len(tiny_catalog())


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return tiny_checkpoint()


def all_logits(checkpoint: Checkpoint, query: str) -> torch.Tensor:
    ids = checkpoint.protocol.prompt([{"role": "user", "content": query}])
    with torch.inference_mode():
        logits: torch.Tensor = checkpoint.model(input_ids=torch.tensor([ids])).logits[0, -1]
    return logits


def brute_force(checkpoint: Checkpoint, query: str) -> dict[str, float]:
    """All tools and no_tool by the probability of their tokens among theirs, which the whole model gives; best first."""
    names = ["no_tool", *checkpoint.catalog.ids]
    logits = all_logits(checkpoint, query)[[checkpoint.vocabulary.token_id(name) for name in names]]
    scored = dict(zip(names, logits.double().softmax(0).tolist(), strict=True))
    return dict(sorted(scored.items(), key=lambda pair: -pair[1]))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_the_ranking_is_that_of_the_full_vocabulary_restricted_to_tools(architecture: Architecture, tied: bool) -> None:
    checkpoint = tiny_checkpoint(architecture=architecture, tied=tied, extra_rows=50)
    for query, ranking in zip(QUERIES, GenerativeRetriever(checkpoint).search(QUERIES, k=5), strict=True):
        expected = brute_force(checkpoint, query)
        results = ranking.with_no_tool(5)
        assert results.scores == pytest.approx([*expected.values()][:5], abs=1e-5)
        assert results.tools == tuple(expected)[:5]
        assert ranking.no_tool == pytest.approx(expected.pop("no_tool"), abs=1e-5)
        assert ranking.tools == tuple(expected)[:5]


def test_a_bias_of_the_output_matrix_counts() -> None:
    checkpoint = tiny_checkpoint(tied=False)
    head = checkpoint.model.get_output_embeddings()
    head.bias = torch.nn.Parameter(torch.randn(head.weight.shape[0], generator=torch.Generator().manual_seed(1)))
    (ranking,) = GenerativeRetriever(checkpoint).search(QUERIES[:1], k=TOOLS)
    assert ranking.with_no_tool(TOOLS + 1).tools == tuple(brute_force(checkpoint, QUERIES[0]))


def test_the_probabilities_of_all_tools_and_of_no_tool_sum_to_one(checkpoint: Checkpoint) -> None:
    for ranking in GenerativeRetriever(checkpoint).search(QUERIES, k=10**6):
        assert ranking.no_tool and sum(ranking.scores) + ranking.no_tool == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("batch_tokens", [1, 64, 10**6])
def test_a_batch_gives_what_each_query_gives_alone_in_the_order_asked(
    checkpoint: Checkpoint, batch_tokens: int
) -> None:
    queries = ["short", *QUERIES, "a rather long request " * 12, "short"]
    together = GenerativeRetriever(checkpoint, batch_tokens=batch_tokens).search(queries, k=TOOLS)
    for query, ranking in zip(queries, together, strict=True):
        (alone,) = GenerativeRetriever(checkpoint).search([query], k=TOOLS)
        assert ranking.tools == alone.tools
        assert ranking.scores == pytest.approx(alone.scores, abs=1e-4)


def test_short_requests_and_long_ones_share_a_pass_without_padding(checkpoint: Checkpoint) -> None:
    queries = ["a taxi", "a long request " * 20, *["a taxi"] * 9]
    prompts = [checkpoint.protocol.prompt([{"role": "user", "content": query}]) for query in queries]
    shapes: list[tuple[int, ...]] = []
    hook = checkpoint.model.base_model.register_forward_pre_hook(
        lambda _module, _args, inputs: shapes.append(tuple(inputs["input_ids"].shape)), with_kwargs=True
    )
    try:
        GenerativeRetriever(checkpoint, batch_tokens=10**6).search(queries, k=3)
    finally:
        hook.remove()
    assert shapes == [(1, sum(map(len, prompts)))]


def test_more_results_than_there_are_tools_are_all_of_them_once(checkpoint: Checkpoint) -> None:
    (ranking,) = GenerativeRetriever(checkpoint).search(["a taxi"], k=1000)
    assert sorted(ranking.tools) == sorted(checkpoint.catalog.ids)
    assert list(ranking.scores) == sorted(ranking.scores, reverse=True)


def test_fewer_results_are_the_beginning_of_more(checkpoint: Checkpoint) -> None:
    retriever = GenerativeRetriever(checkpoint)
    (few,), (many,) = retriever.search(["a taxi"], k=3), retriever.search(["a taxi"], k=9)
    assert few.tools == many.tools[:3]


def test_no_queries_no_results_and_an_empty_query_are_fine(checkpoint: Checkpoint) -> None:
    retriever = GenerativeRetriever(checkpoint)
    assert retriever.search([], k=3) == []
    assert [len(ranking.tools) for ranking in retriever.search(["", " "], k=3)] == [3, 3]


@pytest.mark.parametrize(("queries", "k", "said"), [([None], 3, "a request is a text"), (["a"], 0, "above 0; got 0")])
def test_what_cannot_be_searched_is_said(checkpoint: Checkpoint, queries: Any, k: int, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        GenerativeRetriever(checkpoint).search(queries, k)


def test_a_text_alone_and_one_with_a_lone_surrogate_are_requests(checkpoint: Checkpoint) -> None:
    retriever = GenerativeRetriever(checkpoint)
    assert retriever.search("a taxi", k=3) == retriever.search(["a taxi"], k=3)
    assert retriever.search("a \udc80 taxi", k=3) == retriever.search("a ? taxi", k=3)


def test_equal_scores_keep_the_order_of_the_catalog() -> None:
    checkpoint = tiny_checkpoint()
    with torch.no_grad():
        checkpoint.tool_rows.copy_(checkpoint.tool_rows[0].expand_as(checkpoint.tool_rows))
    (ranking,) = GenerativeRetriever(checkpoint).search(["a taxi"], k=7)
    assert ranking.tools == checkpoint.catalog.ids[:7]


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_a_request_longer_than_the_model_can_read_loses_its_end(architecture: Architecture) -> None:
    checkpoint = tiny_checkpoint(architecture=architecture)
    retriever = GenerativeRetriever(checkpoint)
    one, other = retriever.search(["word " * 3000, "word " * 3000 + "umbrella"], k=3)
    assert one == other and len(one.tools) == 3


def test_it_is_a_retriever_for_its_own_catalog_only() -> None:
    smaller = tiny_checkpoint(catalog=Catalog(tiny_catalog()[:-3]))
    retriever = GenerativeRetriever(smaller)
    assert isinstance(retriever, Retriever)
    retriever.index(smaller.catalog)
    with pytest.raises(UsageError, match="3 tools are new to it, 0 changed; run `toolgen tools add`"):
        retriever.index(tiny_catalog())


def test_a_part_of_the_catalog_is_ranked_as_the_whole_without_the_others(checkpoint: Checkpoint) -> None:
    everything, part = GenerativeRetriever(checkpoint), GenerativeRetriever(checkpoint)
    allowed = select_tools(checkpoint.catalog, include=["provider:mail", "clock"], exclude=["search"])
    assert 1 < len(allowed) < TOOLS
    part.index(allowed)
    for whole, found in zip(everything.search(QUERIES, TOOLS), part.search(QUERIES, TOOLS), strict=True):
        assert found.tools == tuple(tool for tool in whole.tools if tool in allowed)
    places = [checkpoint.catalog.position(tool) for tool in allowed.ids]
    assert (part.score_all(QUERIES) == everything.score_all(QUERIES)[:, places]).all()
    part.index(checkpoint.catalog)
    assert part.search(QUERIES, TOOLS) == everything.search(QUERIES, TOOLS)


def test_tools_of_several_tokens_share_the_probability_among_those_allowed() -> None:
    retriever = GenerativeRetriever(tiny_checkpoint(indexing="semantic"))
    allowed = select_tools(tiny_catalog(), include=["provider:mail", "clock"])
    for _ in range(2):
        retriever.index(allowed)
        for ranking in retriever.search(QUERIES, TOOLS):
            assert sorted(ranking.tools) == sorted(allowed.ids)
            assert ranking.no_tool and sum(ranking.scores) + ranking.no_tool == pytest.approx(1, abs=1e-4)
        allowed = tiny_catalog()


def test_searching_leaves_the_model_as_it_was(checkpoint: Checkpoint) -> None:
    before = {name: value.clone() for name, value in checkpoint.model.state_dict().items()}
    GenerativeRetriever(checkpoint).search(QUERIES, k=3)
    assert all(torch.equal(value, before[name]) for name, value in checkpoint.model.state_dict().items())
    assert all(parameter.grad is None for parameter in checkpoint.model.parameters())


def test_unconstrained_a_tool_competes_with_every_token() -> None:
    checkpoint = tiny_checkpoint(extra_rows=50)
    vocabulary, tokens = checkpoint.vocabulary, checkpoint.vocabulary.action_token_ids.stop
    free = GenerativeRetriever(checkpoint, constrained=False)
    for k in (1, 20, tokens):
        for query, ranking in zip(QUERIES, free.search(QUERIES, k), strict=True):
            shares = all_logits(checkpoint, query)[:tokens].double().softmax(0)
            best = shares.argsort(descending=True)[:k].tolist()
            expected = [tool for tool in map(vocabulary.tool_id, best) if tool in checkpoint.catalog]
            assert list(ranking.tools) == [tool for tool in expected if tool is not None]
            assert ranking.scores == pytest.approx(
                [float(shares[vocabulary.token_id(tool)]) for tool in ranking.tools], abs=1e-5
            )
            assert ranking.no_tool == pytest.approx(float(shares[vocabulary.no_tool_id]), abs=1e-5)


def test_reading_hidden_states_leaves_no_thread_behind() -> None:
    before = {*threading.enumerate()}
    assert len(GenerativeRetriever(tiny_checkpoint()).hidden_states(["walk the dog", "sing"])) == 2
    assert {*threading.enumerate()} <= before
