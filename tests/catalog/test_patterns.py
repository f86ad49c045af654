"""Foreign patterns match as JSON Schema asks, and none of them takes long."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolgen.catalog import patterns
from toolgen.catalog.normalization import normalize_schema
from toolgen.catalog.patterns import is_pattern, matches
from toolgen.catalog.schema import schema_errors

CATASTROPHIC = (
    "(a+)+$",
    "^(a|a)*b$",
    "^(([a-z])+.)+[A-Z]([a-z])+$",
    "(x+x+)+y",
    "^(a?){40}a{40}$",
    "(.*)*!",
    r"^(\d+\s?)+$",
    "(((a{1000}){1000}){1000}){1000}",
)


@pytest.mark.parametrize("pattern", CATASTROPHIC)
@pytest.mark.parametrize("text", ["a" * 60 + "!!", "x" * 5000, "1" * 5000 + "x", "aA" * 2000])
def test_no_pattern_takes_long(pattern: str, text: str) -> None:
    schema = {
        "properties": {"p": {"pattern": pattern}},
        "patternProperties": {pattern: {"type": "string"}},
        "additionalProperties": False,
        "unevaluatedProperties": False,
    }
    matches(pattern, "")
    start = time.monotonic()
    schema_errors({"p": text, text: 1}, schema)
    assert time.monotonic() - start < 2


@given(st.text('ab1 .\n"\\é漢', max_size=12))
@pytest.mark.parametrize(
    "pattern",
    [
        "a",
        "^a",
        "a$",
        "^ab*$",
        "[ab]+1",
        r"^\d{1,3}$",
        "^(a|b1)+$",
        "a|^b$",
        r"\.",
        "^[^a]*$",
        "^.$",
        r"\\",
        '"',
        "é|漢",
        "",
    ],
)
def test_patterns_match_as_python_searches(pattern: str, text: str) -> None:
    if "$" in pattern and text.endswith("\n"):
        return  # Python's `$` also stands before a last line break, that of JSON Schema does not
    assert matches(pattern, text) == bool(re.search(pattern, text))


@pytest.mark.parametrize("pattern", ["(?!aws:)x", r"(a)\1", "[[a]", "(", "*", "a" * 30_000])
def test_what_cannot_be_run_is_no_pattern_and_left_out_with_a_note(pattern: str) -> None:
    assert not is_pattern(pattern) and matches(pattern, "anything")
    notes: list[str] = []
    assert normalize_schema({"properties": {"p": {"pattern": pattern}}}, on_note=notes.append)["properties"] == {
        "p": {}
    }
    assert len(notes) == 1 and "'pattern'" in notes[0]
    assert schema_errors({"p": "x"}, {"properties": {"p": {"pattern": pattern}}}) == []


def test_names_are_told_apart_by_patterns() -> None:
    schema = {
        "properties": {"a": {}},
        "patternProperties": {"^x-": {"type": "integer"}},
        "additionalProperties": {"type": "string"},
    }
    assert schema_errors({"a": 1, "x-b": 1, "c": "d"}, schema) == []
    assert schema_errors({"x-b": "1"}, schema) == ["$['x-b']: '1' is not of type 'integer'"]
    assert schema_errors({"c": 1}, schema) == ["$.c: 1 is not of type 'string'"]
    closed = schema | {"additionalProperties": False}
    assert schema_errors({"c": 1}, closed) == ["$: Additional properties are not allowed ('c' was unexpected)"]


def test_long_patterns_do_not_stay_in_memory() -> None:
    assert matches("^a{1}$", "a")
    kept = patterns._cached.cache_info().currsize
    for number in range(3):
        assert matches(f"^({'a|' * 600}b{number})$", f"b{number}")
    assert patterns._cached.cache_info().currsize == kept
