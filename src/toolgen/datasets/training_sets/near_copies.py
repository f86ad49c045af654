"""Keeps training texts apart from test requests: finds near copies by the word sequences that two texts share."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

LENGTH = 8
"""Words of a sequence that counts as shared."""
SHARE = 0.5
"""A text is a near copy if it shares this part of its sequences, or of the test request's, whichever is shorter."""
FEWEST = 4
"""Words that a text needs to be told from any other."""

_WORD = re.compile(r"[^\W_]+")


class NearCopies:
    """The test requests that no training text may repeat."""

    def __init__(self, requests: Iterable[str]) -> None:
        self._sizes: list[int] = []
        self._owners: dict[tuple[str, ...], list[int]] = {}
        for grams in {frozenset(_grams(request)) for request in requests}:
            for gram in grams:
                self._owners.setdefault(gram, []).append(len(self._sizes))
            self._sizes.append(len(grams))

    def __len__(self) -> int:
        return len(self._sizes)

    def __contains__(self, text: str) -> bool:
        """Whether `text` is a near copy of a test request.

        A text of fewer than LENGTH words is one only of the same words; one of fewer than FEWEST never is: a greeting
        belongs to nobody.
        """
        grams = frozenset(_grams(text))
        shared = Counter(owner for gram in grams for owner in self._owners.get(gram, ()))
        return any(count >= SHARE * min(len(grams), self._sizes[owner]) for owner, count in shared.items())


def _grams(text: str) -> list[tuple[str, ...]]:
    words = tuple(_WORD.findall(text.lower()))
    if len(words) < FEWEST:
        return []
    return [words[start : start + LENGTH] for start in range(max(1, len(words) - LENGTH + 1))]
