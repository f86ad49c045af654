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
