"""Calls written as text, `[get weather(city="Rome", days=3), ...]`, back to names and arguments.

Function names may hold spaces, dots, slashes and hyphens, so they are recognized by the names on offer. Nothing is
evaluated: values are Python or JSON literals.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Sequence
from typing import Any

from toolgen.errors import InputError
from toolgen.foreign.data import parse_json

MAX_TEXT = 100_000  # characters of one text
_PAIRS = {"(": ")", "[": "]", "{": "}"}


def parse_calls(text: str, names: Sequence[str]) -> list[tuple[str, dict[str, Any]]]:
    """The calls of a text that is nothing but calls; none for any other text.

    A call whose arguments cannot be read as `name=literal, ...` raises ValueError.
    """
    rest = text.strip()
    if len(rest) > MAX_TEXT:
        return []
    if listed := rest.startswith("[") and rest.endswith("]"):
        rest = rest[1:-1].strip()
    longest_first = sorted(set(names), key=len, reverse=True)
    calls: list[tuple[str, dict[str, Any]]] = []
    while rest:
        name = next(
            (one for one in longest_first if rest.startswith(one) and rest[len(one) :].lstrip()[:1] == "("), None
        )
        if name is None and calls and listed:
            raise ValueError(f"expected a call of a function on offer, got {rest[:60]!r}")
        if name is None:
            return []
        inner = rest[len(name) :].lstrip()
        end = _end(inner)
        calls.append((name, _arguments(inner[1:end])))
        rest = inner[end + 1 :].lstrip(" \n\t,;")
    return calls


def _end(text: str) -> int:
    """The place of the bracket that closes the one at the beginning."""
    for place, depth in _outside_quotes(text):
        if depth == 0:
            return place
    raise ValueError("a call is not closed")


def _outside_quotes(text: str) -> Iterator[tuple[int, int]]:
    """Each place outside quoted text, with the number of brackets that are open after it."""
    depth, quote, place = 0, "", 0
    while place < len(text):
        character = text[place]
        if quote:
            if character == "\\":
                place += 1
            elif text.startswith(quote, place):
                place += len(quote) - 1
                quote = ""
        elif character in "\"'":
            triple = text[place : place + 3] == 3 * character
            quote = character * (3 if triple else 1)
            place += len(quote) - 1
        else:
            depth += (character in _PAIRS) - (character in _PAIRS.values())
            yield place, depth
        place += 1


def _arguments(text: str) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    begin = 0
    places = [place for place, depth in _outside_quotes(text) if depth == 0 and text[place] == ","]
    for place in [*places, len(text)]:
        part, begin = text[begin:place].strip(), place + 1
        if not part:
            continue
        name, equals, value = part.partition("=")
        if not equals or not name.strip():
            raise ValueError(f"expected name=value, got {part[:60]!r}")
        arguments[name.strip().strip("\"'")] = literal(value.strip())
    return arguments


def literal(text: str) -> Any:
    """The value of a JSON or Python literal; ValueError if it is none."""
    try:
        return parse_json(text, "literal")
    except InputError:
        pass
    for python in (text, _python_words(text)):  # with JSON's words among Python's literals, too
        try:
            # Tuples become lists; what is no JSON value is refused.
            return parse_json(json.dumps(ast.literal_eval(python)), "literal")
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError, InputError):
            continue
    raise ValueError(f"expected a literal, got {text[:60]!r}")


def _python_words(text: str) -> str:
    words = {"true": "True", "false": "False", "null": "None"}
    result, last = [], 0
    for place, _ in _outside_quotes(text):
        for word, python in words.items():
            if text.startswith(word, place) and not text[place + len(word) : place + len(word) + 1].isalnum():
                result += [text[last:place], python]
                last = place + len(word)
    return "".join([*result, text[last:]])
