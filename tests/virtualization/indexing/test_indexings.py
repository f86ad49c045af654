"""The five ways to write a tool: every tool has its own sequence, and none is the beginning of another's."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolgen.catalog import Catalog, Tool
from toolgen.testing import tiny_catalog
from toolgen.virtualization.indexing import Spelling, expected_size, spell
from toolgen.virtualization.indexing.codes import code_count, codes, pull_together
from toolgen.virtualization.indexing.hierarchical import hierarchical
from toolgen.virtualization.indexing.numeric import numeric
from toolgen.virtualization.indexing.semantic import CLOSE, OPEN, semantic
from toolgen.virtualization.options import INDEXINGS, Indexing


def vectors(count: int, seed: int = 0, kinds: int | None = None) -> np.ndarray:
    """Random unit vectors; with `kinds`, only so many different ones, over and over."""
    drawn = np.random.default_rng(seed).normal(size=(kinds or count, 24)).astype(np.float32)
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    return drawn[np.arange(count) % len(drawn)]


def is_free_of_prefixes(sequences: Sequence[tuple[int, ...]]) -> bool:
    ordered = sorted(sequences)
    return all(ordered) and not any(after[: len(before)] == before for before, after in pairwise(ordered))


def letters(texts: Sequence[str]) -> list[list[int]]:
    """Stands in for a tokenizer."""
    return [[*map(ord, text)] for text in texts]


def spelled(indexing: Indexing, catalog: Catalog, seed: int = 0) -> Spelling:
    return spell(indexing, catalog, vectors=lambda: vectors(len(catalog)), encode=letters, seed=seed)


def catalog_of(count: int) -> Catalog:
    return Catalog(Tool(id=f"t{i}", provider="p", name=f"n{i % 7}") for i in range(count))


SIZES = [1, 2, 3, 9, 10, 11, 101, 2500]


@pytest.mark.parametrize("count", SIZES)
@pytest.mark.parametrize("kinds", [None, 1, 3])
def test_paths_and_codes_are_unique_and_free_of_prefixes(count: int, kinds: int | None) -> None:
    documents = vectors(count, kinds=kinds)
    for sequences in (numeric(count), hierarchical(documents), codes(documents)):
        assert len(sequences) == count
        assert is_free_of_prefixes(sequences)


@pytest.mark.parametrize("indexing", INDEXINGS)
@pytest.mark.parametrize("count", [1, 2, 50])
def test_every_tool_is_written_in_new_tokens_of_which_none_is_superfluous(indexing: Indexing, count: int) -> None:
    spelling = spelled(indexing, catalog_of(count))
    assert spelling.indexing == indexing
    assert len(set(spelling.texts)) == len(spelling.texts) == count
    assert len(set(spelling.tokens)) == len(spelling.tokens)
    assert all(any(token in text for text in spelling.texts) for token in spelling.tokens)
    if indexing != "semantic":
        assert all(text.replace("><", "> <").split() for text in spelling.texts)
        known = set(spelling.tokens)
        assert {part for text in spelling.texts for part in text.replace(">><<", ">> <<").split(" ")} <= known


@pytest.mark.parametrize("indexing", INDEXINGS)
def test_the_same_catalog_and_seed_give_the_same_spelling(indexing: Indexing) -> None:
    assert spelled(indexing, tiny_catalog()) == spelled(indexing, tiny_catalog())


def test_atomic_is_the_readable_token_of_each_tool() -> None:
    spelling = spelled("atomic", tiny_catalog())
    assert spelling.tokens == spelling.texts and spelling.tokens[0] == "<<weather&&get_forecast>>"


def test_numbers_have_leading_zeros_and_a_token_means_one_digit_at_one_place() -> None:
    spelling = spelled("numeric", catalog_of(101))
    assert (spelling.texts[7], spelling.texts[100]) == ("<<1:0>><<2:0>><<3:7>>", "<<1:1>><<2:0>><<3:0>>")
    assert len(spelling.tokens) == 2 + 10 + 10


def test_tools_that_are_alike_share_the_beginning_of_their_path() -> None:
    centres = np.eye(5, 24, dtype=np.float32)
    documents = np.repeat(centres, 30, axis=0) + 0.05 * vectors(150)
    paths = hierarchical(documents.astype(np.float32))
    first = np.array([path[0] for path in paths]).reshape(5, 30)
    assert not any(set(first[i]) & set(first[j]) for i in range(5) for j in range(i))


def test_a_path_is_short_for_a_balanced_catalog() -> None:
    assert max(map(len, hierarchical(vectors(1000)))) <= 7


def test_names_are_words_between_two_tokens_and_twins_are_numbered() -> None:
    pairs = [("weather", "getForecast"), ("weather", "get_forecast"), ("weather", "get_forecast 2"), ("", "x")]
    catalog = Catalog(Tool(id=f"{i}", provider=p, name=n) for i, (p, n) in enumerate(pairs))
    assert [text.removeprefix(OPEN).removesuffix(CLOSE) for text in semantic(catalog, letters).texts] == [
        " weather get forecast",
        " weather get forecast 2",
        " weather get forecast 2 2",
        " x",
    ]


@settings(max_examples=60)
@given(st.lists(st.tuples(st.text(max_size=5), st.text(min_size=1, max_size=5)), min_size=1, max_size=12))
def test_any_names_can_be_told_apart_even_by_a_tokenizer_that_ignores_case_and_accents(
    pairs: list[tuple[str, str]],
) -> None:
    def ascii_letters(texts: Sequence[str]) -> list[list[int]]:
        return [[*text.upper().encode("ascii", "replace")] for text in texts]

    catalog = Catalog(Tool(id=f"{i}", provider=p, name=n) for i, (p, n) in enumerate(pairs))
    texts = semantic(catalog, ascii_letters).texts
    inner = [tuple(ascii_letters([text.removeprefix(OPEN).removesuffix(CLOSE)])[0]) for text in texts]
    assert len(set(inner)) == len(inner)
    assert not any(bracket in text for text in texts for bracket in ("<<", ">>") if text.count(bracket) != 2)


def test_two_codes_of_1024_are_enough_for_47_000_tools_and_few_tools_need_few() -> None:
    assert code_count(46_985) == code_count(125_200) == 1024
    assert [code_count(count) for count in (1, 2, 3, 4, 13, 1415)] == [1, 2, 2, 2, 6, 256]
    assert all(code_count(count) ** 2 >= count for count in range(1, 3000))
    assert code_count(2_000_000) ** 2 >= 2_000_000


def test_a_code_is_the_nearest_centre_unless_another_tool_has_taken_it() -> None:
    documents = vectors(400)
    pairs = codes(documents, size=64)
    assert {code for pair in pairs for code in pair} <= set(range(64))
    alone = [pair for pair in pairs if sum(other[0] == pair[0] for other in pairs) == 1]
    assert len(alone) < len(pairs), "first codes are shared"
    by_first: dict[int, list[int]] = {}
    for i, (first, _) in enumerate(pairs):
        by_first.setdefault(first, []).append(i)
    within = [np.var(documents[members], axis=0).sum() for members in by_first.values() if len(members) > 1]
    assert np.mean(within) < 0.9 * np.var(documents, axis=0).sum()


def test_a_first_code_has_no_more_tools_than_there_are_second_codes() -> None:
    pairs = codes(vectors(500, kinds=1), size=30)
    assert max(np.bincount([first for first, _ in pairs])) <= 30
    assert len(set(pairs)) == 500


def test_tools_that_are_asked_for_together_are_pulled_together() -> None:
    documents = vectors(60)
    together = [(i, i + 30) for i in range(30)]
    before = (documents[:30] * documents[30:]).sum(1)
    pulled = pull_together(documents, together, pull=1.0)
    assert ((pulled[:30] * pulled[30:]).sum(1) > before + 0.2).all()
    np.testing.assert_allclose(np.linalg.norm(pulled, axis=1), 1, rtol=1e-5)

    def share(sets: Sequence[tuple[int, int]]) -> int:
        first = [pair[0] for pair in codes(documents, sets, size=12, pull=4.0)]
        return sum(first[i] == first[j] for i, j in together)

    assert share(together) > 2 * max(1, share(()))


def test_a_tool_that_is_asked_for_alone_stays_where_its_document_is() -> None:
    documents = vectors(10)
    pulled = pull_together(documents, [(0, 1, 2), (4,)])
    np.testing.assert_allclose(pulled[3:], documents[3:], rtol=1e-5)
    assert not np.allclose(pulled[:3], documents[:3], atol=1e-2)


def test_pulling_solves_what_it_says_it_solves() -> None:
    """Against the same rounds written out tool by tool."""
    documents, sets = vectors(8, seed=4), [(0, 1, 2), (1, 3), (1, 3), (5, 6)]
    expected = documents.astype(np.float64)
    for _ in range(3):
        means = [np.mean([expected[i] for i in one], axis=0) for one in sets]
        company = [[mean for one, mean in zip(sets, means, strict=True) if i in one] for i in range(8)]
        expected = np.stack(
            [
                (documents[i] + 0.7 * np.mean(near, axis=0)) / 1.7 if near else documents[i]
                for i, near in enumerate(company)
            ]
        )
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(pull_together(documents, sets, pull=0.7), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("count", [10, 1000, 1415])
def test_sizes_are_known_before_an_indexing_is_made(count: int) -> None:
    documents = vectors(count)
    for indexing, sequences in (("numeric", numeric(count)), ("codes", codes(documents))):
        size = expected_size(indexing, count)
        assert size.tokens_per_tool == len(sequences[0])
        used = {(place, number) for one in sequences for place, number in enumerate(one)}
        assert 0.5 * size.new_tokens <= len(used) <= size.new_tokens
    assert expected_size("atomic", count).new_tokens == count
    mean = np.mean([*map(len, hierarchical(documents))])
    assert mean == pytest.approx(expected_size("hierarchical", count).tokens_per_tool, rel=0.3)
