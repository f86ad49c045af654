"""Adds tool tokens to a Hugging Face tokenizer and proves that each of them round-trips.

Knows no model. The tokens are ordinary added tokens, not special ones, so that `skip_special_tokens=True` keeps them.
"""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedTokenizerBase

from toolgen.catalog.catalog import Catalog
from toolgen.catalog.naming import assign_tokens
from toolgen.errors import CheckpointError
from toolgen.virtualization.vocabulary import ACTIONS, ToolVocabulary

TURN_START, TURN_END = "<|im_start|>", "<|im_end|>"


def add_tool_tokens(tokenizer: PreTrainedTokenizerBase, catalog: Catalog) -> ToolVocabulary:
    """Adds turn markers (where the base lacks them), the actions and one token per tool, in that order.

    Changes `tokenizer`. Raises CheckpointError when a token already exists in the base or does not round-trip.
    """
    by_tool = assign_tokens(catalog)
    tokens = tuple(by_tool[tool_id] for tool_id in catalog.ids)
    _refuse_existing(tokenizer, ToolVocabulary(catalog.ids, tokens, first_id=0))
    _add_markers(tokenizer)
    vocabulary = ToolVocabulary(catalog.ids, tokens, first_id=len(tokenizer))
    _add(tokenizer, vocabulary)
    return vocabulary


def find_end_marker(tokenizer: PreTrainedTokenizerBase) -> int:
    """Token id that ends a turn."""
    token_id: Any = tokenizer.convert_tokens_to_ids(TURN_END)
    return int(token_id)


def _refuse_existing(tokenizer: PreTrainedTokenizerBase, vocabulary: ToolVocabulary) -> None:
    existing = tokenizer.get_vocab().keys() & set(vocabulary.all_tokens)
    if existing:
        raise CheckpointError(
            f"the base already has {len(existing)} of the tokens that would be added, for instance {min(existing)!r}; "
            "give the base model as it was before tools were added to it"
        )


def _add_markers(tokenizer: PreTrainedTokenizerBase) -> None:
    known = tokenizer.get_vocab()
    markers = [marker for marker in (TURN_START, TURN_END) if marker not in known]
    if markers:
        tokenizer.add_special_tokens({"additional_special_tokens": markers}, replace_extra_special_tokens=False)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = TURN_END


def _add(tokenizer: PreTrainedTokenizerBase, vocabulary: ToolVocabulary) -> None:
    from tokenizers import AddedToken

    tokens = vocabulary.all_tokens
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=False) for token in tokens])
    check_round_trip(tokenizer, vocabulary)


def check_round_trip(tokenizer: PreTrainedTokenizerBase, vocabulary: ToolVocabulary) -> None:
    """Every token encodes to exactly its id, also inside a sentence, and decodes to itself.

    Raises CheckpointError with the first token that does not.
    """
    tokens, ids = vocabulary.all_tokens, vocabulary.action_token_ids
    alone = tokenizer(list(tokens), add_special_tokens=False)["input_ids"]
    inside = tokenizer([f"use {token}{{" for token in tokens], add_special_tokens=False)["input_ids"]
    for token, token_id, encoded, sentence in zip(tokens, ids, alone, inside, strict=True):
        if list(encoded) != [token_id] or token_id not in sentence or tokenizer.decode([token_id]) != token:
            raise CheckpointError(
                f"the token {token!r} does not round-trip through this tokenizer: expected id {token_id}, got {encoded}; "
                f"{len(ACTIONS)} actions and {len(vocabulary)} tools were added from id {vocabulary.first_id}"
            )
