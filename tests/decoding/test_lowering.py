"""Composed schemas and conditions: what is admitted and refused, and that no keyword is left out whose meaning can be kept.

Each row is judged by `jsonschema` too: what the grammar admits is valid, and what it refuses is invalid or has a key that
nothing declares.
"""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from llguidance import LLTokenizer

from toolgen.catalog.schema import schema_errors
from toolgen.decoding.grammar import GrammarCompiler
from toolgen.decoding.lowering import lowered

Json = dict[str, Any]


@pytest.fixture(scope="module")
def compiler() -> GrammarCompiler:
    """Its tokens are bytes."""
    made = GrammarCompiler(None, vocabulary_size=256, end_id=0)
    made.alphabet = LLTokenizer("byte")
    return made


def admits(compiler: GrammarCompiler, schema: Json, text: str) -> bool:
    matcher = compiler.matcher(compiler.compile(schema))
    for byte in text.encode():
        if not matcher.allowed_V()[byte]:
            return False
        matcher.consume(byte)
    return matcher.complete


def one(schema: Any, **more: Any) -> Json:
    """The schema of an object with the one argument `x`."""
    return {"type": "object", "properties": {"x": schema}, "required": ["x"], **more}


BASE = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
CAT = {"type": "object", "properties": {"kind": {"const": "cat"}, "lives": {"type": "integer"}}, "required": ["kind"]}
DOG = {"type": "object", "properties": {"kind": {"const": "dog"}, "walks": {"type": "integer"}}, "required": ["kind"]}
PETS = {"$defs": {"Cat": CAT, "Dog": DOG}}
AND_OR = {
    "oneOf": [
        {
            "type": "object",
            "properties": {"and": {"type": "array", "items": {"$ref": "#/$defs/F"}}},
            "required": ["and"],
        },
        {"type": "object", "properties": {"leaf": {"type": "string"}}, "required": ["leaf"]},
    ]
}
FLAGS: Json = {"properties": {"k": {"enum": ["a", "b", "c"]}, "p": {"type": "integer"}, "q": {"type": "integer"}}}

CASES: dict[str, tuple[Json, list[str], list[str]]] = {
    "a reference, its keys closed": (
        one({"$ref": "#/$defs/B"}, **{"$defs": {"B": BASE}}),
        ['{"x": {"a": 1}}'],
        ['{"x": {"a": 1, "z": 1}}', '{"x": {}}'],
    ),
    "allOf with a reference in a property": (
        one({"allOf": [{"$ref": "#/$defs/B"}, {"properties": {"b": {"type": "string"}}}]}, **{"$defs": {"B": BASE}}),
        ['{"x": {"a": 1, "b": "s"}}', '{"x": {"a": 1}}'],
        ['{"x": {"b": "s"}}', '{"x": {"a": 1, "b": "s", "z": 1}}', '{"x": {"a": 1, "b": 2}}'],
    ),
    "allOf with a reference at the top": (
        {
            "allOf": [{"$ref": "#/$defs/B"}, {"properties": {"b": {"type": "string"}}, "required": ["b"]}],
            "$defs": {"B": BASE},
        },
        ['{"a": 1, "b": "s"}'],
        ['{"a": 1}', '{"b": "s"}', '{"a": 1, "b": "s", "z": 1}'],
    ),
    "properties beside allOf": (
        one({"properties": {"b": {"type": "string"}}, "allOf": [BASE]}),
        ['{"x": {"b": "s", "a": 1}}', '{"x": {"a": 1}}'],
        ['{"x": {"b": "s"}}', '{"x": {"b": "s", "a": 1, "z": 1}}'],
    ),
    "what is nested in one part of allOf is closed, in two parts it has the keys of both": (
        one(
            {
                "allOf": [
                    {"properties": {"m": {"properties": {"u": {}}}, "n": {"properties": {"w": {}}}}},
                    {"properties": {"m": {"properties": {"v": {}}}}},
                ]
            }
        ),
        ['{"x": {"m": {"u": 1, "v": 2}, "n": {"w": 1}}}'],
        ['{"x": {"n": {"w": 1, "z": 1}}}'],
    ),
    "items in two parts of allOf": (
        one({"allOf": [{"items": {"properties": {"a": {}}}}, {"items": {"properties": {"b": {"type": "integer"}}}}]}),
        ['{"x": [{"a": 1, "b": 2}]}'],
        ['{"x": [{"a": 1, "b": "s"}]}'],
    ),
    "a name that is declared and matches a pattern": (
        one(
            {"properties": {"x-a": {"properties": {"p": {}}}}, "patternProperties": {"^x-": {"properties": {"q": {}}}}}
        ),
        ['{"x": {"x-a": {"p": 1, "q": 2}}}'],
        [],
    ),
    "branches of anyOf that are references": (
        one({"anyOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}]}, **PETS),
        [
            '{"x": {"kind": "cat", "lives": 9}}',
            '{"x": {"kind": "dog", "walks": 2}}',
            '{"x": {"kind": "cat", "walks": "no"}}',
        ],
        ['{"x": {"kind": "cat", "lives": "9"}}', '{"x": {"kind": "cow"}}', '{"x": {"kind": "cat", "z": 1}}'],
    ),
    "branches beside properties": (
        one({"properties": {"id": {"type": "integer"}}, "anyOf": [CAT, DOG]}),
        ['{"x": {"id": 1, "kind": "cat", "lives": 9}}', '{"x": {"id": 1, "kind": "dog", "walks": 9}}'],
        ['{"x": {"id": 1, "kind": "cat", "z": 9}}', '{"x": {"id": 1}}'],
    ),
    "oneOf told apart by a constant behind references": (
        one({"oneOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}, {"type": "null"}]}, **PETS),
        ['{"x": {"kind": "cat", "lives": 9}}', '{"x": null}'],
        ['{"x": {"kind": "cat", "lives": "9"}}', '{"x": {}}'],
    ),
    "oneOf told apart by what is required": (
        one({"type": "object", "properties": {"a": {}, "b": {}}, "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}),
        ['{"x": {"a": 1}}', '{"x": {"b": 1}}'],
        ['{"x": {"a": 1, "b": 1}}', '{"x": {}}'],
    ),
    "a recursive oneOf": (
        one({"$ref": "#/$defs/F"}, **{"$defs": {"F": AND_OR}}),
        ['{"x": {"and": [{"leaf": "x"}, {"and": []}]}}'],
        ['{"x": {"and": [], "leaf": "x"}}', '{"x": {"and": [1]}}'],
    ),
    "a reference to the whole": (
        {"properties": {"v": {"type": "integer"}, "next": {"$ref": "#"}}, "required": ["v"]},
        ['{"v": 1, "next": {"v": 2}}'],
        ['{"v": 1, "next": {}}', '{"v": 1, "next": {"v": 2, "z": 1}}'],
    ),
    "an anchor": (
        one({"$ref": "#leaf"}, **{"$defs": {"L": {"$anchor": "leaf", "type": "integer"}}}),
        ['{"x": 1}'],
        ['{"x": "1"}'],
    ),
    "if, then and else": (
        {
            **FLAGS,
            "if": {"properties": {"k": {"const": "a"}}, "required": ["k"]},
            "then": {"required": ["p"]},
            "else": {"required": ["q"]},
        },
        ['{"k": "a", "p": 1}', '{"k": "b", "q": 1}', '{"q": 1}'],
        ['{"k": "a", "q": 1}', '{"k": "b", "p": 1}'],
    ),
    "dependentRequired": (
        {**FLAGS, "dependentRequired": {"p": ["q"]}},
        ['{"p": 1, "q": 1}', '{"q": 1}', "{}"],
        ['{"p": 1}'],
    ),
    "dependentSchemas": (
        {**FLAGS, "dependentSchemas": {"p": {"properties": {"k": {"const": "a"}}, "required": ["k"]}}},
        ['{"k": "a", "p": 1}', '{"k": "b"}'],
        ['{"k": "b", "p": 1}', '{"p": 1}'],
    ),
    "not a type": (
        one({"not": {"type": ["string", "null"]}}),
        ['{"x": 1}', '{"x": []}'],
        ['{"x": "s"}', '{"x": null}'],
    ),
    "not a value of a list": (one({"enum": ["a", "b"], "not": {"const": "a"}}), ['{"x": "b"}'], ['{"x": "a"}']),
    "not both": ({**FLAGS, "not": {"required": ["p", "q"]}}, ['{"p": 1}', "{}"], ['{"p": 1, "q": 1}']),
    "names by a pattern": (
        one({"type": "object", "propertyNames": {"pattern": "^[a-z]+$"}, "additionalProperties": {"type": "integer"}}),
        ['{"x": {"ab": 1}}', '{"x": {}}'],
        ['{"x": {"A": 1}}', '{"x": {"a": "s"}}'],
    ),
    "names with a text": (
        one(
            {"type": "object", "propertyNames": {"description": "A city"}, "additionalProperties": {"type": "integer"}}
        ),
        ['{"x": {"Oslo": 1}}'],
        ['{"x": {"Oslo": "s"}}'],
    ),
    "names of a list": (
        one({"type": "object", "propertyNames": {"enum": ["a", "b"]}}),
        ['{"x": {"a": 1, "b": []}}'],
        ['{"x": {"c": 1}}'],
    ),
    "patternProperties beside properties": (
        one(
            {
                "properties": {"a": {"type": "integer"}},
                "patternProperties": {"^x-": {"type": "string"}},
                "additionalProperties": False,
            }
        ),
        ['{"x": {"a": 1, "x-b": "s"}}'],
        ['{"x": {"a": 1, "y": 1}}', '{"x": {"x-b": 1}}'],
    ),
    "unevaluatedProperties": (
        one({"properties": {"a": {}}, "unevaluatedProperties": False}),
        ['{"x": {"a": 1}}'],
        ['{"x": {"b": 1}}'],
    ),
    "unevaluatedProperties beside allOf": (
        one(
            {"allOf": [{"$ref": "#/$defs/B"}, {"properties": {"b": {}}}], "unevaluatedProperties": False},
            **{"$defs": {"B": BASE}},
        ),
        ['{"x": {"a": 1, "b": 2}}'],
        ['{"x": {"a": 1, "c": 2}}'],
    ),
    "additionalProperties false beside allOf": (
        one({"properties": {"a": {}}, "additionalProperties": False, "allOf": [{"properties": {"b": {}}}]}),
        ['{"x": {"a": 1}}'],
        ['{"x": {"b": 1}}', '{"x": {"a": 1, "b": 1}}'],
    ),
    "a map": (
        one({"type": "object", "additionalProperties": {"type": "integer"}}),
        ['{"x": {"any": 1}}'],
        ['{"x": {"any": "s"}}'],
    ),
    "constants and lists of any type": (
        one({"enum": [1, "1", None, True, 1.5, [1, {"a": "b"}], {"k": [None]}]}),
        ['{"x": 1}', '{"x": true}', '{"x": 1.5}', '{"x": [1, {"a": "b"}]}', '{"x": {"k": [null]}}'],
        ['{"x": 2}', '{"x": false}', '{"x": [1]}', '{"x": {"k": []}}'],
    ),
    "a type or null": (
        one({"type": ["integer", "null"], "minimum": 3}),
        ['{"x": 3}', '{"x": null}'],
        ['{"x": 2}', '{"x": "3"}'],
    ),
    "large whole numbers": (
        one({"type": "integer"}),
        ['{"x": 18446744073709551616}', '{"x": -0}'],
        ['{"x": 1.5}', '{"x": 01}'],
    ),
    "lengths count characters": (
        one({"type": "string", "minLength": 2, "maxLength": 2}),
        ['{"x": "🙂é"}', '{"x": "\\\\\\n"}', '{"x": "\\u0000a"}'],
        ['{"x": "🙂"}', '{"x": "abc"}', '{"x": "\\ud83d"}', '{"x": "\\ud83da"}'],
    ),
    "at least one of the declared": ({**FLAGS, "minProperties": 1}, ['{"p": 1}'], ["{}"]),
    "decimals": (one({"type": "number", "multipleOf": 0.01}), ['{"x": 0.07}', '{"x": -3}'], ['{"x": 0.075}']),
}


@pytest.mark.parametrize("name", CASES)
def test_a_composed_schema_keeps_its_meaning(compiler: GrammarCompiler, name: str) -> None:
    schema, valid, refused = CASES[name]
    assert compiler.compile(schema).dropped == ()
    judge = Draft202012Validator(schema)
    for text in valid:
        assert admits(compiler, schema, text), text
        assert judge.is_valid(json.loads(text)) or name == "decimals", text
    for text in refused:
        assert not admits(compiler, schema, text), text
        assert "z" in text or not is_accepted(judge, text), text


def is_accepted(judge: Draft202012Validator, text: str) -> bool:
    """Whether a text is JSON without halves of characters, and valid."""
    try:
        value = json.loads(text)
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, UnicodeError):
        return False
    return judge.is_valid(value)


def test_a_tool_without_arguments_takes_none_and_one_that_says_otherwise_takes_any() -> None:
    assert lowered({"properties": {}}).schema["additionalProperties"] is False
    open_ones: tuple[Json, ...] = (
        {"additionalProperties": {}},
        {"patternProperties": {"^a": {}}},
        {"minProperties": 1},
    )
    for open_one in open_ones:
        assert lowered({"properties": {}, **open_one}).schema.get("additionalProperties") is not False


def test_a_place_names_what_is_left_out() -> None:
    found = lowered(
        one({"type": "array", "items": {"$ref": "#/$defs/S"}}, **{"$defs": {"S": {"uniqueItems": True}}})
    ).relaxed
    assert [tuple(where) for where in found] == [("#/$defs/S", "uniqueItems")]


@pytest.mark.parametrize(
    "definition",
    [
        {"anyOf": [{"$ref": "#/$defs/F"}] * 40},
        {"oneOf": [{"$ref": "#/$defs/F"}] * 40},
        {"allOf": [{"$ref": "#/$defs/F"}]},
        {"not": {"$ref": "#/$defs/F"}},
        {"if": {"$ref": "#/$defs/F"}, "then": {"$ref": "#/$defs/F"}},
        {
            "oneOf": [
                {"type": "object", "required": [f"k{i}" for i in range(40)], "properties": {"a": {"$ref": "#/$defs/F"}}}
                for _ in range(40)
            ]
        },
        {"not": {"properties": {f"k{i}": {"$ref": "#/$defs/G"} for i in range(60)}}},
        {"$ref": "#/$defs/F"},
    ],
)
def test_no_schema_takes_long(compiler: GrammarCompiler, definition: Json) -> None:
    nested = {"properties": {f"k{i}": {"$ref": "#/$defs/G"} for i in range(60)}}
    start = time.thread_time()
    compiler.compile(one({"$ref": "#/$defs/F"}, **{"$defs": {"F": definition, "G": nested}}))
    assert time.thread_time() - start < 5


UNSOUND: tuple[Any, ...] = (
    {"minimum": "5"},
    {"enum": 5},
    {"properties": [1]},
    {"anyOf": {"type": "string"}},
    {"required": 7},
    {"type": 5},
    {"type": {"x": []}},
    {"properties": {"a": {"type": "nothing"}}},
    {"pattern": 5},
    {"multipleOf": "x"},
    {"items": 5},
    {"maxItems": "x", "uniqueItems": True},
    {"patternProperties": ["a"]},
    {"oneOf": [5, "x"]},
    {"if": 5, "then": 7},
    {"dependentRequired": {"a": 5}},
    {"propertyNames": 5},
    {"$ref": 5},
)


@pytest.mark.parametrize("schema", UNSOUND)
def test_what_is_no_schema_compiles_and_judges_in_one_line(compiler: GrammarCompiler, schema: Any) -> None:
    compiler.compile(one(schema))
    for value in (5, "a", {"a": 1}, [1, 2]):
        assert all("\n" not in line for line in schema_errors({"x": value}, one(schema)))


def test_a_schema_of_any_depth_compiles(compiler: GrammarCompiler) -> None:
    schema: Json = {"type": "string"}
    for _ in range(3000):
        schema = {"properties": {"x": schema}}
    assert compiler.compile(schema).relaxed


def test_a_thousand_definitions_that_refer_to_each_other_are_lowered_quickly(compiler: GrammarCompiler) -> None:
    definitions = {
        f"D{i}": {
            "type": "object",
            "properties": {f"a{j}": {"$ref": f"#/$defs/D{(i * 7 + j) % 300}"} for j in range(3)},
            "anyOf": [{"required": ["a0"]}, {"required": ["a1"]}],
        }
        for i in range(300)
    }
    assert len(lowered(one({"$ref": "#/$defs/D0"}, **{"$defs": definitions})).schema["$defs"]) <= 600
