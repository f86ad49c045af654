"""A call of a Python function: JSON arguments in, one bounded text out, whatever the function does on the way.

Knows no tool and no agent.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from toolgen.catalog.loaders.common import shortened
from toolgen.catalog.python.modules import Member
from toolgen.foreign.data import clean_text

MAX_RESULT = 100_000  # characters
MAX_ERROR = 2_000
_TYPE_NAME = vars(type)["__name__"]


@dataclass(frozen=True)
class Answer:
    """What a call came back with: its result as text, or what went wrong."""

    text: str
    failed: bool = False


class Functions:
    """Functions by name, called one at a time. Coroutines are run to their end in one event loop of their own."""

    def __init__(self, members: Mapping[str, Member]) -> None:
        self._functions = {name: member.function for name, member in members.items()}
        self._converters = {name: one.signature(lambda _line: None).converter() for name, one in members.items()}
        self._loop: asyncio.Runner | None = None

    def call(self, name: str, arguments: Mapping[str, Any]) -> Answer:
        """One call. Arguments become what the function's hints say (dates, enumerations, dataclasses)."""
        try:
            given = self._converters[name](arguments)
        except Exception as error:  # a type of the user's may raise anything while it is validated
            return Answer(
                f"invalid arguments: {error_text(error, named=not isinstance(error, ValueError))}", failed=True
            )
        try:
            value = self._functions[name](**given)
            if inspect.isawaitable(value):
                value = self._wait(value)
        except BaseException as error:  # SystemExit too: whatever a tool raises is its result, not the end of the agent
            return Answer(error_text(error), failed=True)
        try:
            return Answer(result_text(value))
        except BaseException as error:
            kind = _kind_of(value)
            return Answer(f"the call was made, but its result, of type {kind}, has no text: {error_text(error)}", True)

    def close(self) -> None:
        """Ends the event loop."""
        if self._loop:
            self._loop.close()

    def _wait(self, awaitable: Any) -> Any:
        async def wait() -> Any:
            return await awaitable

        self._loop = self._loop or asyncio.Runner()
        return self._loop.run(wait())


def result_text(value: object) -> str:
    """A function's result as text of at most `MAX_RESULT` characters: strings as they are, all else as JSON, or as `str()`
    has it where JSON cannot. Numbers that JSON lacks become strings ("NaN"); of an iterator no more is read than fits."""
    if isinstance(value, str):
        return _text(str.__str__(value), MAX_RESULT)
    if isinstance(value, Iterator):
        value = list(islice(value, MAX_RESULT))
    return shortened(_json_text(value), MAX_RESULT)


def error_text(error: BaseException, *, named: bool = True) -> str:
    """An exception in one text of at most `MAX_ERROR` characters, with its type's name first if `named`."""
    kind = _kind_of(error)
    try:
        text = _text(str.__str__(str(error)), MAX_ERROR)
    except BaseException as other:
        text, named = f"(its text cannot be read: {_kind_of(other)})", True
    return shortened(": ".join(filter(None, (kind, text))) if named else text, MAX_ERROR)


def _kind_of(value: object) -> str:
    """The name of a value's type, also where a metaclass raises when it is asked for it."""
    return clean_text(str.__str__(_TYPE_NAME.__get__(type(value))))


def _text(text: str, limit: int) -> str:
    """A clean text, cut before it is looked at: that takes seconds for 100 MB."""
    return shortened(clean_text(text[: limit + 1]), limit)


def _json_text(value: object) -> str:
    from pydantic_core import to_jsonable_python

    for bytes_mode in ("utf8", "base64"):
        try:
            plain = to_jsonable_python(value, fallback=str, bytes_mode=bytes_mode)
            return json.dumps(_sound(plain), ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError, RecursionError):  # of bytes that are no text, of a circle, of a deep nesting
            continue
    return _text(str.__str__(str(value)), MAX_RESULT)


def _sound(value: Any) -> Any:
    """The same value without what JSON and UTF-8 lack."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, list):
        return [_sound(item) for item in value]
    if isinstance(value, dict):
        return {_sound(key): _sound(item) for key, item in value.items()}
    return value
