"""Semantic indexing: a tool is its readable name, in the base's own sub-tokens between a new opening and a new closing token.

ToolGen, arXiv 2410.03439, section 3.2. The two tokens keep the sub-tokens apart from what stands around them, so that a name is
always cut into the same ones, and no name can be the beginning of another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from toolgen.catalog.catalog import Catalog
from toolgen.catalog.naming import clean_part
from toolgen.catalog.text import display_name, spaced_words
from toolgen.virtualization.indexing.spelling import Spelling

OPEN, CLOSE = "<<tool>>", "<</tool>>"

Encode = Callable[[Sequence[str]], list[list[int]]]
"""Texts to their sub-tokens."""


def semantic(catalog: Catalog, encode: Encode) -> Spelling:
    """` weather get forecast` between the two tokens; tools whose names have the same sub-tokens get a number behind."""
    names = [spaced_words(clean_part(display_name(tool))) for tool in catalog]
    encoded = [tuple(ids) for ids in encode(names)]
    used: set[tuple[int, ...]] = set()
    numbers: dict[str, int] = {}  # where the search for a free number goes on
    texts = []
    for name, ids in zip(names, encoded, strict=True):
        text = name
        while ids in used and numbers.get(name, 1) <= len(catalog):
            numbers[name] = numbers.get(name, 1) + 1
            text = f"{name} {numbers[name]}"
            ids = tuple(encode([text])[0])
        used.add(ids)
        texts.append(f"{OPEN}{text}{CLOSE}")
    return Spelling("semantic", (OPEN, CLOSE), tuple(texts))
