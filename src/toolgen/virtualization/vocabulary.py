"""ToolVocabulary: tool id to its sequence of token ids and back, under every indexing.

All new rows are contiguous: the turn markers that the base lacks, the two actions `finish` and `no_tool`, then the tokens that
tools are written with. Under atomic indexing that is one row a tool in catalog order, so "only tool tokens" is one slice of the
logits; the other indexings share rows. No sequence is the beginning of another. Knows no tokenizer library and no tensor.

A catalog that changes keeps its token ids. A tool that is removed leaves its token free, and only a tool of the same name takes
it again; other new tools take spare tokens, `<<spare:0>>`, which were added before there was a tool for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

from toolgen.datasets.messages import FINISH, NO_TOOL
from toolgen.errors import CheckpointError
from toolgen.foreign.typed import typed
from toolgen.virtualization.options import INDEXINGS, Indexing

TURN_START, TURN_END = "<|im_start|>", "<|im_end|>"
ACTIONS = (FINISH, NO_TOOL)
ACTION_TOKENS = tuple(f"<<{action}>>" for action in ACTIONS)


@dataclass(frozen=True)
class ToolVocabulary:
    """`tool_ids[i]` is written `tokens[i]` in text and `sequences[i]` in token ids. `new_tokens` are the texts of the new
    tokens behind the actions, in the order of their ids; under atomic indexing by default those of the tools, else also some
    that no tool has. `markers` are the turn markers that were added right before `first_id`, because the base had none.

    `tool_id`, `token_id` and `row` are three things: the catalog's name, the id in the tokenizer, and the position among the
    tool rows (`rows`).
    """

    tool_ids: tuple[str, ...]
    tokens: tuple[str, ...]
    first_id: int
    indexing: Indexing = "atomic"
    new_tokens: tuple[str, ...] = ()
    sequences: tuple[tuple[int, ...], ...] = ()
    markers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.tool_ids) != len(self.tokens):
            raise CheckpointError(f"{len(self.tool_ids)} tools but {len(self.tokens)} tokens in the vocabulary")
        if self.is_atomic:
            object.__setattr__(self, "new_tokens", self.new_tokens or self.tokens)
            object.__setattr__(self, "sequences", tuple((self.tool_token_ids[row],) for row in self._own_rows()))
        elif len(self.sequences) != len(self.tool_ids):
            raise CheckpointError(f"{len(self.tool_ids)} tools but {len(self.sequences)} sequences in the vocabulary")
        elif clash := _first_prefix(self.sequences):
            names = " and ".join(repr(self.tool_ids[i]) for i in clash)
            raise CheckpointError(
                f"the tools {names} cannot be told apart by their tokens under {self.indexing} indexing; rename one of them or "
                "choose another --indexing"
            )

    def __len__(self) -> int:
        return len(self.tool_ids)

    def _own_rows(self) -> Sequence[int]:
        if self.new_tokens == self.tokens:
            return range(len(self.tokens))
        places = {text: row for row, text in enumerate(self.new_tokens)}
        if len(places) < len(self.new_tokens) or len({*self.tokens} & places.keys()) < len(self.tokens):
            raise CheckpointError("the vocabulary is damaged: its tools do not have one of its tokens each")
        return [places[text] for text in self.tokens]

    @cached_property
    def rows(self) -> Sequence[int]:
        """The place of each tool among the tool rows, under atomic indexing; a range as long as that is the catalog's order."""
        rows = [sequence[0] - self.tool_token_ids.start for sequence in self.sequences]
        return range(len(rows)) if rows == [*range(len(rows))] else rows

    @cached_property
    def free_tokens(self) -> tuple[str, ...]:
        """The new tokens that no tool has, under atomic indexing: spare ones, and those of tools that were removed."""
        used = frozenset(self.tokens)
        return tuple(text for text in self.new_tokens if text not in used) if self.is_atomic else ()

    @property
    def free_token_ids(self) -> list[int]:
        """Token ids of `free_tokens`."""
        free, start = frozenset(self.free_tokens), self.tool_token_ids.start
        return [start + row for row, text in enumerate(self.new_tokens) if text in free] if free else []

    @property
    def is_atomic(self) -> bool:
        """Whether every tool is one token of its own."""
        return self.indexing == "atomic"

    @cached_property
    def _sequences(self) -> Mapping[str, tuple[int, ...]]:
        actions = zip(ACTIONS, ((self.finish_id,), (self.no_tool_id,)), strict=True)
        return {**dict(actions), **dict(zip(self.tool_ids, self.sequences, strict=True))}

    @cached_property
    def _owners(self) -> Mapping[tuple[int, ...], str]:
        return {sequence: name for name, sequence in self._sequences.items()}

    @property
    def finish_id(self) -> int:
        """Token id of the action that ends the task."""
        return self.first_id

    @property
    def no_tool_id(self) -> int:
        """Token id of the action that declines."""
        return self.first_id + 1

    @property
    def marker_token_ids(self) -> Mapping[str, int]:
        """Token id of each turn marker that the base lacked."""
        return {marker: self.new_token_ids[i] for i, marker in enumerate(self.markers)}

    @property
    def new_token_ids(self) -> range:
        """Token ids of all rows that the base did not bring: the markers it lacked, the actions, the tools' tokens."""
        return range(self.first_id - len(self.markers), self.action_token_ids.stop)

    @property
    def action_token_ids(self) -> range:
        """Token ids of finish, no_tool, then those of the tools' tokens."""
        return range(self.first_id, self.first_id + len(ACTIONS) + len(self.new_tokens))

    @property
    def tool_token_ids(self) -> range:
        """Token ids of the new tokens behind the actions. Under atomic indexing one a tool, in catalog order, until tools are
        added or removed."""
        return self.action_token_ids[len(ACTIONS) :]

    def sequence(self, tool_id: str) -> tuple[int, ...]:
        """The token ids that name a tool, or one of the actions `finish` and `no_tool`."""
        try:
            return self._sequences[tool_id]
        except KeyError:
            raise CheckpointError(f"no token for {tool_id!r}: the vocabulary holds {len(self)} other tools") from None

    def token_id(self, tool_id: str) -> int:
        """The only token id of a tool, or of the actions; CheckpointError where a tool has several."""
        sequence = self.sequence(tool_id)
        if len(sequence) != 1:
            raise CheckpointError(f"{tool_id!r} is written with {len(sequence)} tokens under {self.indexing} indexing")
        return sequence[0]

    def tool_id(self, *token_ids: int) -> str | None:
        """The tool (or action) that a sequence of token ids names; None if it names none."""
        return self._owners.get(token_ids)

    def token(self, tool_id: str) -> str:
        """The text of a tool's (or action's) token, `<<provider&&name>>`, or of its tokens."""
        self.sequence(tool_id)  # says what is wrong with an unknown one
        return self._texts[tool_id]

    @cached_property
    def _texts(self) -> Mapping[str, str]:
        return dict(zip((*ACTIONS, *self.tool_ids), (*ACTION_TOKENS, *self.tokens), strict=True))

    @cached_property
    def all_tokens(self) -> tuple[str, ...]:
        """Texts of the actions and the tools' tokens, in the order of their ids."""
        return (*ACTION_TOKENS, *self.new_tokens)

    @property
    def tokens_per_tool(self) -> float:
        """Mean length of the sequences."""
        return sum(map(len, self.sequences)) / max(1, len(self))

    def to_dict(self) -> dict[str, Any]:
        """The part of `toolgen.json` that describes the vocabulary."""
        record: dict[str, Any] = {"indexing": self.indexing, "first_id": self.first_id, "markers": [*self.markers]}
        if self.new_tokens != self.tokens:
            record["new_tokens"] = list(self.new_tokens)
        if not self.is_atomic:
            record["sequences"] = dict(zip(self.tool_ids, self.sequences, strict=True))
        return record | {"tokens": dict(zip(self.tool_ids, self.tokens, strict=True))}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any], tool_ids: Sequence[str]) -> ToolVocabulary:
        """Reads `to_dict`; `tool_ids` gives the order of the catalog. Says which tools lack a token."""
        texts = tuple[str, ...]
        try:
            first_id, tokens = typed(int, record["first_id"]), typed(dict[str, str], record["tokens"])
            indexing, markers = record["indexing"], typed(texts, record["markers"])
            new_tokens = typed(texts, record.get("new_tokens", ()))
            sequences = typed(dict[str, tuple[int, ...]], record.get("sequences", {}))
        except (KeyError, ValueError) as error:
            raise CheckpointError(
                f"the vocabulary is damaged: expected first_id, tokens, indexing and markers ({error!r})"
            ) from error
        if indexing not in INDEXINGS:
            raise CheckpointError(f"unknown indexing {indexing!r}; this toolgen reads {', '.join(INDEXINGS)}")
        missing = [tool_id for tool_id in tool_ids if tool_id not in tokens]
        extra = tokens.keys() - set(tool_ids)
        if missing or extra:
            raise CheckpointError(
                f"vocabulary and catalog differ: {len(missing)} tools without a token {missing[:3]}, "
                f"{len(extra)} tokens without a tool {sorted(extra)[:3]}"
            )
        return cls(
            tuple(tool_ids),
            tuple(tokens[tool_id] for tool_id in tool_ids),
            first_id,
            indexing,
            new_tokens,
            tuple(tuple(sequences[tool_id]) for tool_id in tool_ids if tool_id in sequences),
            markers,
        )


def _first_prefix(sequences: Sequence[tuple[int, ...]]) -> tuple[int, int] | None:
    """The places of two sequences of which one begins with the other; in sorted order they are neighbours. An empty sequence
    begins every other."""
    order = sorted(range(len(sequences)), key=sequences.__getitem__)
    for first, second in pairwise(order):
        if sequences[second][: len(sequences[first])] == sequences[first]:
            return first, second
    return None
