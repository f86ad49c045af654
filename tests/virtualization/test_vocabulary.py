"""ToolVocabulary: tool ids, tokens and token ids are one to one, and the saved form says what differs."""

from __future__ import annotations

import json

import pytest

from toolgen.datasets.messages import FINISH, NO_TOOL
from toolgen.errors import CheckpointError
from toolgen.virtualization import ToolVocabulary

VOCABULARY = ToolVocabulary(("a", "b", "c"), ("<<A>>", "<<B>>", "<<C>>"), first_id=100)


def test_actions_come_first_and_tools_follow_in_catalog_order() -> None:
    assert (VOCABULARY.token_id(FINISH), VOCABULARY.token_id(NO_TOOL)) == (VOCABULARY.finish_id, VOCABULARY.no_tool_id)
    assert [VOCABULARY.token_id(name) for name in (FINISH, NO_TOOL, "a", "b", "c")] == [*VOCABULARY.action_token_ids]
    assert VOCABULARY.action_token_ids == range(100, 105)
    assert VOCABULARY.tool_token_ids == range(102, 105)
    assert VOCABULARY.all_tokens == ("<<finish>>", "<<no_tool>>", "<<A>>", "<<B>>", "<<C>>")
    assert len(VOCABULARY) == 3


def test_ids_and_tokens_lead_to_each_other() -> None:
    for token_id in VOCABULARY.action_token_ids:
        name = VOCABULARY.tool_id(token_id)
        assert name is not None
        assert VOCABULARY.token_id(name) == token_id
        assert VOCABULARY.all_tokens[token_id - 100] == VOCABULARY.token(name)


def test_an_ordinary_token_is_no_tool() -> None:
    assert VOCABULARY.tool_id(99) is None
    assert VOCABULARY.tool_id(105) is None


def test_an_unknown_tool_is_an_error_that_names_it() -> None:
    with pytest.raises(CheckpointError, match="no token for 'd'"):
        VOCABULARY.token_id("d")


def test_tools_and_tokens_must_be_as_many() -> None:
    with pytest.raises(CheckpointError, match="2 tools but 1 tokens"):
        ToolVocabulary(("a", "b"), ("<<A>>",), first_id=0)


def test_the_saved_form_reads_back_in_the_order_of_the_catalog() -> None:
    record = json.loads(json.dumps(VOCABULARY.to_dict()))
    assert ToolVocabulary.from_dict(record, ("a", "b", "c")) == VOCABULARY


@pytest.mark.parametrize(
    ("tools", "message"),
    [
        (("a", "b", "c", "d"), r"1 tools without a token \['d'\], 0 tokens without a tool"),
        (("a", "b"), r"0 tools without a token \[\], 1 tokens without a tool \['c'\]"),
    ],
)
def test_a_saved_vocabulary_of_another_catalog_says_what_differs(tools: tuple[str, ...], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        ToolVocabulary.from_dict(VOCABULARY.to_dict(), tools)


SHARED = ToolVocabulary(
    ("a", "b", "c"),
    ("<<1:0>>", "<<1:1>><<2:0>>", "<<1:1>><<2:1>>"),
    first_id=100,
    indexing="hierarchical",
    new_tokens=("<<1:0>>", "<<1:1>>", "<<2:0>>", "<<2:1>>"),
    sequences=((102,), (103, 104), (103, 105)),
)


def test_shared_tokens_spell_tools_both_ways() -> None:
    assert [SHARED.sequence(name) for name in (FINISH, NO_TOOL, "a", "b", "c")] == [
        (100,),
        (101,),
        (102,),
        (103, 104),
        (103, 105),
    ]
    assert [SHARED.tool_id(*SHARED.sequence(name)) for name in (FINISH, "a", "b", "c")] == [FINISH, "a", "b", "c"]
    assert SHARED.tool_id(103) is None and SHARED.tool_id(103, 104, 105) is None
    assert SHARED.tool_token_ids == range(102, 106) and SHARED.action_token_ids == range(100, 106)
    assert SHARED.all_tokens[2:] == SHARED.new_tokens
    assert SHARED.token("b") == "<<1:1>><<2:0>>" and SHARED.token(FINISH) == "<<finish>>"
    assert SHARED.tokens_per_tool == pytest.approx(5 / 3)


def test_a_tool_of_several_tokens_has_no_token_id_of_its_own() -> None:
    assert SHARED.token_id("a") == 102
    with pytest.raises(CheckpointError, match="'b' is written with 2 tokens under hierarchical indexing"):
        SHARED.token_id("b")


def test_shared_tokens_are_saved_and_read_in_the_order_of_the_catalog() -> None:
    record = json.loads(json.dumps(SHARED.to_dict()))
    assert ToolVocabulary.from_dict(record, ("a", "b", "c")) == SHARED
    assert ToolVocabulary.from_dict(record, ("c", "a", "b")).sequences == ((103, 105), (102,), (103, 104))


@pytest.mark.parametrize(
    ("sequences", "message"),
    [
        (((102,), (103, 104), (103, 104)), "'b' and 'c' cannot be told apart"),
        (((103,), (103, 104), (103, 105)), "'a' and 'b' cannot be told apart"),
        (((), (103, 104), (103, 105)), "'a' and 'b' cannot be told apart"),
        (((102,), (103, 104)), "3 tools but 2 sequences"),
    ],
)
def test_sequences_that_do_not_tell_tools_apart_are_refused(
    sequences: tuple[tuple[int, ...], ...], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        ToolVocabulary(("a", "b", "c"), SHARED.tokens, 100, "codes", SHARED.new_tokens, sequences)


def test_an_unknown_indexing_is_named() -> None:
    with pytest.raises(CheckpointError, match="unknown indexing 'roman'"):
        ToolVocabulary.from_dict({**SHARED.to_dict(), "indexing": "roman"}, SHARED.tool_ids)
