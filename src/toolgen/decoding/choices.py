"""What was free to choose in a conversation that is there already: the same choices as in decoding, read instead of drawn.

Knows a decoder and token ids; no model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from toolgen.decoding.decoder import ToolDecoder
from toolgen.decoding.matcher import Matcher
from toolgen.inference.session import Draw
from toolgen.inference.trie import ROOT
from toolgen.virtualization.vocabulary import ACTIONS

if TYPE_CHECKING:
    from toolgen.inference.session import Allowed


def choices(
    decoder: ToolDecoder, ids: Sequence[int], written: Sequence[bool], tools: Sequence[str] | None
) -> Iterator[Draw]:
    """The choices of `tools` (None: of the whole catalog) and arguments among the `written` of the token ids, with what was
    allowed there and no probability.

    Words beside calls, and an answer's, are no choice. Neither is what follows, in the same message, arguments that no decoding
    would have written so.
    """
    reader = _Reader(decoder, tools)
    for place, (token, own) in enumerate(zip(ids, written, strict=True)):
        if own and (free := reader.read(token)):
            yield Draw(ids[:place], token, free.allowed, math.nan, free.purpose)


class _Free(NamedTuple):
    """What was allowed in the place of a token, as a part of what."""

    allowed: Allowed
    purpose: str = ""


class _Reader:
    """Reads what an assistant wrote, token by token."""

    def __init__(self, decoder: ToolDecoder, tools: Sequence[str] | None) -> None:
        self._decoder = decoder
        self._first, self._further = decoder.actions(tools), decoder.actions(tools, required=True)
        self._end = decoder.protocol.end_id
        self._begin_message()

    def read(self, token: int) -> _Free | None:
        """Goes on by a token; None if it was no choice."""
        if self._is_over:
            if token == self._end:
                self._begin_message()
            return None
        if self._matcher is not None and not self._matcher.complete:
            return self._argument(token, self._matcher)
        return self._action(token)

    def _begin_message(self) -> None:
        self._is_over = False
        self._matcher: Matcher | None = None  # of the last call of the message
        self._call = ""
        self._node = ROOT

    def _action(self, token: int) -> _Free | None:
        """A token of the first action of a message, or of a further call."""
        actions = self._first if self._matcher is None else self._further
        tokens_L = actions.trie.tokens_M[actions.trie.children(self._node)]
        if self._matcher is not None and self._node == ROOT:
            tokens_L = np.append(tokens_L, self._end)
        if token == self._end:
            is_free = self._matcher is not None
            self._begin_message()
            return _Free(tokens_L) if is_free else None
        child = actions.trie.child(self._node, token)
        if child is None:
            return None
        row = int(actions.trie.rows_M[child])
        self._node = child if row < 0 else ROOT
        if row >= 0:
            self._call = actions.names[row]
            self._is_over = self._call in ACTIONS
            self._matcher = None if self._is_over else self._decoder.matcher(self._call)
        return _Free(tokens_L)

    def _argument(self, token: int, matcher: Matcher) -> _Free | None:
        """A token of the arguments of a call."""
        if matcher.forced()[:1] == [token]:
            matcher.consume(token)
            return None
        allowed_V = matcher.allowed_V()
        if token >= len(allowed_V) or not allowed_V[token]:
            self._is_over = True
            return None
        matcher.consume(token)
        return _Free(allowed_V, self._call)
