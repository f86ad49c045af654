"""What an indexing takes, before it is made: for `toolgen plan`."""

from __future__ import annotations

import math
from dataclasses import dataclass

from toolgen.virtualization.indexing.codes import code_count
from toolgen.virtualization.indexing.hierarchical import BRANCHES
from toolgen.virtualization.indexing.numeric import numeric_width

NAME_TOKENS = 6.0
"""Tokens of a semantic tool with SmolLM2's tokenizer, its two new ones included; measured on BFCL."""


@dataclass(frozen=True)
class Size:
    """`new_tokens` rows in the model, and the mean length of a tool's sequence."""

    new_tokens: int
    tokens_per_tool: float


def expected_size(indexing: str, tools: int) -> Size:
    """Exact for atomic, numeric and codes; an estimate for the others."""
    match indexing:
        case "numeric":
            return Size(10 * numeric_width(tools), numeric_width(tools))
        case "hierarchical":
            # Clusters are uneven: a fifth more levels than a balanced tree has, and the deepest one level more (BFCL: 3.7, 5).
            depth = max(1.0, 1.2 * math.log(tools, BRANCHES))
            return Size(BRANCHES * math.ceil(depth + 1), depth)
        case "semantic":
            return Size(2, NAME_TOKENS)
        case "codes":
            return Size(2 * code_count(tools), 2.0)
    return Size(tools, 1.0)
