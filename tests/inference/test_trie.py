"""The trie says exactly what may follow: against a dictionary of dictionaries, for any sequences."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolgen.errors import UsageError
from toolgen.inference.trie import ROOT, Trie


def prefix_free(sequences: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    kept = [one for i, one in enumerate(sequences) if one not in sequences[:i]]
    return [one for one in kept if not any(other != one and other[: len(one)] == one for other in kept)]


lists = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=5).map(tuple), min_size=1, max_size=25)
valid = lists.map(prefix_free)


def nested(sequences: list[tuple[int, ...]]) -> dict[int, Any]:
    root: dict[int, Any] = {}
    for sequence in sequences:
        node = root
        for token in sequence:
            node = node.setdefault(token, {})
    return root


def leaves(node: dict[int, Any]) -> int:
    return sum(map(leaves, node.values())) if node else 1


@given(valid)
def test_every_node_allows_what_a_dictionary_of_dictionaries_allows(sequences: list[tuple[int, ...]]) -> None:
    trie, seen = Trie.build(sequences), 0
    waiting: list[tuple[int, dict[int, Any], tuple[int, ...]]] = [(ROOT, nested(sequences), ())]
    while waiting:
        node, expected, path = waiting.pop()
        seen += 1
        children = trie.children(node)
        assert trie.tokens_M[children].tolist() == sorted(expected)
        if leaves(expected) == 1:
            row = int(trie.rows_M[node])
            assert sequences[row][: len(path)] == path
        else:
            assert trie.rows_M[node] == -1
        for token in range(5):
            child = trie.child(node, token)
            assert (child is not None) == (token in expected)
            if child is not None:
                assert child in range(children.start, children.stop)
                waiting.append((child, expected[token], (*path, token)))
    assert seen == len(trie)


@given(valid, st.data())
def test_children_of_many_nodes_are_those_of_each(sequences: list[tuple[int, ...]], data: st.DataObject) -> None:
    trie = Trie.build(sequences)
    nodes = data.draw(st.lists(st.integers(0, len(trie) - 1), max_size=6))
    owners, children = trie.children_of_all(np.array(nodes, dtype=np.int64))
    expected = [(i, child) for i, node in enumerate(nodes) for child in range(len(trie))[trie.children(node)]]
    assert list(zip(owners.tolist(), children.tolist(), strict=True)) == expected


@given(lists)
def test_sequences_that_begin_one_another_are_refused(sequences: list[tuple[int, ...]]) -> None:
    ordered = sorted(sequences)
    clash = any(after[: len(before)] == before for before, after in pairwise(ordered))
    if clash:
        with pytest.raises(UsageError, match="beginning of the other"):
            Trie.build(sequences)
    else:
        Trie.build(sequences)


@pytest.mark.parametrize("sequences", [[], [()], [(1,), ()]])
def test_an_empty_trie_and_an_empty_sequence_are_refused(sequences: list[tuple[int, ...]]) -> None:
    with pytest.raises(UsageError, match="at least one"):
        Trie.build(sequences)


def test_what_all_sequences_begin_with_is_forced() -> None:
    trie = Trie.build([(9, 8, 1), (9, 8, 2, 5), (9, 8, 2, 6)])
    node, tokens = trie.forced()
    assert tokens == [9, 8] and trie.tokens_M[trie.children(node)].tolist() == [1, 2]
    assert Trie.build([(4, 5, 6)]).forced() == (ROOT, [])


def test_a_hundred_thousand_sequences_are_built_in_a_second_or_so_of_a_few_arrays() -> None:
    generator = np.random.default_rng(0)
    pairs = np.unique(generator.integers(0, 1024, size=(100_000, 2)), axis=0)
    sequences = list(map(tuple, pairs.tolist()))
    started = time.process_time()
    trie = Trie.build(sequences)
    assert time.process_time() - started < 10
    assert len(trie) == 1 + 1024 + len(pairs)
    assert sum(array.nbytes for array in vars(trie).values()) < 30 * len(pairs)
