"""Slots: conversations about tools that have no token. A few tokens of the tokenizer stand for whatever tools a conversation
has, so that the prompt protocol renders it as it will render it for a checkpoint. Knows no model.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from transformers import PreTrainedTokenizerBase

from toolgen.catalog.catalog import Catalog
from toolgen.catalog.tool import Tool
from toolgen.datasets.trajectory import Message
from toolgen.training.config import Kind
from toolgen.training.token_weights import parts_of
from toolgen.virtualization import PromptProtocol, ToolVocabulary, add_tool_tokens
from toolgen.virtualization.protocol import chat_template
from toolgen.virtualization.vocabulary import ACTIONS

SLOTS = 16
"""Different tools of a conversation; one with more is cut before the call of the next."""


@dataclass(frozen=True)
class Conversation:
    """Token ids; those of `names` (tool ids and actions) stand where their rows are looked up. `written` are the positions
    whose next token the assistant wrote, each with its weight in the loss."""

    ids: tuple[int, ...]
    names: Mapping[int, str]
    written: Mapping[int, float]


@dataclass(frozen=True)
class Slots:
    """A copy of a base's tokenizer with slots, and the protocol of prompts without tools."""

    tokenizer: PreTrainedTokenizerBase
    vocabulary: ToolVocabulary
    protocol: PromptProtocol = field(repr=False)

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> Slots:
        """Leaves `tokenizer` as it is."""
        own = copy.deepcopy(tokenizer)
        catalog = Catalog(Tool(id=f"slot&&{i}", provider="slot", name=str(i)) for i in range(SLOTS))
        vocabulary = add_tool_tokens(own, catalog)
        own.chat_template = chat_template()
        return cls(own, vocabulary, PromptProtocol(own, vocabulary, catalog))

    def render(
        self,
        messages: Sequence[Message],
        tools: Mapping[str, Tool],
        max_tokens: int,
        token_weights: Mapping[Kind, float],
    ) -> Conversation:
        """A conversation up to `max_tokens`; `tools` are by id, what a token's kind is not named for weighs 1."""
        kept = list(messages)
        while len(used := _tools_of(kept)) > SLOTS:
            kept.pop()
        vocabulary = ToolVocabulary(tuple(used), self.vocabulary.tokens[: len(used)], self.vocabulary.first_id)
        catalog = Catalog(tools[name] for name in used)
        protocol = PromptProtocol(self.tokenizer, vocabulary, catalog, self.protocol.encoder)
        ids, weights = protocol.weighed(kept, 0, partial(parts_of, weights=token_weights))
        names = {vocabulary.sequence(name)[0]: name for name in (*ACTIONS, *used)}
        written = {i - 1: weight for i, weight in enumerate(weights[:max_tokens]) if weight and i}
        return Conversation(tuple(ids[:max_tokens]), {i: names[i] for i in {*ids} & names.keys()}, written)


def _tools_of(messages: Sequence[Message]) -> list[str]:
    """The ids of the tools that are called, by first use."""
    calls = (call["function"]["name"] for message in messages for call in message.get("tool_calls") or ())
    return [name for name in dict.fromkeys(calls) if name not in ACTIONS]
