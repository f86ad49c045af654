"""A schema from anyone is checked without a look at anything outside of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.auditing import outside_events

from toolgen.agent.environments.dry_run import DryRunEnvironment
from toolgen.catalog.catalog import Catalog
from toolgen.catalog.normalization import normalize_schema
from toolgen.catalog.schema import best_fault, check_schema, schema_errors
from toolgen.catalog.tool import Tool
from toolgen.errors import CatalogError


@pytest.fixture
def outside() -> Iterator[list[str]]:
    """What the interpreter opened, connected to or started meanwhile; what is imported late is imported before."""
    schema_errors({"a": "b"}, {"properties": {"a": {"pattern": "b", "$ref": "#/x"}}})
    best_fault(1, {"type": "string"})
    check_schema({})
    with outside_events() as seen:
        yield seen


def references(secret: Path) -> list[str]:
    return [
        secret.as_uri(),
        f"{secret.as_uri()}#/definitions/a",
        "http://127.0.0.1:9/schema.json",
        "https://example.org/schema.json",
        "//example.org/x",
        "other.json",
        "urn:example:a",
        "#/nowhere",
        "#missing",
        "https://json-schema.org/draft/2020-12/schema",
        "http://json-schema.org/draft-07/schema#",
    ]


@pytest.mark.parametrize("number", range(11))
@pytest.mark.parametrize("keyword", ["$ref", "$dynamicRef"])
def test_no_reference_leads_out_of_a_schema(number: int, keyword: str, tmp_path: Path, outside: list[str]) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text('{"const": "what stands in the file"}')
    reference = references(secret)[number]
    outside.clear()
    for schema in (
        {"properties": {"a": {keyword: reference}}},
        {"$id": reference.partition("#")[0] or "x:y", "properties": {"a": {keyword: reference + "x"}}},
        {"$schema": reference, "properties": {"a": {keyword: reference}}, "unevaluatedProperties": False},
        {"properties": {"a": {"$id": "http://h.example/", "$schema": reference, keyword: reference}}},
    ):
        told = [*schema_errors({"a": 1}, schema), str(best_fault({"a": 1}, schema))]
        tool = Tool(id="a&&b", provider="a", name="b", parameters={"type": "object", **schema})
        environment = DryRunEnvironment(Catalog([tool]))
        told.append(environment.call("a&&b", {"a": 1}).content)
        normalize_schema(schema)
        try:
            check_schema(schema)
        except CatalogError as error:
            told.append(str(error))
        assert not any("what stands" in line or "\n" in line for line in told)
    assert outside == []


def test_a_reference_that_is_not_in_the_schema_is_a_fault_in_one_line() -> None:
    schema = {"properties": {"a": {"$ref": "http://127.0.0.1:9/x.json"}}}
    said = "the schema refers to 'http://127.0.0.1:9/x.json', which is not in it; nothing outside is read"
    assert schema_errors({"a": 1}, schema) == [f"$: {said}"]
    assert best_fault({"a": 1}, schema) == said
    assert schema_errors({}, schema) == []


@pytest.mark.parametrize(
    "schema", [{"$ref": "#"}, {"allOf": [{"$ref": "#"}]}, {"properties": {"a": {"$ref": "#/properties/a"}}}]
)
def test_a_schema_that_never_ends_is_a_fault(schema: Any) -> None:
    start = time.monotonic()
    assert schema_errors({"a": 1}, schema) == ["$: the schema or the value is nested too deeply to be checked"]
    assert time.monotonic() - start < 5


def test_references_inside_a_schema_are_followed_and_others_left_out_with_a_note() -> None:
    foreign = {
        "properties": {
            "tree": {"$ref": "#/$defs/Tree"},
            "named": {"$ref": "#leaf"},
            "$ref": {"type": "string"},
            "out": {"$ref": "http://example.org/x.json", "description": "kept"},
            "lost": {"type": "array", "items": {"$ref": "#/$defs/Missing"}},
        },
        "$defs": {
            "Tree": {"properties": {"left": {"$ref": "#/$defs/Tree"}}},
            "Leaf": {"$anchor": "leaf", "type": "integer"},
        },
    }
    notes: list[str] = []
    schema = normalize_schema(foreign, on_note=notes.append)
    assert schema["properties"]["out"] == {"description": "kept"}
    assert schema["properties"]["lost"] == {"type": "array", "items": {}}
    assert schema["properties"]["$ref"] == {"type": "string"}
    assert len(notes) == 2
    assert schema_errors({"tree": {"left": {"left": {}}}, "named": 3, "out": 1, "lost": [1]}, schema) == []
    assert len(schema_errors({"tree": {"left": {"left": 3}}, "named": "x"}, schema)) == 1


def test_a_dialect_named_inside_brings_no_validator_of_its_own() -> None:
    inner = {"$schema": "https://json-schema.org/draft/2020-12/schema", "pattern": "(a+)+$"}
    start = time.monotonic()
    assert len(schema_errors({"p": "a" * 40 + "!"}, {"properties": {"p": inner}})) == 1
    old = {"$schema": "http://json-schema.org/draft-04/schema#", "minimum": 1, "exclusiveMinimum": 5}
    assert len(schema_errors({"p": 3}, {"properties": {"p": old}})) == 1
    assert time.monotonic() - start < 2


@pytest.mark.parametrize(
    ("value", "step", "valid"),
    [
        (0.07, 0.01, True),
        (0.075, 0.01, False),
        (4.5, 1.5, True),
        (0, 3, True),
        (-9, 3, True),
        (10**400, 5, True),
        (10**400, 7, False),
        (1e308, 0.5, True),
        (1e308, 0.123456789, False),
        (float("inf"), 2, False),
        (5, 0, False),
        (True, 2, True),
    ],
)
def test_a_multiple_is_one_of_decimals(value: float, step: float, valid: bool) -> None:
    assert (schema_errors({"p": value}, {"properties": {"p": {"multipleOf": step}}}) == []) == valid
