"""ToolVocabulary: tool id to token id and back, under atomic indexing.

All rows of a vocabulary are contiguous: the two actions `finish` and `no_tool`, then one row a tool in catalog order.
So "only tool tokens" is one slice of the logits. Knows no tokenizer library and no tensor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from toolgen.datasets.messages import FINISH, NO_TOOL
from toolgen.errors import CheckpointError

ACTIONS = (FINISH, NO_TOOL)

FINISH_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {"answer": {"type": "string"}, "gave_up": {"type": "boolean"}},
    "required": ["answer"],
    "additionalProperties": False,
}
"""JSON Schema of the arguments of `finish`."""


@dataclass(frozen=True)
class ToolVocabulary:
    """`tool_ids[i]` owns token id `first_id + len(ACTIONS) + i`, written `tokens[i]` in text.

    `tool_id`, `token_id` and `row` are three things: the catalog's name, the id in the tokenizer, and the position
    among the tool rows (equal to the position in the catalog).
    """

    tool_ids: tuple[str, ...]
    tokens: tuple[str, ...]
    first_id: int

    def __post_init__(self) -> None:
        if len(self.tool_ids) != len(self.tokens):
            raise CheckpointError(f"{len(self.tool_ids)} tools but {len(self.tokens)} tokens in the vocabulary")

    def __len__(self) -> int:
        return len(self.tool_ids)

    @cached_property
    def _token_ids(self) -> Mapping[str, int]:
        return {name: self.first_id + i for i, name in enumerate((*ACTIONS, *self.tool_ids))}

    @property
    def finish_id(self) -> int:
        """Token id of the action that ends the task."""
        return self.first_id

    @property
    def no_tool_id(self) -> int:
        """Token id of the action that declines."""
        return self.first_id + 1

    @property
    def action_token_ids(self) -> range:
        """Token ids of everything the model may choose: finish, no_tool, then every tool."""
        return range(self.first_id, self.first_id + len(ACTIONS) + len(self.tool_ids))

    @property
    def tool_token_ids(self) -> range:
        """Token ids of the tools alone, in catalog order."""
        return self.action_token_ids[len(ACTIONS) :]

    def token_id(self, tool_id: str) -> int:
        """Token id of a tool, or of the actions `finish` and `no_tool`."""
        try:
            return self._token_ids[tool_id]
        except KeyError:
            raise CheckpointError(f"no token for {tool_id!r}: the vocabulary holds {len(self)} other tools") from None

    def tool_id(self, token_id: int) -> str | None:
        """The tool (or action) that a token id names; None for an ordinary token."""
        position = token_id - self.first_id
        if not 0 <= position < len(ACTIONS) + len(self.tool_ids):
            return None
        return ACTIONS[position] if position < len(ACTIONS) else self.tool_ids[position - len(ACTIONS)]

    def token(self, tool_id: str) -> str:
        """The text of a tool's (or action's) token, `<<provider&&name>>`."""
        return self.all_tokens[self.token_id(tool_id) - self.first_id]

    @cached_property
    def all_tokens(self) -> tuple[str, ...]:
        """Token texts in the order of their ids, the actions first."""
        return (*(f"<<{action}>>" for action in ACTIONS), *self.tokens)

    def to_dict(self) -> dict[str, Any]:
        """The part of `toolgen.json` that describes the vocabulary."""
        return {"first_id": self.first_id, "tokens": dict(zip(self.tool_ids, self.tokens, strict=True))}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any], tool_ids: Sequence[str]) -> ToolVocabulary:
        """Reads `to_dict`; `tool_ids` gives the order of the catalog. Says which tools lack a token."""
        try:
            first_id, tokens = int(record["first_id"]), dict(record["tokens"])
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"the vocabulary is damaged: expected first_id and tokens ({error!r})") from error
        missing = [tool_id for tool_id in tool_ids if tool_id not in tokens]
        extra = tokens.keys() - set(tool_ids)
        if missing or extra:
            raise CheckpointError(
                f"vocabulary and catalog differ: {len(missing)} tools without a token {missing[:3]}, "
                f"{len(extra)} tokens without a tool {sorted(extra)[:3]}"
            )
        return cls(tuple(tool_ids), tuple(tokens[tool_id] for tool_id in tool_ids), first_id)
