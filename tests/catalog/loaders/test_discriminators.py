"""Alternatives that a discriminator tells apart: each has its value, and a call that is meant for one is not refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from toolgen.catalog.loaders.discriminators import values_for, with_values
from toolgen.catalog.loaders.openapi import load_openapi
from toolgen.catalog.normalization import normalize_schema
from toolgen.catalog.schema import Schema, check_schema, schema_errors

REFERENCES = [{"$ref": f"#/components/schemas/{name}"} for name in ("Cat", "Dog")]
KIND = {"propertyName": "kind"}


def child(parent: Any, **properties: Any) -> dict[str, Any]:
    return {"allOf": [{"$ref": "#/components/schemas/Pet"}, {"type": "object", "properties": properties}, parent]}


def argument(folder: Path, schema: Any, pet: Any = None, own: Any = None) -> Schema:
    """The body's schema, of an API with cats and dogs; `pet` is more of their parent, `own` of each."""
    pets = {"type": "object", "required": ["kind"], "properties": {"kind": {"type": "string"}}, **(pet or {})}
    components = {
        "Pet": pets,
        "Cat": child({} if own is None else own("cat"), lives={"type": "integer"}),
        "Dog": child({} if own is None else own("dog"), barks={"type": "boolean"}),
    }
    operation = {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
    document = {"openapi": "3.0.3", "paths": {"/x": {"post": operation}}, "components": {"schemas": components}}
    (folder / "api.json").write_text(json.dumps(document))
    (tool,) = load_openapi(folder / "api.json").tools
    check_schema(tool.parameters)
    return dict(tool.properties["body"])


@pytest.mark.parametrize(("keyword", "place"), [("oneOf", "beside"), ("anyOf", "beside"), ("oneOf", "parent")])
def test_each_alternative_has_the_name_of_its_schema(tmp_path: Path, keyword: str, place: str) -> None:
    told = {"discriminator": KIND}
    inherited = told if place == "parent" else None
    schema = argument(tmp_path, {keyword: REFERENCES, **(told if place == "beside" else {})}, pet=inherited)
    assert not schema_errors({"kind": "Cat", "lives": 3}, schema)
    assert not schema_errors({"kind": "Dog"}, schema)
    for wrong in ({"kind": "Fish"}, {"kind": "Cat", "lives": "nine"}, {"kind": "Dog", "barks": 1}, {"lives": 3}):
        assert schema_errors(wrong, schema)


def test_a_mapping_says_otherwise_and_may_give_several_values(tmp_path: Path) -> None:
    mapping = {"tom": "#/components/schemas/Cat", "kitten": "Cat"}
    schema = argument(tmp_path, {"oneOf": REFERENCES, "discriminator": {**KIND, "mapping": mapping}})
    for kind, fits in (("tom", True), ("kitten", True), ("Dog", True), ("dog", False)):
        assert bool(schema_errors({"kind": kind}, schema)) != fits


def test_what_a_schema_lists_itself_counts_more_than_its_name(tmp_path: Path) -> None:
    def own(name: str) -> Any:
        return {"type": "object", "properties": {"kind": {"enum": [name]}}}

    schema = argument(tmp_path, {"oneOf": REFERENCES, "discriminator": KIND}, own=own)
    assert not schema_errors({"kind": "cat", "lives": 3}, schema)
    assert schema_errors({"kind": "Cat"}, schema) and schema_errors({"kind": "cat", "lives": "x"}, schema)


def test_alternatives_without_a_name_need_not_exclude_each_other(tmp_path: Path) -> None:
    inline = [{"type": "object", "properties": {"kind": {"type": "string"}, name: {}}} for name in ("a", "b")]
    assert not schema_errors({"kind": "x"}, argument(tmp_path, {"oneOf": inline, "discriminator": KIND}))
    either = argument(tmp_path, {"oneOf": [*REFERENCES, {"type": "null"}]}, pet={"discriminator": KIND})
    assert not schema_errors(None, either) and not schema_errors({"kind": "Cat"}, either)


def test_a_parent_among_the_alternatives_may_be_any_of_its_children(tmp_path: Path) -> None:
    either = [{"$ref": "#/components/schemas/Pet"}, {"type": "null"}]
    for keyword in ("oneOf", "anyOf"):
        schema = argument(tmp_path, {keyword: either}, pet={"discriminator": KIND})
        assert not schema_errors({"kind": "Cat"}, schema) and not schema_errors(None, schema)


def test_without_a_discriminator_one_of_means_one(tmp_path: Path) -> None:
    assert schema_errors({"kind": "Cat"}, argument(tmp_path, {"oneOf": REFERENCES}))


def test_alternatives_of_a_tool_list_with_a_discriminator_need_not_exclude_each_other() -> None:
    pets = [{"type": "object", "properties": {"kind": {"type": "string"}, name: {}}} for name in ("lives", "barks")]
    given = {"type": "object", "properties": {"pet": {"oneOf": pets, "discriminator": KIND}}}
    assert not schema_errors({"pet": {"kind": "Cat"}}, normalize_schema(given))


def test_a_schema_that_does_not_declare_the_property_as_a_text_stays_as_it_is() -> None:
    others: list[Any] = [
        {"type": "object"},
        {"properties": {"kind": {"type": "integer"}}},
        {"properties": {"x": {}}},
        True,
    ]
    for schema in others:
        assert with_values(schema, "kind", ["Cat"]) == schema
    closed = {"allOf": [{"properties": {"x": {}}}, {"properties": {"kind": {"type": "string", "default": "Pet"}}}]}
    kind = with_values(closed, "kind", ["a", "b"])["allOf"][1]["properties"]["kind"]
    assert kind == {"type": "string", "enum": ["a", "b"]}
    assert values_for({"mapping": {"d": "dog.json"}}, "dog.json") == ["d"]
    assert values_for({"mapping": [1]}, "#/a/Dog") == ["Dog"]
