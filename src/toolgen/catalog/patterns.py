"""Regular expressions of foreign schemas, matched in linear time.

A backtracking engine such as Python's can be kept busy for hours by `(a+)+$` and thirty letters. Patterns run in the engine
that the decoder follows them with (llguidance: derivatives, no backtracking, bounded memory), so that what decoding admits is
what validation accepts. It knows no look-around and no back-references; a pattern with them is not run. Knows no schema.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

MAX_PATTERN = 20_000  # characters
CACHED = 1_000
"""Characters of the longest pattern that stays compiled; with longer ones a client of a server could fill its memory."""


def is_pattern(text: str) -> bool:
    """Whether a text is a regular expression that can be run."""
    return _grammar(text) is not None


def matches(pattern: str, text: str) -> bool:
    """Whether a text has a part that matches, as `pattern` of JSON Schema asks; True for what is no pattern.

    False too where the engine gives up: a pattern whose check needs more than its bounds is not taken on trust.
    """
    grammar = _grammar(pattern)
    if grammar is None:
        return True
    from llguidance import LLMatcher

    matcher = LLMatcher(_alphabet(), grammar)
    tokens = list(json.dumps(text, ensure_ascii=False).encode("utf-8", "replace"))
    return bool(
        matcher.validate_tokens(tokens) == len(tokens) and matcher.consume_tokens(tokens) and matcher.is_accepting()
    )


def _grammar(pattern: str) -> str | None:
    """The grammar of the JSON texts that match, or None if the pattern cannot be run."""
    if len(pattern) > MAX_PATTERN:
        return None
    return _cached(pattern) if len(pattern) <= CACHED else _compiled(pattern)


@lru_cache(maxsize=1 << 14)
def _cached(pattern: str) -> str | None:
    return _compiled(pattern)


def _compiled(pattern: str) -> str | None:
    from llguidance import LLMatcher

    grammar: str = LLMatcher.grammar_from_json_schema(json.dumps({"type": "string", "pattern": pattern}))
    return None if LLMatcher.validate_grammar(grammar, _alphabet()) else grammar


@lru_cache(maxsize=1)
def _alphabet() -> Any:
    """Bytes as tokens."""
    from llguidance import LLTokenizer

    return LLTokenizer("byte")
