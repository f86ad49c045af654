"""Whether the values of a call can be known from what was said before it, or were made up. Knows no set and no model."""

from __future__ import annotations

import calendar
import re
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from typing import Any

_IDEOGRAPH = r"\u3040-\u30ff\u3400-\u9fff"
_WORD = re.compile(
    rf"\d+(?:,\d{{3}})+(?!\d)|\d+(?=(?:st|nd|rd|th|am|pm|km|kg|cm|mm|m|g)\b)|[{_IDEOGRAPH}]|(?:(?![{_IDEOGRAPH}])[^\W_])+",
    re.IGNORECASE,
)  # a number with its thousands; a number before its ordinal or unit; a letter of a script without spaces; any other word
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_ORDINALS = ("", "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_COUNTED = {name: str(number) for names in (_NUMBERS, _ORDINALS) for number, name in enumerate(names) if name}
_MONTHS = tuple(name.lower() for name in calendar.month_name[1:])
_DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::\d\d)?Z?)?")
_OTHER_DATE = re.compile(r"(\d\d?)[-/.](\d\d?)[-/.](\d{4})")
_CLOCK = re.compile(r"(\d\d?):(\d\d)(?::00)?")
_PLACE = re.compile(r"(\w.*), [A-Z]{2}")
_PERCENT = re.compile(r"%|\bper ?cent\b", re.IGNORECASE)


def unevidenced_values(arguments: Mapping[str, Any], schema: Mapping[str, Any], text: str) -> list[str]:
    """The paths of the values that `text` does not give away.

    A text is evidenced if all its words occur, a number if its digits or its word do, a date if its day and month do, a time of
    day if its hour and minutes do, a share (0.2) if its percents do, a city with its state (`Oslo, MN`) if the city does.
    Booleans, members of an enumeration and defaults are choices that the documentation offers, and need no evidence.
    """
    words = _words(text)
    return [path for path, value in _leaves(arguments, schema, "") if not _is_evidenced(value, words)]


def is_evidenced(arguments: Mapping[str, Any], schema: Mapping[str, Any], text: str) -> bool:
    """Whether `text` gives away every value."""
    return not unevidenced_values(arguments, schema, text)


def end_of(value: Any, text: str) -> int:
    """Where the first place of `text` that says a text or number ends, as it is written or else in other words; 0: nowhere."""
    if place := re.search(rf"(?<!\w){re.escape(str(value))}(?!\w|[.,]\d)", text, re.IGNORECASE):
        return place.end()
    needed, said = _needed(value), [(_forms(word[0]), word.end()) for word in _WORD.finditer(text)]
    for first in range(len(said) - len(needed) + 1 if needed else 0):
        part = said[first : first + len(needed)]
        if all(_is_one_of(word, forms) for word, (forms, _) in zip(needed, part, strict=True)):
            return part[-1][1]
    return 0


def is_said(value: Any, text: str) -> bool:
    """Whether `text` says a text or number, or each item of a list of them, in one piece; never of another value."""
    if isinstance(value, list):
        return bool(value) and all(is_said(item, text) for item in value)
    return isinstance(value, (str, int, float)) and not isinstance(value, bool) and end_of(value, text) > 0


def _leaves(value: Any, schema: Any, path: str) -> Iterator[tuple[str, Any]]:
    schema = schema if isinstance(schema, Mapping) else {}
    if isinstance(value, Mapping):
        properties = schema.get("properties") or {}
        for name, member in value.items():
            yield from _leaves(member, properties.get(name), f"{path}.{name}" if path else str(name))
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            yield from _leaves(item, schema.get("items"), f"{path}[{number}]")
    elif not _is_choice(value, schema):
        yield path, value


def _is_choice(value: Any, schema: Mapping[str, Any]) -> bool:
    return isinstance(value, bool) or value is None or value in schema.get("enum", ()) or value == schema.get("default")


def _is_evidenced(value: Any, words: frozenset[str]) -> bool:
    return any(all(_is_one_of(word, words) for word in way) for way in _ways(value))


def _ways(value: Any) -> Iterator[list[str]]:
    """The ways to say a value, each as the words that it takes."""
    yield _needed(value)
    text = str(value).strip()
    if isinstance(value, float) and 0 < value < 1:
        yield [*_needed(round(100 * value, 9)), "%"]
    elif place := _PLACE.fullmatch(text):
        yield _needed(place[1])
    elif clock := _CLOCK.fullmatch(text):
        minutes = [_plain(clock[2])] if int(clock[2]) else []
        yield from ([hour, *minutes] for hour in _hours(int(clock[1])))
    elif date := _DATE.fullmatch(text):
        hours = [[hour] for hour in _hours(int(date[4]))] if int(date[4] or 0) else [[]]
        days = _days(date[1], int(date[2]), int(date[3]))
        yield from ([*day, *hour] for day in days for hour in hours)
    elif date := _OTHER_DATE.fullmatch(text):
        first, second = int(date[1]), int(date[2])
        yield from (*_days(date[3], first, second), *_days(date[3], second, first))


def _days(year: str, month: int, day: int) -> list[list[str]]:
    """A day with its month by name, or with the month's number and the year."""
    if not 1 <= month <= 12:
        return []
    name = _MONTHS[month - 1]
    return [[str(day), name], [str(day), name[:3]], [str(day), str(month), year]]


def _hours(hour: int) -> list[str]:
    return [str(hour), str((hour - 1) % 12 + 1)]


def _needed(value: Any) -> list[str]:
    """The words that say a text or number."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return [_plain(word) for word in _WORD.findall(str(value))]


def _is_one_of(word: str, forms: Collection[str]) -> bool:
    return word in forms or _stem(word) in forms


@lru_cache(maxsize=64)
def _words(text: str) -> frozenset[str]:
    """The words of a text in the forms in which a value may repeat them."""
    said = frozenset(form for word in _WORD.findall(text) for form in _forms(word))
    return said | {"%"} if _PERCENT.search(text) else said


def _forms(word: str) -> set[str]:
    plain = _plain(word)
    return {plain, _stem(plain)} | {_COUNTED[one] for one in (plain, _stem(plain)) if one in _COUNTED}


def _plain(word: str) -> str:
    """`1,000` is `1000`, `05` is `5`, `Oslo` is `oslo`."""
    word = word.lower().replace(",", "")
    return str(int(word)) if word.isdecimal() and len(word) < 4 else word


def _stem(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") else word
