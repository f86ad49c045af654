"""Reciprocal rank fusion against the paper's formula."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolgen.catalog import Catalog, Tool
from toolgen.errors import UsageError
from toolgen.retrieval import BM25Retriever, FusionRetriever, Ranking, make_retriever

IDS = [f"p&&t{i}" for i in range(8)]
CATALOG = Catalog([Tool(id=tool, provider="p", name=tool) for tool in IDS])


class Fixed:
    """Returns the same list for every query."""

    def __init__(self, name: str, tools: Sequence[str]) -> None:
        self.name, self.tools = name, tuple(tools)

    def index(self, catalog: Catalog) -> None:
        pass

    def search(self, queries: Sequence[str], k: int) -> list[Ranking]:
        return [Ranking(self.tools[:k], tuple(-float(i) for i in range(len(self.tools[:k])))) for _ in queries]


def fused(lists: Sequence[Sequence[str]], k: int, depth: int = 100) -> Ranking:
    retriever = FusionRetriever([Fixed(str(i), tools) for i, tools in enumerate(lists)], depth=depth)
    retriever.index(CATALOG)
    return retriever.search(["anything"], k)[0]


def test_places_count_from_one_with_the_constant_of_the_paper() -> None:
    ranking = fused([["p&&t0", "p&&t1"], ["p&&t1", "p&&t2"]], 3)
    assert ranking.tools == ("p&&t1", "p&&t0", "p&&t2")
    assert ranking.scores == pytest.approx((1 / 62 + 1 / 61, 1 / 61, 1 / 62))


def test_equal_scores_keep_catalog_order() -> None:
    assert fused([["p&&t5"], ["p&&t2"]], 2).tools == ("p&&t2", "p&&t5")


@given(st.lists(st.permutations(IDS), min_size=2, max_size=4), st.integers(1, 10))
def test_fusion_equals_brute_force(lists: list[list[str]], k: int) -> None:
    scores = {tool: sum(1 / (60 + ranked.index(tool) + 1) for ranked in lists) for tool in IDS}
    expected = sorted(IDS, key=lambda tool: (-scores[tool], IDS.index(tool)))[:k]
    found = fused(lists, k)
    assert [scores[tool] for tool in found.tools] == pytest.approx([scores[tool] for tool in expected])


def test_the_order_does_not_depend_on_how_many_are_wanted() -> None:
    lists = [IDS, IDS[::-1]]
    assert fused(lists, 8).tools[:2] == fused(lists, 2).tools


def test_what_lies_beyond_the_depth_gets_nothing() -> None:
    assert fused([IDS, IDS], 1, depth=2).scores == pytest.approx((2 / 61,))
    assert len(fused([IDS, IDS[::-1]], 3, depth=3).tools) == 3


def test_one_retriever_is_no_fusion() -> None:
    with pytest.raises(UsageError, match="at least two"):
        FusionRetriever([BM25Retriever()])


def test_retrievers_have_names() -> None:
    assert make_retriever("bm25").name == "bm25"
    assert make_retriever("bm25+bm25").name == "bm25+bm25"
    assert make_retriever("bm25+bm25-sets").name == "bm25+bm25-sets"


@pytest.mark.parametrize("name", ["bm52", "nothing-at-all", ""])
def test_an_unknown_name_lists_the_known_ones(name: str) -> None:
    with pytest.raises(UsageError, match="generative, generative-unconstrained, bm25, dense, static, fusion"):
        make_retriever(name)


def test_the_generative_retriever_asks_for_a_checkpoint() -> None:
    with pytest.raises(UsageError, match="needs a checkpoint"):
        make_retriever("generative")


@pytest.mark.parametrize("name", ["toolretriever", "toolretriever-sets", "bm25+toolretriever"])
def test_toolretriever_says_how_to_train_its_encoder(name: str) -> None:
    with pytest.raises(UsageError, match=r"needs --encoder ENCODER; .* toolgen train encoder"):
        make_retriever(name)


@pytest.mark.parametrize("name", ["generative-unconstrained+bm25", "bm25+fusion", "fusion-sets"])
def test_only_logits_can_be_added_or_decided_by_sets(name: str) -> None:
    with pytest.raises(UsageError, match=r"needs a checkpoint|are no logits; those of generative, bm25"):
        make_retriever(name)


@pytest.mark.parametrize("name", ["re-invoke", "iterfeedback", "long-context"])
def test_what_asks_a_language_model_says_how_to_give_one(name: str) -> None:
    with pytest.raises(
        UsageError, match=r"needs a language model; give --writer BASE .* --endpoint URL and --model NAME"
    ):
        make_retriever(name)
