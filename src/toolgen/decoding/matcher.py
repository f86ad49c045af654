"""Matcher: a position inside a grammar, which tokens may come next.

Beside the grammar it keeps numbers such that they can be read: JSON has no largest number, but `1E1013` is infinite to whoever
reads it, and so are more digits than `foreign.data` takes. Knows token ids and bytes; no schema and no model.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from toolgen.foreign.data import MAX_DIGITS

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

LONGEST_CIRCLE, CIRCLES, LEAST_REPEATED = 64, 3, 64
"""A text goes round in circles if it ends with a piece of at most so many tokens, at least so many times, which are at least
so many tokens."""

# A number below this does not become infinite by one more token unless that brings an exponent.
_SHORT = 200
_DIGITS = re.compile("-?([0-9]*)")
_PART = re.compile(rb"[0-9.eE+-]+")


class NumberTokens(NamedTuple):
    """The tokens that go on with a number and what they add to it; apart from them those with a whole exponent."""

    every: Mapping[int, str]
    with_exponent: Mapping[int, str]

    @classmethod
    def of(cls, alphabet: Any, size: int) -> NumberTokens:
        """Those of the first `size` tokens."""
        parts = {token_id: _PART.match(alphabet.decode_bytes([token_id])) for token_id in range(size)}
        every = {token_id: part[0].decode() for token_id, part in parts.items() if part}
        return cls(every, {token_id: part for token_id, part in every.items() if re.search("[eE].*[0-9]", part)})


class EndTokens(NamedTuple):
    """The tokens that begin with the end of a string; those that begin with the end of an array or object."""

    string: Sequence[int]
    container: Sequence[int]

    @classmethod
    def of(cls, alphabet: Any, size: int) -> EndTokens:
        """Those of the first `size` tokens."""
        first = [bytes(alphabet.decode_bytes([token_id])[:1]) for token_id in range(size)]
        return cls(
            [token_id for token_id, byte in enumerate(first) if byte == b'"'],
            [token_id for token_id, byte in enumerate(first) if byte in (b"]", b"}")],
        )


class Matcher:
    """A position inside a grammar: which tokens may come next, and whether the object is complete."""

    def __init__(self, matcher: Any, alphabet: Any, *, size: int, numbers: NumberTokens, ends: EndTokens) -> None:
        self._matcher = matcher
        self._alphabet = alphabet
        self._size = size
        self._numbers, self._ends = numbers, ends
        self._inside = self._escaped = False  # a string
        self._is_dead = False  # no token is left
        self._number = ""  # what the text ends with, if it is the beginning of a number
        self.tokens: list[int] = []

    @property
    def complete(self) -> bool:
        """Whether the tokens so far are a whole object."""
        return bool(self._matcher.is_accepting())

    @property
    def stuck(self) -> bool:
        """Whether no token can follow although the object is not complete: a limit of the library was reached, or a number
        that has to go on would be too large."""
        return self._is_dead or (bool(self._matcher.is_stopped()) and not self.complete)

    @property
    def inside_string(self) -> bool:
        """Whether the text so far ends within a string."""
        return self._inside

    @property
    def number(self) -> str:
        """The number that the text ends with, perhaps its beginning; empty if it ends with none."""
        return self._number

    @property
    def text(self) -> str:
        """The tokens so far as text."""
        content: bytes = self._alphabet.decode_bytes(self.tokens)
        return content.decode("utf-8", errors="replace")

    def forced(self) -> list[int]:
        """The tokens that must come next because only one text is possible; often the next key."""
        return list(self._matcher.compute_ff_tokens())

    def allowed_V(self) -> npt.NDArray[np.bool_]:
        """Which of the base vocabulary's tokens may come next [V].

        Where the text goes round in circles, which a model that takes the likeliest token never leaves, only the end of the
        value, if the grammar admits one here.
        """
        import numpy as np

        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        allowed_V = np.unpackbits(bits, count=self._size, bitorder="little").astype(bool)
        if self._number:
            self._forbid_too_large(allowed_V)
            self._is_dead = not allowed_V.any()
        return self._only_ends(allowed_V) if goes_in_circles(self.tokens) else allowed_V

    def consume(self, token_id: int) -> None:
        """Moves on by one allowed token."""
        self._matcher.consume_token(token_id)
        self.tokens.append(token_id)
        for byte in self._alphabet.decode_bytes([token_id]):
            self._follow(chr(byte))

    def _follow(self, character: str) -> None:
        if self._inside:
            self._inside = self._escaped or character != '"'
            self._escaped = character == "\\" and not self._escaped
        elif character in "-0123456789" or (self._number and character in ".eE+"):
            self._number += character
        else:
            self._inside, self._number = character == '"', ""

    def _only_ends(self, allowed_V: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        places = self._ends.string if self._inside else self._ends.container
        places = [] if self._escaped else [place for place in places if allowed_V[place]]
        if places:
            allowed_V[:] = False
            allowed_V[places] = True
        return allowed_V

    def _forbid_too_large(self, allowed_V: npt.NDArray[np.bool_]) -> None:
        is_short = len(self._number) < _SHORT and "e" not in self._number.lower()
        for token_id, part in (self._numbers.with_exponent if is_short else self._numbers.every).items():
            if allowed_V[token_id] and not _can_be_read(self._number + part):
                allowed_V[token_id] = False


def goes_in_circles(tokens: Sequence[int]) -> bool:
    """Whether the last tokens are one short piece over and over."""
    if len(tokens) < LEAST_REPEATED:
        return False
    circles = range(1, min(LONGEST_CIRCLE, len(tokens) // CIRCLES) + 1)
    tails = ((circle, tokens[-max(CIRCLES * circle, LEAST_REPEATED) :]) for circle in circles)
    return any(tail[circle:] == tail[:-circle] for circle, tail in tails)


def _can_be_read(beginning: str) -> bool:
    digits = _DIGITS.match(beginning)
    if digits and len(digits[1]) > MAX_DIGITS:
        return False
    try:
        return math.isfinite(float(beginning.rstrip(".eE+-") or 0))
    except ValueError:  # not a number: the grammar knows
        return True
