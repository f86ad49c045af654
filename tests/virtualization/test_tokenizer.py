"""Tool tokens under BPE, WordPiece and Unigram: each is one id, alone and in a sentence, also after saving."""

from __future__ import annotations

import tempfile
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from toolgen.catalog import Catalog, Tool
from toolgen.catalog.naming import unique_ids
from toolgen.errors import CheckpointError
from toolgen.testing import TOKENIZER_KINDS, TokenizerKind, tiny_catalog, tiny_tokenizer
from toolgen.virtualization import ToolVocabulary, add_tool_tokens, find_end_marker
from toolgen.virtualization.tokenizer import check_round_trip
from toolgen.virtualization.vocabulary import TURN_END, TURN_START

kinds = pytest.mark.parametrize("kind", TOKENIZER_KINDS)
both = pytest.mark.parametrize("chatml", [True, False], ids=["chatml", "plain"])

# Latin letters with accents, which byte-level tokenizers use for bytes, are the dangerous ones.
latin = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x17F), min_size=1, max_size=12)
anything = st.text(st.characters(codec=None, exclude_categories=()), min_size=1, max_size=12)
dangers = ["##a", "▁", "Ġ", "Ċ", "'m", "n't", "é", "<", ">", "|im_end|", "<unk>", " ", "İ", "Ａ"]
pieces = st.lists(st.sampled_from(dangers), min_size=1, max_size=4).map("".join)
names = st.tuples(latin | anything, latin | anything | pieces)


@cache
def serialized(kind: TokenizerKind) -> str:
    return str(tiny_tokenizer(kind).backend_tokenizer.to_str())


def fresh(kind: TokenizerKind) -> PreTrainedTokenizerFast:
    """A new tokenizer without training one; their pieces do not matter here."""
    from tokenizers import Tokenizer

    unknown = {} if kind == "bpe" else {"unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(serialized(kind)), eos_token=TURN_END, **unknown)


def catalog_of(pairs: list[tuple[str, str]]) -> Catalog:
    ids = unique_ids(f"{provider}&&{name}" for provider, name in pairs).ids
    return Catalog(Tool(id=i, provider=p, name=n) for i, (p, n) in zip(ids, pairs, strict=True))


@kinds
@both
def test_the_tokens_of_the_tiny_catalog_round_trip_through_the_saved_tokenizer(
    kind: TokenizerKind, chatml: bool
) -> None:
    tokenizer = tiny_tokenizer(kind, chatml=chatml)
    vocabulary = add_tool_tokens(tokenizer, tiny_catalog())
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        saved = AutoTokenizer.from_pretrained(folder)
    for token, token_id in zip(vocabulary.all_tokens, vocabulary.action_token_ids, strict=True):
        assert saved(token, add_special_tokens=False)["input_ids"] == [token_id]
        assert saved.decode([token_id]) == token
        assert saved.decode([token_id], skip_special_tokens=True) == token
        assert token_id in saved(f"Use {token}{{}} now", add_special_tokens=False)["input_ids"]


@kinds
@settings(max_examples=60)
@given(st.lists(names, min_size=1, max_size=6))
def test_any_name_becomes_a_token_that_round_trips(kind: TokenizerKind, pairs: list[tuple[str, str]]) -> None:
    tokenizer, catalog = fresh(kind), catalog_of(pairs)
    vocabulary = add_tool_tokens(tokenizer, catalog)  # raises where a token does not
    text = " and ".join(vocabulary.tokens)
    found = [i for i in tokenizer(text, add_special_tokens=False)["input_ids"] if i in vocabulary.tool_token_ids]
    assert found == [*vocabulary.tool_token_ids]


@kinds
@both
def test_turn_markers_are_one_special_token_each_and_stay_where_the_base_has_them(
    kind: TokenizerKind, chatml: bool
) -> None:
    tokenizer = tiny_tokenizer(kind, chatml=chatml)
    before = tokenizer.get_vocab()
    vocabulary = add_tool_tokens(tokenizer, tiny_catalog())
    assert vocabulary.first_id == len(before) + (0 if chatml else 2)
    for marker in (TURN_START, TURN_END):
        (token_id,) = tokenizer(marker, add_special_tokens=False)["input_ids"]
        assert token_id == before.get(marker, token_id)
        assert token_id in tokenizer.all_special_ids
    assert find_end_marker(tokenizer) == tokenizer.convert_tokens_to_ids(TURN_END)
    assert tokenizer.pad_token_id is not None


def test_special_tokens_of_the_base_stay_special() -> None:
    tokenizer = tiny_tokenizer("bpe", chatml=False)
    tokenizer.add_special_tokens({"extra_special_tokens": ["<|tool|>"]})
    add_tool_tokens(tokenizer, tiny_catalog())
    assert {"<|tool|>", TURN_START, TURN_END} <= set(tokenizer.all_special_tokens)


@pytest.mark.parametrize("token", ["<<finish>>", "<<clock&&now>>"])
def test_a_base_that_already_has_one_of_our_tokens_is_refused_and_left_as_it_was(token: str) -> None:
    tokenizer = tiny_tokenizer(chatml=False)
    tokenizer.add_tokens([token])
    before = tokenizer.get_vocab()
    with pytest.raises(CheckpointError, match=f"already has 1 of the tokens.*{token}"):
        add_tool_tokens(tokenizer, tiny_catalog())
    assert tokenizer.get_vocab() == before


@pytest.mark.parametrize("at_once", [1, 2, 4096])
def test_a_token_that_does_not_round_trip_is_named(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toolgen.virtualization.tokenizer.AT_ONCE", at_once)
    tokenizer = tiny_tokenizer("bpe")
    tokenizer.add_tokens(["<<finish>>", "<<no_tool>>", "<<café>>"])
    vocabulary = ToolVocabulary(("café",), ("<<café>>",), first_id=len(tokenizer) - 3)
    with pytest.raises(CheckpointError, match="'<<café>>' does not round-trip"):
        check_round_trip(tokenizer, vocabulary)
