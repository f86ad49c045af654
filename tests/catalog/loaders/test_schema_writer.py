"""What is written of a schema: names before texts, null where it is meant, and a note for whatever is cut."""

from __future__ import annotations

import json
from typing import Any

import pytest

from toolgen.catalog.loaders.references import References
from toolgen.catalog.loaders.schema_writer import LEVELS_CUT, NAMES_CUT, TEXTS_CUT, SchemaWriter
from toolgen.catalog.normalization import normalize_schema
from toolgen.catalog.schema import schema_errors

LONG = {
    "allOf": [
        {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}},
        {
            "type": "object",
            "properties": {f"field_{n}": {"type": "string", "description": "What it is for. " * 5} for n in range(100)},
        },
    ]
}


def writer(document: Any) -> tuple[SchemaWriter, list[str]]:
    notes: list[str] = []
    return SchemaWriter(References(document, "", notes.append), notes.append), notes


@pytest.mark.parametrize("outer", [{"$ref": "#/long"}, {"allOf": [{"$ref": "#/long"}], "description": "Its settings."}])
def test_texts_inside_an_object_are_left_out_before_its_names(outer: Any) -> None:
    schemas, notes = writer({"long": LONG})
    body = {"type": "object", "properties": {"cfg": outer, "name": {"type": "string", "description": "Its name."}}}
    written = schemas.fit(body, 6_000)
    assert written.size <= 6_000 and len(json.dumps(written.schema)) <= 6_000
    cfg = written.schema["properties"]["cfg"]
    assert {"id", *(f"field_{n}" for n in range(100))} == {*cfg["properties"]}
    assert cfg["required"] == ["id"] and cfg.get("description") == outer.get("description")
    assert written.schema["properties"]["name"]["description"] == "Its name."
    assert notes == [TEXTS_CUT]


def test_names_at_the_second_level_count_as_much() -> None:
    schemas, notes = writer({"long": LONG, "outer": {"type": "object", "properties": {"cfg": {"$ref": "#/long"}}}})
    body = {"type": "object", "properties": {"outer": {"$ref": "#/outer"}}}
    cfg = schemas.fit(body, 6_000).schema["properties"]["outer"]["properties"]["cfg"]
    assert len(cfg["properties"]) == 101 and notes == [TEXTS_CUT]
    assert "properties" not in schemas.fit(body, 2_000).schema["properties"]["outer"]["properties"]["cfg"]
    assert notes[1:] == [LEVELS_CUT]


@pytest.mark.parametrize("schema", [LONG, {"$ref": "#/long"}, {"type": "array", "items": {"$ref": "#/long"}}])
def test_an_answer_that_is_cut_says_that_its_names_are_gone(schema: Any) -> None:
    schemas, notes = writer({"long": LONG})
    assert "properties" not in schemas.fit_answer(schema, 800).schema
    assert notes == [NAMES_CUT]
    notes.clear()
    assert len(json.dumps(schemas.fit_answer(schema, 50_000).schema)) > 5_000 and notes == []


PET = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}


@pytest.mark.parametrize("flag", ["nullable", "x-nullable"])
@pytest.mark.parametrize(
    "owner",
    [
        {"allOf": [{"$ref": "#/$defs/Pet"}]},
        {"allOf": [{"$ref": "#/$defs/Pet"}], "description": "Who owns it."},
        {"$ref": "#/$defs/Pet"},
        {
            "allOf": [
                {"$ref": "#/$defs/Pet"},
                {"type": "object", "additionalProperties": False, "properties": {"name": {}}},
            ]
        },
        {"oneOf": [{"$ref": "#/$defs/Pet"}, {"type": "string"}]},
        {"anyOf": [{"$ref": "#/$defs/Pet"}, {"type": "string"}]},
        {"type": "object", "oneOf": [{"$ref": "#/$defs/Pet"}, {"type": "object", "required": ["id"]}]},
        {"type": "string"},
        {"enum": ["a"]},
    ],
)
def test_nullable_means_that_null_is_taken_wherever_the_type_is_said(flag: str, owner: Any) -> None:
    definitions = {"Pet": PET, "Owner": {**owner, flag: True}}
    schemas, _ = writer({"$defs": definitions})
    listed = {"type": "object", "properties": {"owner": definitions["Owner"]}, "$defs": definitions}
    for schema in (definitions["Owner"], {"$ref": "#/$defs/Owner"}):
        written = schemas.fit({"type": "object", "properties": {"owner": schema}}, 6_000).schema
        assert flag not in json.dumps(written)
        for made in (written, normalize_schema(listed)):
            assert not schema_errors({"owner": None}, made)
            assert schema_errors({"owner": 3}, made)
    plain = schemas.fit({"type": "object", "properties": {"owner": owner}}, 6_000).schema
    assert schema_errors({"owner": None}, plain)


def test_a_body_that_is_nullable_beside_a_reference_still_has_its_properties() -> None:
    schemas, notes = writer({"pet": PET})
    written = schemas.fit({"allOf": [{"$ref": "#/pet"}], "nullable": True}, 6_000).schema
    assert written == {**PET, "type": ["object", "null"]}
    assert len(notes) == 1 and "null is allowed there" in notes[0]
