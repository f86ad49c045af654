"""Numbers stay finite, the matcher knows where a text ends, and no text goes round in circles for ever."""

from __future__ import annotations

import json

import pytest
from llguidance import LLTokenizer

from toolgen.decoding.grammar import GrammarCompiler
from toolgen.decoding.matcher import Matcher

DIGITS = "".join(map(str, range(9, 300)))


@pytest.fixture(scope="module")
def compiler() -> GrammarCompiler:
    """Its tokens are bytes."""
    made = GrammarCompiler(None, vocabulary_size=256, end_id=0)
    made.alphabet = LLTokenizer("byte")
    return made


def written(compiler: GrammarCompiler, schema: dict[str, object], text: str) -> tuple[Matcher, str]:
    """The matcher behind as much of the text as is allowed, and that much."""
    matcher = compiler.matcher(compiler.compile({"properties": {"n": schema}, "required": ["n"]}))
    for place, byte in enumerate(text.encode()):
        if not matcher.allowed_V()[byte]:
            return matcher, text.encode()[:place].decode()
        matcher.consume(byte)
    return matcher, text


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ('{"n": 1E1013', '{"n": 1E101'),
        ('{"n": 1e309', '{"n": 1e30'),
        ('{"n": 1.8e308', '{"n": 1.8e30'),
        ('{"n": 1.7e308}', '{"n": 1.7e308}'),
        ('{"n": -9e+400', '{"n": -9e+40'),
        ('{"n": 1e-4000}', '{"n": 1e-4000}'),
        ('{"n": 0E9999}', '{"n": 0E9999}'),
        ('{"n": ' + DIGITS, '{"n": ' + DIGITS[:308]),
        ('{"n": -1' + DIGITS, '{"n": -1' + DIGITS[:307]),
    ],
)
def test_a_number_cannot_become_larger_than_can_be_read(compiler: GrammarCompiler, text: str, allowed: str) -> None:
    for schema in ({"type": "number"}, {}):
        assert written(compiler, dict(schema), text)[1] == allowed


def test_digits_in_strings_are_no_numbers(compiler: GrammarCompiler) -> None:
    text = json.dumps({"n": 'a "1e99999" \\" 1E9'})
    matcher, done = written(compiler, {"type": "string"}, text)
    assert done == text and matcher.complete


def test_a_number_that_must_go_on_but_cannot_ends_in_nothing(compiler: GrammarCompiler) -> None:
    matcher, _ = written(compiler, {"type": "integer", "multipleOf": 7}, '{"n": 1' + "0" * 400)
    assert len(matcher.number) == 308 and matcher.stuck and not matcher.complete


@pytest.mark.parametrize(
    ("text", "inside", "number"),
    [
        ('{"n": "a', True, ""),
        ('{"n": "a\\\\', True, ""),
        ('{"n": "a\\\\"', False, ""),
        ('{"n": [-1.5e', False, "-1.5e"),
        ('{"n": [1, ', False, ""),
        ('{"n": false', False, ""),
    ],
)
def test_where_a_text_ends(compiler: GrammarCompiler, text: str, inside: bool, number: str) -> None:
    matcher, done = written(compiler, {}, text)
    assert done == text
    assert (matcher.inside_string, matcher.number) == (inside, number)


@pytest.mark.parametrize("piece", ["x", "I found this: ", "a sentence of more than forty characters, and again "])
def test_a_text_that_goes_round_in_circles_is_ended(compiler: GrammarCompiler, piece: str) -> None:
    matcher, text = written(compiler, {"type": "string"}, '{"n": "' + 100 * piece)

    assert matcher.allowed_V().nonzero()[0].tolist() == [ord('"')]
    assert text.count(piece) <= max(3, 65 / len(piece))
    assert written(compiler, {"type": "string"}, text + '"}')[1] == text + '"}'


def test_a_list_that_goes_round_in_circles_is_ended(compiler: GrammarCompiler) -> None:
    numbers: dict[str, object] = {"type": "array", "items": {"type": "integer"}}
    text = written(compiler, numbers, '{"n": [' + 100 * "0, ")[1]

    assert len(text) < 90
    assert written(compiler, numbers, text + "]}")[1] == text + "]}"


def test_what_must_be_long_may_go_round_in_circles(compiler: GrammarCompiler) -> None:
    text = '{"n": "' + 300 * "x" + '"}'

    assert written(compiler, {"type": "string", "minLength": 300}, text)[1] == text


@pytest.mark.parametrize("text", [10 * "ha" + 10 * "ho", 30 * "ab", "".join(map(str, range(500)))])
def test_what_repeats_itself_a_little_goes_on(compiler: GrammarCompiler, text: str) -> None:
    whole = json.dumps({"n": text})

    assert written(compiler, {"type": "string"}, whole)[1] == whole
