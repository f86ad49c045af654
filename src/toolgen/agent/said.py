"""What calls take from a conversation: what of a request is left behind them, and which arguments nobody asked for.

Knows no model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from toolgen.catalog.schema import best_fault
from toolgen.datasets.training_sets.evidence import end_of, is_evidenced
from toolgen.datasets.trajectory import Message

LONG = 23
"""So many words that calls leave of a request ask for another call."""
_JOIN = r"(?:and|then|also|plus|as well as|after that|afterwards?|finally|lastly|next|additionally|in addition)\b"
_JOINED = re.compile(rf"\W*{_JOIN}\W+\w|[^.?!]{{0,25}}[.?!;,]\s*{_JOIN}\W+\w", re.IGNORECASE)
_SENTENCE = re.compile(rf"[.?!;]\s*{_JOIN}", re.IGNORECASE)


def rest_of(request: str, calls: Iterable[Mapping[str, Any]]) -> str:
    """The text behind the last value that the arguments of `calls` take from a request; calls follow a request's order."""
    return request[max(_ends(request, calls), default=0) :]


def further_ask(request: str, calls: Iterable[Mapping[str, Any]]) -> str:
    """The part of a request that asks for a call beside those with the arguments `calls`; empty if none does, or if they take
    no value from it.

    That is the text behind their values if it goes on with an English joining word, at once or behind a few characters, or for
    LONG words; else, if what they take comes behind a sentence that begins with such a word, the text before that sentence.
    Found on seven published sets of conversations (docs/experiments.md, "Whether a further call follows, by the words left").
    """
    ends = _ends(request, calls)
    if not ends:
        return ""
    rest, before = request[max(ends) :], request[: min(ends)]
    if _JOINED.match(rest) or len(re.findall(r"\w+", rest)) >= LONG:
        return rest
    starts = [sentence.start() for sentence in _SENTENCE.finditer(before)]
    return before[: starts[-1]] if starts else ""


def without_unsaid(arguments: Mapping[str, Any], schema: Mapping[str, Any], text: str) -> dict[str, Any]:
    """The arguments without optional ones that `text` does not give away; all of them if the schema does not allow that.

    What the documentation offers, such as a default or a member of an enumeration, may stay.
    """
    required = schema.get("required") or ()
    kept = {
        name: value
        for name, value in arguments.items()
        if name in required or is_evidenced({name: value}, schema, text)
    }
    return kept if best_fault(kept, schema) is None else dict(arguments)


def text_of(messages: Sequence[Message]) -> str:
    """All that was said, called and answered in a conversation."""
    calls = (call["function"]["arguments"] for one in messages for call in one.get("tool_calls") or ())
    return "\n".join([*(str(one.get("content") or "") for one in messages), *map(str, calls)])


def _ends(request: str, calls: Iterable[Mapping[str, Any]]) -> list[int]:
    """Where the values end that the arguments of `calls` take from a request."""
    return [end for value in _values([*calls]) if (end := end_of(value, request))]


def _values(value: Any) -> Iterator[Any]:
    """The texts and numbers in a value."""
    if isinstance(value, Mapping):
        value = [*value.values()]
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _values(item)
    elif value and not isinstance(value, bool):
        yield value
