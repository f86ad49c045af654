"""Conversations of one request with other values, in the request and in its calls alike, so that a model copies them.

What a request says word for word and a call takes is replaced in both, and in results and answer where they repeat it: a number
by one of as many digits, an identifier by one of the same form, a day by another, a member of an enumeration by another member,
and any other text by what other conversations of the set give to a parameter of that name. Also the same request for several
values, each a call. Knows no tokenizer and no model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from random import Random
from string import ascii_uppercase
from typing import Any, NamedTuple

from toolgen.catalog.catalog import Catalog
from toolgen.catalog.schema import best_fault
from toolgen.datasets.messages import actions_of
from toolgen.datasets.phrasing import listing
from toolgen.datasets.trajectory import Message
from toolgen.training.joining import conversation_of, is_joinable, joined_conversation

SHARE = 0.8
"""How often a value of a conversation with other values is another one."""
SEVERAL = (2, 3)
"""Fewest and most values of a request for several."""
SEVERAL_VALUES = 0.5
"""How often a conversation that is joined, where values vary, asks for several values of its own instead."""
FEWEST_TEXTS = 4
"""Texts that a parameter's name must have been given in a set, so that one of them may stand for another."""
MOST_WORDS = 8
"""Words of a text that may stand for another."""

_YEARS = (1900, 2035)
_DAY = re.compile(r"(\d{4})-\d\d-\d\d")
_IDENTIFIER = re.compile(r"(?=.*\d)[\w-]+")
_DATED = re.compile(r"\d{4}-|:")  # a time or a date in another form: its digits cannot be drawn one by one
_CHOICE = re.compile(r"[A-Za-z][A-Za-z ]*")

Path = tuple[str | int, ...]
Call = tuple[str, Mapping[str, Any]]


class _Said(NamedTuple):
    """A value that the request says once, word for word, and one call takes: where it stands in both, and its schema."""

    start: int
    end: int
    call: int
    path: Path
    value: Any
    schema: Mapping[str, Any]


class _Change(NamedTuple):
    """Another value for one that is said, and the words that say it."""

    said: _Said
    value: Any
    words: str


class OtherValues:
    """Other values for the conversations of a set, by the texts that all of them give to parameters of a name."""

    def __init__(self, conversations: Iterable[tuple[Sequence[Message], Catalog]]) -> None:
        texts: dict[str, dict[str, None]] = {}
        for messages, catalog in conversations:
            if is_joinable(messages):
                for one in _said(str(messages[0]["content"]), [*actions_of(messages[1])], catalog):
                    if _is_plain_text(one):
                        texts.setdefault(_name(one.path), {})[one.value] = None
        self._texts = {name: [*given] for name, given in texts.items() if len(given) >= FEWEST_TEXTS}

    def varied(self, messages: Sequence[Message], catalog: Catalog, random: Random) -> list[Message] | None:
        """The conversation with other values; None if it is not one request with its calls, or no value can be another."""
        if not is_joinable(messages):
            return None
        request = str(messages[0]["content"])
        drawn = [one for one in _said(request, [*actions_of(messages[1])], catalog) if random.random() < SHARE]
        return _with_changes(
            messages, catalog, [change for one in drawn if (change := self._change(one, request, random))]
        )

    def for_several(self, messages: Sequence[Message], catalog: Catalog, random: Random) -> list[Message] | None:
        """The conversation of one call for two or three values of a parameter, listed in the request; None if it cannot be."""
        if not is_joinable(messages) or len(calls := [*actions_of(messages[1])]) != 1:
            return None
        request = str(messages[0]["content"])
        if not (said := [one for one in _said(request, calls, catalog) if not isinstance(one.path[-1], int)]):
            return None
        chosen = random.choice(said)
        parts, values = [messages], [request[chosen.start : chosen.end]]
        for _ in range(random.randint(*SEVERAL) - 1):
            if not (change := self._change(chosen, request, random)) or change.words in values:
                return None
            if (part := _with_changes(messages, catalog, [change])) is None:
                return None
            parts.append(part)
            values.append(change.words)
        return joined_conversation(parts, request[: chosen.start] + listing(values) + request[chosen.end :])

    def _change(self, said: _Said, request: str, random: Random) -> _Change | None:
        """Another value and its words, if there is one that the request does not say yet."""
        words = request[said.start : said.end]
        if isinstance(said.value, str):
            if (text := self._other_text(said, request, random)) is None:
                return None
            return _Change(said, text, text.lower() if said.schema.get("enum") and words.islower() else text)
        number = _other_number(said.value, random)
        if number is None or number == said.value or said.schema.get("enum"):
            return None
        return _Change(said, number, str(int(number)) if "." not in words else str(number))

    def _other_text(self, said: _Said, request: str, random: Random) -> str | None:
        value, asked = said.value, request.lower()
        if members := said.schema.get("enum"):
            texts = [one for one in members if isinstance(one, str) and _CHOICE.fullmatch(one)]
            others = texts if value in texts else []
        elif day := _DAY.fullmatch(value):
            return f"{day[1]}-{random.randint(1, 12):02}-{random.randint(1, 28):02}"
        elif _IDENTIFIER.fullmatch(value):
            return None if _DATED.search(value) else _other_identifier(value, random)
        elif _is_plain_text(said):
            others = [one for one in self._texts.get(_name(said.path), ()) if one[0].isupper() == value[0].isupper()]
        else:
            return None
        others = [one for one in others if one.lower() not in asked]
        return random.choice(others) if others else None


def _said(request: str, calls: Sequence[Call], catalog: Catalog) -> list[_Said]:
    """The values of the calls that the request says once and no other value shares a word with."""
    found = [
        _Said(*places[0], number, path, value, schema)
        for number, (tool, arguments) in enumerate(calls)
        if tool in catalog
        for path, value, schema in _leaves(arguments, catalog.get(tool).parameters)
        if len(places := _places(value, schema, request)) == 1
    ]
    return [
        one
        for one in found
        if not any(one is not other and one.start < other.end and other.start < one.end for other in found)
    ]


def _leaves(value: Any, schema: Any, path: Path = ()) -> Iterator[tuple[Path, Any, Mapping[str, Any]]]:
    """The texts and numbers of arguments, where they stand, and the schema of each."""
    schema = schema if isinstance(schema, Mapping) else {}
    if isinstance(value, Mapping):
        for name, member in value.items():
            yield from _leaves(member, (schema.get("properties") or {}).get(name), (*path, name))
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from _leaves(item, schema.get("items"), (*path, place))
    elif value and not isinstance(value, bool):
        yield path, value, schema


def _places(value: Any, schema: Mapping[str, Any], request: str) -> list[tuple[int, int]]:
    """Where the request says a value: a number alone, in no date or time; a member of an enumeration in any case."""
    if isinstance(value, str):
        pattern = rf"(?<!\w){re.escape(value)}(?!\w)" if value.strip() else r"(?!)"
    else:
        number = rf"{int(value)}(?:\.0)?" if isinstance(value, float) and value.is_integer() else re.escape(str(value))
        pattern = rf"(?<![\w.,:/#-]){number}(?![\w:/-]|[.,]\d)"
    return [place.span() for place in re.finditer(pattern, request, re.IGNORECASE if schema.get("enum") else 0)]


def _with_changes(messages: Sequence[Message], catalog: Catalog, changes: Sequence[_Change]) -> list[Message] | None:
    """The conversation with the changes that its schemas allow; None if they allow none."""
    calls, kept = [*actions_of(messages[1])], []
    for change in changes:
        tool, arguments = calls[change.said.call]
        changed = _put(arguments, change.said.path, change.value)
        if best_fault(changed, catalog.get(tool).parameters) is None:
            calls[change.said.call] = (tool, changed)
            kept.append(change)
    if not kept:
        return None
    request = str(messages[0]["content"])
    for change in sorted(kept, key=lambda change: -change.said.start):
        request = request[: change.said.start] + change.words + request[change.said.end :]
    ((_, ended),) = actions_of(messages[-1])
    results = [_repeated(str(one["content"]), kept) for one in messages[2:-1]]
    return conversation_of(request, calls, results, _repeated(str(ended["answer"]), kept))


def _put(value: Any, path: Path, new: Any) -> Any:
    if not path:
        return new
    if isinstance(value, Mapping):
        return {name: _put(member, path[1:], new) if name == path[0] else member for name, member in value.items()}
    return [_put(item, path[1:], new) if place == path[0] else item for place, item in enumerate(value)]


def _repeated(text: str, changes: Iterable[_Change]) -> str:
    """What a result or an answer repeats of the values that were changed; one or two letters may be anything."""
    for change in changes:
        if len(old := str(change.said.value)) > 2:
            text = re.sub(rf"(?<![\w.]){re.escape(old)}(?!\w)", str(change.value).replace("\\", r"\\"), text)
    return text


def _name(path: Path) -> str:
    """The name of the parameter that holds a value."""
    return next((part.lower() for part in reversed(path) if isinstance(part, str)), "")


def _is_plain_text(said: _Said) -> bool:
    """Whether a value is words that other words can stand for."""
    value = said.value
    is_words = (
        isinstance(value, str) and len(value) > 2 and re.search(r"[^\W\d_]", value) and not re.search(r"\d", value)
    )
    return bool(is_words) and len(value.split()) <= MOST_WORDS and not said.schema.get("enum")


def _other_number(value: int | float, random: Random) -> int | float | None:
    """A number of as many digits and as many zeros at the end; another year for a year; None for what is no plain number."""
    written = str(value)
    if value < 0 or "e" in written or "n" in written:
        return None
    if isinstance(value, int):
        return random.randint(*_YEARS) if _YEARS[0] <= value <= _YEARS[1] else int(_other_digits(written, random))
    whole, _, part = written.partition(".")
    whole = whole if whole == "0" else _other_digits(whole, random)
    return float(f"{whole}.{part if part == '0' else _other_digits(part, random, first=0)}")


def _other_digits(written: str, random: Random, first: int = 1) -> str:
    digits = written.rstrip("0")
    inner = "".join(str(random.randint(0, 9)) for _ in digits[1:-1])
    ends = str(random.randint(1, 9)) if len(digits) > 1 else ""
    lead = random.randint(max(first, 0 if len(digits) > 1 else 1), 9)
    return f"{lead}{inner}{ends}".ljust(len(written), "0")


def _other_identifier(value: str, random: Random) -> str:
    """Other digits, and other capital letters where all letters are capital."""
    capital = value.upper() == value

    def other(letter: str) -> str:
        if letter.isdecimal():
            return str(random.randint(0, 9))
        return random.choice(ascii_uppercase) if capital and letter in ascii_uppercase else letter

    return "".join(map(other, value))
