"""Foreign schemas: whatever comes in, valid JSON Schema 2020-12 comes out, and what was lost is told."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolgen.catalog.merging import merge_schemas
from toolgen.catalog.normalization import close_object, normalize_schema, normalize_value_schema
from toolgen.catalog.schema import MAX_DEPTH, SchemaChecks, check_schema, schema_errors
from toolgen.errors import CatalogError


@pytest.mark.parametrize(
    ("foreign", "expected"),
    [
        ("dict", "object"),
        ("HashMap", "object"),
        ("Map<String, Integer>", "object"),
        ("tuple", "array"),
        ("ArrayList", "array"),
        ("float", "number"),
        ("double", "number"),
        ("long", "integer"),
        ("String", "string"),
        ("char", "string"),
        ("Boolean", "boolean"),
        ("integer", "integer"),
        ("any", None),
        ("", None),
    ],
)
def test_foreign_types_become_those_of_json_schema(foreign: str, expected: str | None) -> None:
    notes: list[str] = []
    assert normalize_value_schema({"type": foreign}, on_note=notes.append).get("type") == expected
    assert notes == []


def test_an_unknown_type_allows_any_value_and_is_told() -> None:
    notes: list[str] = []
    assert normalize_value_schema({"type": "Date!"}, on_note=notes.append) == {}
    assert "Date!" in notes[0]


def test_descriptions_defaults_enumerations_and_nested_objects_are_kept() -> None:
    foreign = {
        "type": "dict",
        "properties": {
            "size": {"type": "string", "description": "How big.", "enum": ["s", "m"], "default": "m"},
            "at": {"type": "dict", "properties": {"x": {"type": "float"}}, "required": ["x"]},
        },
        "required": ["size"],
    }
    assert normalize_schema(foreign) == {
        "type": "object",
        "properties": {
            "size": {"type": "string", "description": "How big.", "enum": ["s", "m"], "default": "m"},
            "at": {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]},
        },
        "required": ["size"],
    }


def test_required_and_optional_marks_inside_properties_move_to_the_list() -> None:
    foreign = {
        "properties": {"a": {"type": "int", "required": True}, "b": {"optional": True}, "c": {}},
        "required": ["b", "c", "gone"],
        "optional": ["b"],
    }
    assert normalize_schema(foreign) == {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {}, "c": {}},
        "required": ["c", "a"],
    }


def test_older_drafts_and_openapi_become_2020_12() -> None:
    foreign = {
        "type": "array",
        "items": [{"type": "number", "minimum": 0, "exclusiveMinimum": True}, {"type": "string", "nullable": True}],
    }
    assert normalize_value_schema(foreign) == {
        "type": "array",
        "prefixItems": [{"type": "number", "exclusiveMinimum": 0}, {"type": ["string", "null"]}],
    }


@pytest.mark.parametrize(
    ("foreign", "expected"),
    [
        ({"type": "array", "enum": ["a"]}, {"type": "array", "items": {"enum": ["a"]}}),
        ({"type": "boolean", "enum": ["True", "dontcare"]}, {"type": "boolean", "enum": [True]}),
        ({"type": "integer", "enum": ["1", "2"]}, {"type": "integer", "enum": [1, 2]}),
        ({"type": "string", "enum": [1, True]}, {"type": "string", "enum": ["1", "true"]}),
        ({"type": "integer", "enum": ["one"]}, {"type": "integer"}),
        ({"type": "integer", "enum": [1, "two"]}, {"type": "integer", "enum": [1, "two"]}),
    ],
)
def test_an_enumeration_that_admits_nothing_is_repaired_and_told(foreign: Any, expected: Any) -> None:
    notes: list[str] = []
    assert normalize_value_schema(foreign, on_note=notes.append) == expected
    assert len(notes) == (foreign != expected)


@pytest.mark.parametrize(
    "nothing", [None, {}, {"type": "object"}, {"type": "dict", "properties": None}, [], "x", 3, True]
)
def test_a_function_without_parameters_takes_an_empty_object(nothing: Any) -> None:
    assert normalize_schema(nothing) == {"type": "object", "properties": {}}


def test_an_argument_schema_of_another_type_is_wrapped_and_told() -> None:
    notes: list[str] = []
    schema = normalize_schema({"type": "string"}, on_note=notes.append)
    assert schema["properties"] == {"value": {"type": "string"}} and schema["required"] == ["value"]
    assert notes


def test_a_schema_nested_too_deeply_is_cut_and_told() -> None:
    foreign: dict[str, Any] = {}
    for _ in range(5_000):
        foreign = {"type": "array", "items": foreign}
    notes: list[str] = []
    check_schema(normalize_value_schema(foreign, on_note=notes.append))
    assert str(MAX_DEPTH) in notes[0]


KEYWORDS = st.sampled_from(
    [
        *("type", "properties", "items", "required", "optional", "description", "default", "enum", "minimum", "const"),
        *("exclusiveMinimum", "minLength", "maxItems", "pattern", "anyOf", "allOf", "not", "additionalProperties"),
        *("patternProperties", "$ref", "$defs", "format", "nullable", "multipleOf", "uniqueItems", "prefixItems"),
        *("title", "examples", "dependentRequired", "propertyNames", "if", "contains", "$schema", "$id"),
        *("additionalItems", "dependencies", "dependentSchemas"),
    ]
)
TYPES = st.sampled_from(["dict", "tuple", "float", "string", "any", "HashMap", "nonsense", "null"])
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
foreign_schemas = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=5) | TYPES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYWORDS | st.text(max_size=3), inner, max_size=5),
    max_leaves=20,
)


@given(foreign_schemas)
def test_whatever_comes_in_the_result_is_a_valid_schema_of_an_object(foreign: Any) -> None:
    schema = normalize_schema(foreign)
    check_schema(schema)
    assert schema["type"] == "object" and isinstance(schema["properties"], dict)


@given(foreign_schemas)
def test_normalizing_twice_changes_nothing(foreign: Any) -> None:
    once = normalize_schema(foreign)
    assert normalize_schema(once) == once


@given(st.lists(foreign_schemas | st.builds(normalize_schema, foreign_schemas), max_size=4))
def test_checking_many_schemas_says_of_each_what_checking_it_alone_says(schemas: list[Any]) -> None:
    checks = SchemaChecks()
    for schema in [*schemas, *schemas]:
        assert _verdict(checks.check, schema) == _verdict(check_schema, schema)


def _verdict(check: Callable[[Any], None], schema: Any) -> str:
    try:
        check(schema)
    except CatalogError as error:
        return str(error)
    return "valid"


def test_check_schema_says_where_a_schema_is_wrong() -> None:
    with pytest.raises(CatalogError, match="properties/a/type"):
        check_schema({"properties": {"a": {"type": "dict"}}})


def test_closing_an_object_drops_required_names_that_are_not_declared() -> None:
    closed = close_object({"type": "object", "properties": {"a": {}}, "required": ["a", "b"]})
    assert closed == {"type": "object", "properties": {"a": {}}, "required": ["a"], "additionalProperties": False}


def test_merging_unites_properties_and_keeps_what_all_require() -> None:
    merged = merge_schemas(
        [
            {
                "type": "object",
                "properties": {"a": {"type": "integer"}, "b": {"type": "string"}},
                "required": ["a", "b"],
            },
            {
                "type": "object",
                "properties": {"a": {"type": "number", "description": "A."}, "c": {}},
                "required": ["a"],
            },
        ]
    )
    assert merged == {
        "type": "object",
        "properties": {"a": {"type": "number", "description": "A."}, "b": {"type": "string"}, "c": {}},
        "required": ["a"],
    }


def test_merging_different_types_gives_alternatives() -> None:
    merged = merge_schemas(
        [{"type": "string", "description": "short"}, {"type": "integer", "description": "longer one"}]
    )
    assert merged == {"anyOf": [{"type": "string"}, {"type": "integer"}], "description": "longer one"}
    assert merge_schemas([merged, {"type": "boolean"}])["anyOf"][2] == {"type": "boolean"}


def test_merging_enumerations_unites_them_or_drops_them_if_one_is_free() -> None:
    a, b, free = {"type": "string", "enum": ["x"]}, {"type": "string", "enum": ["y", "x"]}, {"type": "string"}
    assert merge_schemas([a, b]) == {"type": "string", "enum": ["x", "y"]}
    assert merge_schemas([a, free]) == {"type": "string"}
    assert merge_schemas([a, {"description": "anything"}]) == {"description": "anything"}


leaves = st.one_of(
    st.fixed_dictionaries({"type": st.sampled_from(["string", "integer", "number", "boolean"])}),
    st.fixed_dictionaries(
        {"type": st.just("string"), "enum": st.lists(st.sampled_from("abc"), min_size=1, unique=True)}
    ),
)
values = st.sampled_from(["a", "b", "z", 1, 1.5, True, ["a"], [1], {"p": "a"}, {"p": 1, "q": "b"}, {}])
objects = st.builds(
    lambda properties, required: (
        {"type": "object", "properties": properties, "additionalProperties": False}
        | ({"required": kept} if (kept := [name for name in properties if name in required]) else {})
    ),
    st.dictionaries(st.sampled_from("pqr"), leaves, max_size=3),
    st.sets(st.sampled_from("pqr")),
)
schemas = leaves | objects | st.builds(lambda items: {"type": "array", "items": items}, leaves)


@given(st.lists(schemas, min_size=1, max_size=4), values)
def test_the_merge_admits_what_each_schema_admits(merged_from: list[dict[str, Any]], value: Any) -> None:
    merged = merge_schemas(merged_from)
    check_schema(merged)
    if any(not schema_errors(value, schema) for schema in merged_from):
        assert not schema_errors(value, merged)


def test_a_pattern_of_properties_that_is_no_regular_expression_is_left_out_with_a_note() -> None:
    notes: list[str] = []
    schema = normalize_schema({"patternProperties": {"?": {}, "^x-": {"type": "string"}}}, on_note=notes.append)
    assert schema["patternProperties"] == {"^x-": {"type": "string"}}
    assert len(notes) == 1 and "'?'" in notes[0]


def test_an_enumeration_of_arguments_without_any_object_is_left_out() -> None:
    assert normalize_schema({"enum": [None]}) == {"type": "object", "properties": {}}


@pytest.mark.parametrize(
    "foreign",
    [
        {"allOf": [{"$ref": "#/$defs/Trip"}, {"properties": {"seats": {"type": "integer"}}, "required": ["seats"]}]},
        {"$ref": "#/$defs/Whole"},
        {"type": "object", "properties": {"seats": {"type": "integer"}}, "required": ["seats"], "$ref": "#/$defs/Trip"},
        {"type": ["object", "null"], "allOf": [{"allOf": [{"$ref": "#/$defs/Whole"}]}]},
    ],
)
def test_arguments_behind_references_and_parts_stand_at_the_top(foreign: Any) -> None:
    trip = {"type": "object", "properties": {"to": {"type": "string"}}, "required": ["to"]}
    seats = {"type": "object", "properties": {"seats": {"type": "integer"}}, "required": ["seats"]}
    schema = normalize_schema(
        {**foreign, "$defs": {"Trip": trip, "Whole": {"allOf": [{"$ref": "#/$defs/Trip"}, seats]}}}
    )
    assert schema["properties"] == {"to": {"type": "string"}, "seats": {"type": "integer"}}
    assert sorted(schema["required"]) == ["seats", "to"] and schema["type"] == "object"
    assert not schema_errors({"to": "Oslo", "seats": 2}, schema)
    assert len(schema_errors({"seats": "2"}, schema)) == 2


def test_arguments_that_only_branches_declare_stand_at_the_top_too() -> None:
    branches = [
        {"properties": {"id": {"type": "integer"}, "by": {"type": "string"}}, "required": ["id"]},
        {"$ref": "#/$defs/Named"},
    ]
    named = {"properties": {"name": {"type": "string"}, "by": {"type": "integer"}}, "required": ["name"]}
    schema = normalize_schema({"type": "object", "oneOf": branches, "$defs": {"Named": named}})
    assert list(schema["properties"]) == ["id", "by", "name"]
    assert not schema_errors({"id": 1, "by": "x"}, schema) and not schema_errors({"name": "n", "by": 3}, schema)
    assert schema_errors({"by": "x"}, schema) and schema_errors({"id": "x"}, schema)


def test_arguments_that_may_be_null_are_an_object() -> None:
    notes: list[str] = []
    foreign = {"type": ["object", "null"], "properties": {"city": {"type": "string"}}}
    schema = normalize_schema(foreign, on_note=notes.append)
    assert schema == {"type": "object", "properties": {"city": {"type": "string"}}} and not notes


def test_a_schema_that_refers_to_itself_at_the_top_has_no_arguments() -> None:
    assert normalize_schema({"$ref": "#"}) == {"type": "object", "properties": {}}


@pytest.mark.parametrize("value", [math.nan, math.inf, 10**400], ids=["nan", "inf", "huge"])
def test_numbers_that_json_does_not_have_are_nowhere(value: Any) -> None:
    one = {"type": "number", "minimum": value, "multipleOf": value, "minLength": value, "default": value, "x": [value]}
    schema = normalize_schema({"type": "object", "properties": {"a": one, "b": {"type": "number", "enum": ["1e999"]}}})
    json.dumps(schema, allow_nan=False)
    assert schema["properties"]["a"] == {"type": "number", "default": None, "x": [None]}
    assert schema["properties"]["b"] == {"type": "number"}
