"""Spelling: how every tool of a catalog is written in new tokens. Knows no tokenizer.

A text and not a list of numbers is what says how a tool is written: the tokenizer turns it into the sequence of token ids, so
that what the chat template writes and what the model generates are the same by construction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spelling:
    """`tokens` are the texts of the new tokens in the order of their ids, `texts[i]` is that of the i-th tool."""

    indexing: str
    tokens: tuple[str, ...]
    texts: tuple[str, ...]


def digits(indexing: str, sequences: Sequence[Sequence[int]]) -> Spelling:
    """One new token for each number at each place that some sequence uses: `<<2:7>>` is number 7 at the second place.

    A number means one thing at one place only, so places share no token.
    """
    used = sorted({(place, number) for numbers in sequences for place, number in enumerate(numbers, start=1)})
    return Spelling(
        indexing,
        tokens=tuple(_token(place, number) for place, number in used),
        texts=tuple(
            "".join(_token(place, number) for place, number in enumerate(numbers, start=1)) for numbers in sequences
        ),
    )


def _token(place: int, number: int) -> str:
    return f"<<{place}:{number}>>"
