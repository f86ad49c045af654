"""Calls of functions: one short text for whatever comes back, and for whatever goes wrong."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from typing import Any

import pytest

from toolgen.catalog.python.calls import MAX_ERROR, MAX_RESULT, Answer, Functions, result_text
from toolgen.catalog.python.modules import member_of


def call(function: Any) -> Answer:
    return Functions({"f": member_of(function)}).call("f", {})


def raising(error: BaseException) -> Any:
    def f() -> None:
        raise error

    return f


class Silent(Exception):
    def __str__(self) -> str:
        raise RuntimeError

    __repr__ = __str__


class Shy(type):
    def __getattribute__(cls, name: str) -> Any:
        raise RuntimeError(name)


class Nameless(Exception, metaclass=Shy):
    pass


class Unprintable:
    def __repr__(self) -> str:
        raise KeyboardInterrupt


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("no rain"), "ValueError: no rain"),
        (SystemExit(3), "SystemExit: 3"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (Silent(), "Silent: (its text cannot be read: RuntimeError)"),
        (ValueError("a\udc80b"), "ValueError: a?b"),
        (Nameless("x"), "Nameless: x"),
    ],
)
def test_whatever_a_function_raises_is_one_text(error: BaseException, text: str) -> None:
    assert call(raising(error)) == Answer(text, failed=True)


def test_long_errors_are_cut() -> None:
    assert len(call(raising(ValueError("x" * 5_000_000))).text) <= MAX_ERROR + 4


def test_results_of_any_type_become_text() -> None:
    loop: list[object] = []
    loop.append(loop)
    assert result_text("as is") == "as is"
    assert result_text({"a": {1}}) == '{"a": [1]}'
    assert result_text(object).startswith('"<class')
    assert result_text(loop) == "[[...]]"
    assert result_text({"a": b"\xff", "b": b"text"}) == '{"a": "_w==", "b": "dGV4dA=="}'
    assert result_text(item for item in (1, 2)) == "[1, 2]"


def test_results_are_json_without_numbers_and_characters_that_json_lacks() -> None:
    value = {"a": [float("nan"), float("inf"), -float("inf"), 1.5], "b": "\udc80", "c": (float("nan"),)}
    text = result_text(value)
    assert text == '{"a": ["NaN", "Infinity", "-Infinity", 1.5], "b": "?", "c": ["NaN"]}'
    assert json.loads(text, parse_constant=pytest.fail)
    result_text({"\udc80": 1}).encode()
    assert result_text("a\udc80") == "a?"


@pytest.mark.parametrize(
    "value",
    ["x" * 5_000_000, list(range(200_000)), itertools.count(), {"a": "é" * 300_000}],
    ids=lambda value: type(value).__name__,
)
def test_long_results_are_cut(value: Any) -> None:
    assert MAX_RESULT <= len(result_text(value)) <= MAX_RESULT + 4


def test_a_long_text_is_cut_before_it_is_cleaned() -> None:
    text = "x" * 100_000_000
    begin = time.process_time()
    assert len(result_text(text)) <= MAX_RESULT + 4
    assert time.process_time() - begin < 1, "it took 5 s on one core"


@pytest.mark.parametrize(
    "value", [Unprintable(), [Unprintable()], nested(100_000), 10**10_000], ids=lambda value: type(value).__name__
)
def test_a_result_without_text_says_that_the_call_was_made(value: Any) -> None:
    answer = call(lambda: value)
    assert answer.failed and answer.text.startswith("the call was made, but its result, of type")
    assert len(answer.text) < MAX_ERROR


def test_coroutines_run_to_their_end_in_one_loop() -> None:
    loops: list[object] = []

    async def f() -> str:
        loops.append(asyncio.get_running_loop())
        await asyncio.sleep(0)
        return "done"

    async def leave() -> None:
        raise SystemExit(2)

    given = {"f": f, "leave": leave, "later": lambda: f()}
    functions = Functions({name: member_of(function) for name, function in given.items()})
    assert functions.call("f", {}).text == "done"
    assert functions.call("leave", {}) == Answer("SystemExit: 2", failed=True)
    assert functions.call("later", {}).text == "done"
    assert len({id(loop) for loop in loops}) == 1
    functions.close()
