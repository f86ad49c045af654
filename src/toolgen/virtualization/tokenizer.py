"""Adds the tokens of tools to a Hugging Face tokenizer and proves that each of them, and each tool, round-trips.

Knows no model. The tokens are ordinary added tokens, not special ones, so that `skip_special_tokens=True` keeps them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from transformers import PreTrainedTokenizerBase

from toolgen.catalog.catalog import Catalog
from toolgen.errors import CheckpointError
from toolgen.virtualization.indexing import Spelling, atomic
from toolgen.virtualization.text_encoder import TextEncoder
from toolgen.virtualization.vocabulary import ACTION_TOKENS, TURN_END, TURN_START, ToolVocabulary

SPARE_START = "<<spare:"
AT_ONCE = 4096
"""Texts for one call of the tokenizer: what it makes of a million would take gigabytes."""
TOOL_TOKENS = re.compile("<<[^<>]+>>")
"""The text of an action or of a tool's token."""


def add_tool_tokens(
    tokenizer: PreTrainedTokenizerBase, catalog: Catalog, spelling: Spelling | None = None
) -> ToolVocabulary:
    """Adds turn markers (where the base lacks them), the actions and the new tokens of a spelling (atomic by default), in that
    order.

    Changes `tokenizer`. Raises CheckpointError when a token already exists in the base or does not round-trip, or when two
    tools cannot be told apart by their tokens.
    """
    spelling = atomic(catalog) if spelling is None else spelling
    _refuse_existing(tokenizer, (*ACTION_TOKENS, *spelling.tokens))
    markers = _add_markers(tokenizer)
    first_id = len(tokenizer)
    _add(tokenizer, (*ACTION_TOKENS, *spelling.tokens))
    written: dict[str, Any] = {"markers": markers}
    if spelling.indexing != "atomic":
        encoder = TextEncoder(tokenizer)
        sequences = tuple(tuple(encoder.encode(text, TOOL_TOKENS).ids) for text in spelling.texts)
        written |= {"indexing": spelling.indexing, "new_tokens": spelling.tokens, "sequences": sequences}
    vocabulary = ToolVocabulary(catalog.ids, spelling.texts, first_id, **written)
    check_round_trip(tokenizer, vocabulary)
    return vocabulary


def add_spare_tokens(tokenizer: PreTrainedTokenizerBase, vocabulary: ToolVocabulary, count: int) -> ToolVocabulary:
    """Adds tokens behind all others, for tools that come later; changes `tokenizer`.

    CheckpointError where tools are several tokens, or the tokenizer has other tokens behind the vocabulary's.
    """
    if not vocabulary.is_atomic:
        raise CheckpointError(
            f"tools of {vocabulary.indexing} indexing share their tokens, so none can be added; virtualize the whole catalog "
            "again, or use --indexing atomic"
        )
    if len(tokenizer) != vocabulary.action_token_ids.stop:
        raise CheckpointError(
            f"the tokenizer has {len(tokenizer)} tokens, the vocabulary ends at {vocabulary.action_token_ids.stop}: other "
            "tokens were added behind those of the tools; virtualize again"
        )
    start = len(vocabulary.new_tokens)
    spare = tuple(f"{SPARE_START}{number}>>" for number in range(start, start + count))
    _refuse_existing(tokenizer, spare)
    _add(tokenizer, spare)
    grown = replace(vocabulary, new_tokens=(*vocabulary.new_tokens, *spare))
    check_round_trip(tokenizer, grown)
    return grown


def is_spare(token: str) -> bool:
    """Whether a token was made by `add_spare_tokens`, and so says nothing of the tool that may have it."""
    return token.startswith(SPARE_START)


def _encode(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> Iterator[list[int]]:
    """Token ids of each text as other programs read it, without what a tokenizer puts around it."""
    for start in range(0, len(texts), AT_ONCE):
        part = list(texts[start : start + AT_ONCE])
        yield from tokenizer(part, add_special_tokens=False, return_attention_mask=False)["input_ids"]


def find_end_marker(tokenizer: PreTrainedTokenizerBase) -> int:
    """Token id that ends a turn."""
    token_id: Any = tokenizer.convert_tokens_to_ids(TURN_END)
    return int(token_id)


def begins_with_bos(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the base expects its token of the beginning (BOS) before every text: its tokenizer or its chat template puts it
    there."""
    bos = tokenizer.bos_token_id
    puts_it: list[int] = tokenizer("a")["input_ids"]
    return bos is not None and (puts_it[:1] == [bos] or "bos_token" in (tokenizer.chat_template or ""))


def _refuse_existing(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[str]) -> None:
    existing = tokenizer.get_vocab().keys() & {*tokens}
    if existing:
        raise CheckpointError(
            f"the base already has {len(existing)} of the tokens that would be added, for instance {min(existing)!r}; "
            "give the base model as it was before tools were added to it"
        )


def _add_markers(tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """Adds the turn markers that the base lacks and returns them."""
    known = tokenizer.get_vocab()
    markers = tuple(marker for marker in (TURN_START, TURN_END) if marker not in known)
    if markers:
        tokenizer.add_special_tokens({"additional_special_tokens": [*markers]}, replace_extra_special_tokens=False)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = TURN_END
    return markers


def _add(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[str]) -> None:
    from tokenizers import AddedToken

    tokenizer.add_tokens([AddedToken(token, normalized=False, special=False) for token in tokens])


def check_round_trip(tokenizer: PreTrainedTokenizerBase, vocabulary: ToolVocabulary) -> None:
    """Every new token encodes to exactly its id, also inside a sentence, and decodes to itself; a tool of several tokens has
    the same ones alone and inside a sentence.

    Raises CheckpointError with the first that does not.
    """
    tokens, ids = vocabulary.all_tokens, vocabulary.action_token_ids
    encodings, inside = _encode(tokenizer, tokens), _encode(tokenizer, [f"use {token}{{" for token in tokens])
    for token, token_id, encoded, sentence in zip(tokens, ids, encodings, inside, strict=True):
        if encoded != [token_id] or token_id not in sentence or tokenizer.decode([token_id]) != token:
            raise CheckpointError(
                f"the token {token!r} does not round-trip through this tokenizer: expected id {token_id}, got {encoded}; "
                f"{len(tokens)} tokens were added from id {vocabulary.first_id}"
            )
    if not vocabulary.is_atomic:
        check_sequences(tokenizer, vocabulary)


def check_sequences(tokenizer: PreTrainedTokenizerBase, vocabulary: ToolVocabulary) -> None:
    """The tokenizer cuts each tool's text into the tool's sequence, in the middle of a text too; CheckpointError names the
    first tool for which it does not."""
    sentences = _encode(tokenizer, [f"use {text}{{" for text in vocabulary.tokens])
    for tool_id, sequence, sentence in zip(vocabulary.tool_ids, vocabulary.sequences, sentences, strict=True):
        start = sentence.index(sequence[0]) if sequence[0] in sentence else 0
        if tuple(sentence[start : start + len(sequence)]) != sequence:
            raise CheckpointError(
                f"the tokens of {tool_id!r} do not round-trip through this tokenizer: expected {list(sequence)}, got {sentence}"
            )
