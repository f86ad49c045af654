"""Retrievers by name: what each needs, what can be added, and how they are called."""

from __future__ import annotations

import pytest

from toolgen.errors import UsageError
from toolgen.retrieval import Resources, RetrieverSpec, make_retriever


def test_retrievers_have_names() -> None:
    assert make_retriever("bm25").name == "bm25"
    for spec, name in (
        (RetrieverSpec(method="bm25", add=("bm25",)), "bm25+bm25"),
        (RetrieverSpec(method="bm25", sets=True), "bm25 (sets)"),
        (RetrieverSpec(method="bm25", add=("bm25",), sets=True), "bm25+bm25 (sets)"),
    ):
        assert make_retriever(spec, Resources(tool_sets=[("a", "b")])).name == spec.name == name


@pytest.mark.parametrize("known", [(), [("a",)]])
def test_sets_need_requests_for_several_tools(known: list[tuple[str, ...]]) -> None:
    with pytest.raises(UsageError, match="sets need to know which tools training requests ask for together"):
        make_retriever(RetrieverSpec(method="bm25", sets=True), Resources(tool_sets=known))


@pytest.mark.parametrize("name", ["bm52", "nothing-at-all", "bm25+dense", ""])
def test_an_unknown_name_lists_the_known_ones(name: str) -> None:
    with pytest.raises(UsageError, match="generative, generative-unconstrained, bm25, dense, toolretriever"):
        make_retriever(name)


def test_the_generative_retriever_asks_for_a_checkpoint() -> None:
    with pytest.raises(UsageError, match="needs a checkpoint"):
        make_retriever("generative")


@pytest.mark.parametrize("sets", [False, True])
@pytest.mark.parametrize("add", [(), ("bm25",)])
def test_toolretriever_says_how_to_train_its_encoder(add: tuple[str, ...], sets: bool) -> None:
    with pytest.raises(UsageError, match=r"needs --encoder ENCODER; .* toolgen train encoder"):
        make_retriever(RetrieverSpec(method="toolretriever", add=add, sets=sets))


@pytest.mark.parametrize(
    "spec",
    [
        RetrieverSpec(method="bm25", add=("long-context",)),
        RetrieverSpec(method="iterfeedback", add=("bm25",)),
        RetrieverSpec(method="generative-unconstrained", sets=True),
        RetrieverSpec(method="re-invoke", unasked_bonus=1.0),
    ],
)
def test_only_logits_can_be_added_or_decided_by_sets(spec: RetrieverSpec) -> None:
    with pytest.raises(UsageError, match=r"are no logits; those of generative, bm25, dense, toolretriever are"):
        make_retriever(spec)


@pytest.mark.parametrize("name", ["re-invoke", "iterfeedback", "long-context"])
def test_what_asks_a_language_model_says_how_to_give_one(name: str) -> None:
    with pytest.raises(UsageError, match=r"needs a language model; give --llm BASE .* --endpoint URL and --model NAME"):
        make_retriever(name)
