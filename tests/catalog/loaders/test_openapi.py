"""Every operation is a tool or a loss, whatever the description looks like."""

from __future__ import annotations

import copy
import json
import time
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from toolgen.catalog import Tool
from toolgen.catalog.catalog import Catalog
from toolgen.catalog.http_request import build_request
from toolgen.catalog.loaders.common import LoadedTools
from toolgen.catalog.loaders.openapi import load_openapi
from toolgen.catalog.schema import check_schema, schema_errors
from toolgen.errors import InputError

PETS: dict[str, Any] = {
    "openapi": "3.0.3",
    "info": {"title": "Pet Store", "version": "1"},
    "servers": [{"url": "https://{region}.pets.example/v1", "variables": {"region": {"default": "eu"}}}],
    "paths": {
        "/pets/{id}": {
            "parameters": [{"$ref": "#/components/parameters/Id"}],
            "put": {
                "operationId": "updatePet",
                "summary": "Update a pet",
                "description": "Changes what is given.",
                "tags": ["pets"],
                "parameters": [
                    {"name": "notify", "in": "query", "schema": {"type": "boolean", "default": False}},
                    {"name": "X-Trace", "in": "header", "schema": {"type": "string"}},
                    {"name": "Authorization", "in": "header", "schema": {"type": "string"}},
                    {"name": "session", "in": "cookie", "schema": {"type": "string"}},
                    {
                        "name": "fields",
                        "in": "query",
                        "explode": False,
                        "schema": {"type": "array", "items": {"type": "string"}},
                    },
                ],
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}},
                },
                "responses": {
                    "200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}}}
                },
            },
            "get": {"responses": {}},
        }
    },
    "components": {
        "parameters": {
            "Id": {"name": "id", "in": "path", "required": True, "description": "which", "schema": {"type": "integer"}}
        },
        "schemas": {
            "Pet": {
                "type": "object",
                "required": ["name", "id"],
                "properties": {
                    "id": {"type": "integer", "description": "of the body"},
                    "name": {"type": "string", "nullable": True},
                    "age": {"type": "number", "minimum": 0, "exclusiveMinimum": True, "example": 3},
                    "created": {"type": "string", "readOnly": True},
                    "parent": {"$ref": "#/components/schemas/Pet"},
                },
            }
        },
    },
}

SWAGGER: dict[str, Any] = {
    "swagger": "2.0",
    "info": {"title": "Old"},
    "host": "old.example",
    "basePath": "/api/",
    "schemes": ["http", "https"],
    "consumes": ["application/json"],
    "paths": {
        "/items": {
            "post": {
                "operationId": "add",
                "parameters": [
                    {
                        "name": "tags",
                        "in": "query",
                        "type": "array",
                        "items": {"type": "string"},
                        "collectionFormat": "multi",
                    },
                    {"name": "ids", "in": "query", "type": "array", "items": {"type": "integer"}},
                    {"name": "item", "in": "body", "required": True, "schema": {"$ref": "#/definitions/Item"}},
                ],
                "responses": {200: {"description": "ok", "schema": {"$ref": "#/definitions/Item"}}},
            }
        },
        "/files": {
            "post": {
                "operationId": "upload",
                "parameters": [
                    {"name": "file", "in": "formData", "type": "file", "required": True},
                    {"name": "note", "in": "formData", "type": "string"},
                ],
                "responses": {},
            }
        },
    },
    "definitions": {"Item": {"type": "object", "required": ["title"], "properties": {"title": {"type": "string"}}}},
}


def load(tmp_path: Path, document: Any, name: str = "api.json", **options: Any) -> LoadedTools:
    path = tmp_path / name
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return checked(load_openapi(path, **options))


def checked(loaded: LoadedTools) -> LoadedTools:
    """The result, after what holds for every one."""
    Catalog(loaded.tools)
    for tool in loaded.tools:
        check_schema(tool.parameters)
        assert tool.parameters["type"] == "object"
        if tool.returns is not None:
            check_schema(tool.returns)
        json.dumps(tool.to_dict(), ensure_ascii=False, allow_nan=False).encode()
    assert loaded.report.loaded == len(loaded.tools)
    assert not any("\n" in text for text in (*loaded.report.notes, *(loss.reason for loss in loaded.report.losses)))
    return loaded


def one(loaded: LoadedTools, name: str) -> Tool:
    (tool,) = [tool for tool in loaded.tools if tool.name == name]
    return tool


def with_operation(operation: Any, **more: Any) -> dict[str, Any]:
    return {"openapi": "3.1.0", "info": {"title": "T"}, "paths": {"/x": {"post": operation}}, **more}


def test_parameters_of_all_places_become_one_schema(tmp_path: Path) -> None:
    loaded = load(tmp_path, PETS)
    tool = one(loaded, "updatePet")

    assert (tool.id, tool.provider, tool.category) == ("Pet Store&&updatePet", "Pet Store", "pets")
    assert tool.description == "Update a pet\nChanges what is given."
    assert list(tool.properties) == ["id", "notify", "X-Trace", "session", "fields", "body_id", "name", "age", "parent"]
    assert tool.required == ("id", "body_id", "name")
    assert tool.properties["name"] == {"type": ["string", "null"]}
    assert tool.properties["age"] == {"type": "number", "exclusiveMinimum": 0}
    assert tool.properties["id"] == {"type": "integer", "description": "which"}
    assert tool.returns is not None and set(tool.returns["properties"]) >= {"id", "created"}
    assert any("'id' has the name of another one; became 'body_id'" in note for note in loaded.report.notes)


def test_the_endpoint_says_where_everything_goes(tmp_path: Path) -> None:
    endpoint = one(load(tmp_path, PETS), "updatePet").endpoint
    assert endpoint is not None
    assert (endpoint["kind"], endpoint["method"], endpoint["server"], endpoint["path"]) == (
        "http",
        "PUT",
        "https://eu.pets.example/v1",
        "/pets/{id}",
    )
    places = {"id": "path", "notify": "query", "X-Trace": "header", "session": "cookie", "fields": "query"}
    assert endpoint["in"] == places | dict.fromkeys(["body_id", "name", "age", "parent"], "body")
    assert endpoint["wire"] == {"fields": {"explode": False}, "body_id": {"name": "id"}}
    assert endpoint["body"] == {"type": "application/json"}


def test_an_operation_without_an_id_is_named_by_method_and_path(tmp_path: Path) -> None:
    tool = one(load(tmp_path, PETS), "GET /pets/{id}")
    assert tool.required == ("id",) and tool.returns is None


def test_yaml_and_json_give_the_same_tools(tmp_path: Path) -> None:
    from_yaml = load(tmp_path, yaml.safe_dump(PETS, sort_keys=False), "api.yaml")
    assert [replace(tool, source={}) for tool in from_yaml.tools] == [
        replace(tool, source={}) for tool in load(tmp_path, PETS).tools
    ]


def test_swagger_2_is_read(tmp_path: Path) -> None:
    loaded = load(tmp_path, SWAGGER)
    add, upload = one(loaded, "add"), one(loaded, "upload")
    assert list(add.properties) == ["tags", "ids", "title"] and add.required == ("title",)
    assert add.endpoint is not None and add.endpoint["server"] == "https://old.example/api"
    assert add.endpoint["wire"]["tags"] == {"style": "form", "explode": True}
    assert add.endpoint["wire"]["ids"] == {"style": "form", "explode": False}
    assert upload.endpoint is not None and upload.endpoint["body"] == {"type": "multipart/form-data"}
    assert upload.properties["file"] == {"type": "string", "format": "binary"}


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({"type": "array", "items": {"type": "integer"}}, "application/json"),
        ({"oneOf": [{"type": "string"}, {"type": "integer"}]}, "application/json"),
        ({"type": "object", "additionalProperties": {"type": "string"}}, "application/json"),
        ({"type": "string"}, "text/csv"),
        (None, "application/json"),
    ],
)
def test_a_body_that_is_no_plain_object_is_one_argument(tmp_path: Path, schema: Any, kind: str) -> None:
    loaded = load(tmp_path, with_operation({"requestBody": {"content": {kind: {"schema": schema}}}}))
    tool = loaded.tools[0]
    assert list(tool.properties) == ["body"] and tool.required == ("body",)
    assert tool.endpoint is not None and tool.endpoint["body"] == {"type": kind, "whole": True}


def test_an_optional_body_requires_nothing(tmp_path: Path) -> None:
    schema = {"type": "object", "required": ["a"], "properties": {"a": {}}}
    body = {"required": False, "content": {"application/json": {"schema": schema}}}
    assert load(tmp_path, with_operation({"requestBody": body})).tools[0].required == ()


def test_what_the_path_and_the_parameters_disagree_about_is_repaired_and_noted(tmp_path: Path) -> None:
    document = {
        "openapi": "3.0.0",
        "paths": {
            "/a/{x}/{y}": {
                "get": {
                    "parameters": [
                        {"name": "x", "in": "path"},
                        {"name": "gone", "in": "path"},
                        {"name": "odd", "in": "nowhere"},
                        {"$ref": "#/components/parameters/missing"},
                        7,
                    ]
                }
            }
        },
    }
    loaded = load(tmp_path, document)
    assert loaded.tools[0].required == ("x", "y") == tuple(loaded.tools[0].properties)
    assert len(loaded.report.notes) == 5
    assert loaded.tools[0].provider == "api"


def test_repeated_operation_ids_are_all_kept_and_noted(tmp_path: Path) -> None:
    document = {
        "openapi": "3.0.0",
        "info": {"title": "T"},
        "paths": {f"/{n}": {"get": {"operationId": "same"}} for n in range(3)},
    }
    loaded = load(tmp_path, document)
    assert [tool.id for tool in loaded.tools] == ["T&&same", "T&&same#2", "T&&same#3"]
    assert sum("occurs again" in note for note in loaded.report.notes) == 2


def test_webhooks_are_counted_and_query_operations_of_3_2_are_tools(tmp_path: Path) -> None:
    document = {
        "openapi": "3.2.0",
        "webhooks": {"new": {"post": {}}},
        "paths": {"/x": {"query": {"operationId": "q"}, "additionalOperations": {"COPY": {"operationId": "c"}}}},
    }
    loaded = load(tmp_path, document)
    assert {tool.name for tool in loaded.tools} == {"q", "c"}
    assert any("1 webhooks" in note for note in loaded.report.notes)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("just a sentence", "not an OpenAPI description"),
        ('{"name": "package", "version": "1.0.0"}', "not an OpenAPI description"),
        ("[1, 2]", "not an OpenAPI description"),
        ('{"swagger": "1.2", "apis": []}', "version '1.2'"),
        ('{"openapi": "3.0.0", "paths": {"/a": {"get"', "may be incomplete"),
    ],
)
def test_a_single_document_that_is_no_description_is_an_error(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        load(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_a_bad_document_in_a_folder_or_archive_is_a_loss_and_the_others_are_loaded(tmp_path: Path) -> None:
    folder = tmp_path / "apis"
    (folder / "sub").mkdir(parents=True)
    contents = {
        "sub/pets.json": json.dumps(PETS),
        "old.yaml": yaml.safe_dump(SWAGGER),
        "truncated.json": json.dumps(PETS)[:200],
        "words.yaml": "hello",
        "deep.json": "[" * 100_000,
    }
    for name, text in contents.items():
        (folder / name).write_text(text)
    with zipfile.ZipFile(tmp_path / "apis.zip", "w") as archive:
        for name, text in contents.items():
            archive.writestr(name, text)

    for place in (folder, tmp_path / "apis.zip"):
        loaded = checked(load_openapi(place))
        assert len(loaded.tools) == 4
        assert {loss.name for loss in loaded.report.losses} == {"truncated.json", "words.yaml", "deep.json"}
        assert loaded.report.counts == {"descriptions": 2, "operations": 4}


def test_operations_and_paths_that_are_none_are_losses(tmp_path: Path) -> None:
    document = {
        "openapi": "3.0.0",
        "paths": {"/a": {"get": 1, "post": None, "put": {}}, "/b": 2, "/c": {"$ref": "#/x"}},
    }
    loaded = load(tmp_path, document)
    assert len(loaded.tools) == 1
    assert {loss.name for loss in loaded.report.losses} == {
        "api.json GET /a",
        "api.json POST /a",
        "api.json /b",
        "api.json /c",
    }
    assert load(tmp_path, {"openapi": "3.0.0", "paths": 3}).report.losses[0].reason.startswith("'paths' is int")


def test_ten_thousand_parameters_are_loaded(tmp_path: Path) -> None:
    many = [{"name": f"p{n}", "in": "query", "schema": {"type": "string"}} for n in range(10_000)]
    (tmp_path / "many.json").write_text(json.dumps(with_operation({"parameters": many})))
    start = time.process_time()
    assert len(load_openapi(tmp_path / "many.json").tools[0].properties) == 10_000
    assert time.process_time() - start < 5


def test_arguments_in_a_query_that_is_part_of_the_path_are_kept(tmp_path: Path) -> None:
    parameters = [{"name": "q", "in": "path"}, {"name": "n", "in": "query"}]
    document = {"openapi": "3.0.0", "paths": {"/s?q={q}&n={n}&v=1": {"get": {"parameters": parameters}}}}
    tool = load(tmp_path, document).tools[0]
    request = build_request(tool, {"q": "a b", "n": 2}, server="https://x.example")
    assert request.full_url == "https://x.example/s?q=a%20b&v=1&n=2"


def test_a_large_part_that_is_referred_to_often_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toolgen.catalog.loaders.openapi.DOCUMENT_LIMIT", 1_000_000)
    large = {"type": "object", "properties": {f"property number {n}": {"type": "string"} for n in range(2000)}}
    body = {"requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/L"}}}}}
    document = {
        "openapi": "3.0.0",
        "components": {"schemas": {"L": large}},
        "paths": {f"/{n}": {"post": body} for n in range(100)},
    }
    loaded = load(tmp_path, document)
    assert len(loaded.tools) + len(loaded.report.losses) == 100
    assert 0 < len(loaded.tools) < 60 and "in the same description" in loaded.report.losses[0].reason


def test_fifty_megabytes_of_description_are_cut(tmp_path: Path) -> None:
    document = with_operation(
        {"description": "x" * 50_000_000, "parameters": [{"name": "q", "in": "query", "description": "y" * 10**6}]}
    )
    start = time.monotonic()
    loaded = load(tmp_path, document)
    assert len(loaded.tools[0].description) < 5000 and len(str(loaded.tools[0].parameters)) < 5000
    assert any("50,000,000 characters was cut" in note for note in loaded.report.notes)
    assert time.monotonic() - start < 5


def test_nul_bytes_and_lone_surrogates_do_not_reach_a_tool(tmp_path: Path) -> None:
    text = json.dumps(with_operation({"operationId": "a\0b\ud800", "description": "\udfff"}))
    tool = load(tmp_path, text).tools[0]
    assert (tool.name, tool.description) == ("ab?", "?")


@pytest.mark.parametrize("levels", [60, 400, 900])
def test_deeply_nested_schemas_are_cut(tmp_path: Path, levels: int) -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    document = with_operation({"requestBody": {"content": {"application/json": {"schema": schema}}}})
    try:
        loaded = load(tmp_path, json.dumps(document))
    except InputError as error:
        assert "nested too deeply" in str(error)
    else:
        assert len(loaded.tools) == 1


def test_schemas_that_refer_to_each_other_end(tmp_path: Path) -> None:
    schemas = {
        f"S{n}": {
            "type": "object",
            "properties": {f"p{m}": {"$ref": f"#/components/schemas/S{m}"} for m in range(30)},
            "allOf": [{"$ref": f"#/components/schemas/S{(n + 1) % 30}"}],
        }
        for n in range(30)
    }
    body = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/S0"}}}}
    start = time.monotonic()
    loaded = load(tmp_path, with_operation({"requestBody": body}, components={"schemas": schemas}))
    assert time.monotonic() - start < 5
    assert len(json.dumps(loaded.tools[0].to_dict())) < 20_000


def test_references_to_other_documents_are_losses_unless_allowed(tmp_path: Path) -> None:
    (tmp_path / "pet.yaml").write_text("Pet: {type: object, properties: {name: {type: string}}}")
    body = {"requestBody": {"content": {"application/json": {"schema": {"$ref": "pet.yaml#/Pet"}}}}}
    refused = load(tmp_path, with_operation(body))
    assert list(refused.tools[0].properties) == ["body"]
    (loss,) = refused.report.losses
    assert loss.name == "api.json POST /x"
    assert loss.reason == (
        "arguments of the body are not known: the reference to another document 'pet.yaml' is not followed without "
        "--allow-references"
    )
    assert list(load(tmp_path, with_operation(body), allow_references=True).tools[0].properties) == ["name"]


@pytest.mark.parametrize(
    ("operation", "lost"),
    [
        (
            {"parameters": [{"$ref": "p.yaml#/Q"}, {"name": "r", "in": "query"}]},
            "a parameter was left out: the reference to",
        ),
        ({"parameters": [{"$ref": "#/nope"}]}, "a parameter was left out: the reference '#/nope' leads nowhere"),
        ({"parameters": {"$ref": "p.yaml"}}, "a parameter was left out: the reference to another document 'p.yaml'"),
        ({"requestBody": {"$ref": "#/nope"}}, "the body was left out: the reference '#/nope' leads nowhere"),
        (
            {"requestBody": {"content": {"$ref": "#/nope"}}},
            "the body was left out: the reference '#/nope' leads nowhere",
        ),
        ({"requestBody": {"content": {"application/json": {"$ref": "#/nope"}}}}, "arguments of the body are not known"),
        (
            {"requestBody": {"content": {"application/json": {"schema": {"allOf": [{"$ref": "#/nope"}]}}}}},
            "arguments of the body are not known: the reference '#/nope' leads nowhere",
        ),
    ],
)
def test_arguments_that_no_reference_leads_to_are_losses_and_the_tool_stays(
    tmp_path: Path, operation: dict[str, Any], lost: str
) -> None:
    loaded = load(tmp_path, with_operation(operation))
    assert len(loaded.tools) == 1 and loaded.report.loaded == 1
    (loss,) = loaded.report.losses
    assert loss.name == "api.json POST /x" and loss.reason.startswith(lost)


def test_a_schema_that_no_reference_leads_to_keeps_its_argument_with_a_note(tmp_path: Path) -> None:
    loaded = load(
        tmp_path, with_operation({"parameters": [{"name": "q", "in": "query", "schema": {"$ref": "#/nope"}}]})
    )
    assert loaded.tools[0].properties == {"q": {}} and not loaded.report.losses
    assert "leads nowhere; anything is allowed there" in loaded.report.notes[0]


def test_parameters_in_an_object_have_its_keys_as_names(tmp_path: Path) -> None:
    shared = {"in": "query", "schema": {"type": "integer"}}
    parameters = {
        "limit": {"$ref": "#/components/parameters/N"},
        "offset": {"$ref": "#/components/parameters/N"},
        "other": {"name": "own", "in": "header", "schema": {"type": "string"}},
    }
    loaded = load(tmp_path, with_operation({"parameters": parameters}, components={"parameters": {"N": shared}}))
    assert list(loaded.tools[0].properties) == ["limit", "offset", "own"]
    assert "'parameters' is an object where a list was expected; its keys were taken as names" in loaded.report.notes[0]
    loaded = load(tmp_path, with_operation({"parameters": "limit"}))
    assert "'parameters' is str where a list was expected; left out" in loaded.report.notes[0]
    assert not load(tmp_path, with_operation({"parameters": None})).report.notes


@pytest.mark.parametrize(
    ("given", "required", "taken"),
    [
        ("yes", True, "taken as true"),
        ("True", True, "taken as true"),
        ("no", False, "taken as false"),
        (["q"], False, "left out"),
    ],
)
def test_what_is_required_may_be_a_text(tmp_path: Path, given: Any, required: bool, taken: str) -> None:
    parameters = [{"name": "q", "in": "query", "required": given, "schema": {"type": "string"}}]
    loaded = load(tmp_path, with_operation({"parameters": parameters}))
    assert loaded.tools[0].required == ("q",) * required
    (note,) = loaded.report.notes
    assert f"the parameter 'q' has {given!r} for 'required', which is neither true nor false; {taken}" in note
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    body = {"required": given, "content": {"application/json": {"schema": schema}}}
    assert load(tmp_path, with_operation({"requestBody": body})).tools[0].required == ("a",) * (given != "no")


def bodies(schema: Any, **components: Any) -> dict[str, Any]:
    """A description of one operation with a body of JSON."""
    body = {"required": True, "content": {"application/json": {"schema": schema}}}
    return with_operation({"operationId": "send", "requestBody": body}, components={"schemas": components})


def wide(count: int = 80, **more: Any) -> dict[str, Any]:
    """An object with more properties than a body may have characters."""
    text = {"type": "string", "enum": ["on", "off"], "description": "What this one is there for. " * 8}
    return {"type": "object", "properties": {f"option{n}": text for n in range(count)}, **more}


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/components/schemas/Wide"},
        {"allOf": [{"$ref": "#/components/schemas/Wide"}]},
        {
            "allOf": [
                {"$ref": "#/components/schemas/Wide"},
                {"properties": {"own": {"$ref": "#/components/schemas/Wide"}}},
            ]
        },
        {"allOf": [{"allOf": [{"$ref": "#/components/schemas/Alias"}]}, {"required": ["option1"]}]},
        {"$ref": "#/components/schemas/Wide", "description": "beside"},
        {"allOf": [{"$ref": "#/components/schemas/Wide"}, {"type": "object", "additionalProperties": True}]},
        {"type": ["object", "null"], "allOf": [{"$ref": "#/components/schemas/Wide"}]},
    ],
)
def test_no_argument_is_lost_however_large_and_composed_a_body_is(tmp_path: Path, schema: Any) -> None:
    alias = {"$ref": "#/components/schemas/Wide"}
    loaded = load(tmp_path, bodies(schema, Wide=wide(required=["option0"]), Alias=alias))
    tool = loaded.tools[0]
    assert {f"option{n}" for n in range(80)} <= set(tool.properties)
    assert all(tool.properties[f"option{n}"]["enum"] == ["on", "off"] for n in range(80))
    assert "option0" in tool.required
    assert any("so long that the descriptions" in note for note in loaded.report.notes)
    assert json.loads(
        build_request(tool, {"option0": "on", "option1": "on"}, server="http://x.example").body or b""
    ) == {
        "option0": "on",
        "option1": "on",
    }


def test_a_part_may_require_what_another_part_declares(tmp_path: Path) -> None:
    base = {"type": "object", "properties": {"to": {"type": "string"}, "cc": {"type": "string"}}}
    stricter = {"properties": {"cc": {"minLength": 1}}, "required": ["to", "nowhere"]}
    loaded = load(tmp_path, bodies({"allOf": [{"$ref": "#/components/schemas/Base"}, stricter]}, Base=base))
    assert loaded.tools[0].required == ("to",)
    assert any("requires 'nowhere', which it does not declare" in note for note in loaded.report.notes)
    branches = {**base, "anyOf": [{"properties": {"cc": {"minLength": 1}}, "required": ["to"]}, {"required": ["cc"]}]}
    kept = load(tmp_path, bodies(branches)).tools[0].properties["body"]["anyOf"]
    assert [branch["required"] for branch in kept] == [["to"], ["cc"]]


def test_a_list_of_choices_is_never_cut(tmp_path: Path) -> None:
    choices = {"type": "array", "items": {"$ref": "#/components/schemas/Choice"}}
    many = wide(90)
    many["properties"]["list"] = {"$ref": "#/components/schemas/Choices"}
    tool = load(tmp_path, bodies(many, Choices=choices, Choice={"type": "string", "enum": ["a", "b"]})).tools[0]
    assert tool.properties["list"] == {"type": "array", "items": {"type": "string", "enum": ["a", "b"]}}


def test_a_body_whose_media_type_has_no_name_is_taken_for_json(tmp_path: Path) -> None:
    content = {"": {"schema": {"type": "object", "properties": {"a": {"type": "string"}}}}}
    tool = load(tmp_path, with_operation({"requestBody": {"content": content}})).tools[0]
    assert list(tool.properties) == ["a"] and tool.endpoint is not None
    assert tool.endpoint["body"] == {"type": "application/json"}


def test_alternatives_of_a_body_keep_their_names(tmp_path: Path) -> None:
    either = {"oneOf": [{"$ref": "#/components/schemas/A"}, {"$ref": "#/components/schemas/B"}]}
    tool = load(tmp_path, bodies(either, A=wide(60), B=wide(70, required=["option69"]))).tools[0]
    assert [len(one["properties"]) for one in tool.properties["body"]["oneOf"]] == [60, 70]
    assert tool.properties["body"]["oneOf"][1]["required"] == ["option69"]


@pytest.mark.parametrize(
    "inner", [{"$ref": "#/components/schemas/Wide"}, {"allOf": [{"$ref": "#/components/schemas/Wide"}]}]
)
def test_an_object_that_is_cut_still_requires_what_it_requires_and_forbids_nothing(tmp_path: Path, inner: Any) -> None:
    many = {"type": "object", "properties": {f"p{n}": inner for n in range(9)}}
    loaded = load(tmp_path, bodies(many, Wide=wide(required=["option0"])))
    parameters = loaded.tools[0].parameters
    assert parameters["properties"]["p0"] == {"type": "object", "required": ["option0"]}
    assert not schema_errors({"p0": {"option0": "on", "option7": "off"}}, parameters)
    assert schema_errors({"p0": {"option7": "off"}}, parameters)
    assert any("anything is allowed there" in note for note in loaded.report.notes)


def test_what_is_only_for_reading_is_neither_required_nor_offered_at_any_depth(tmp_path: Path) -> None:
    stamp = {"type": "object", "properties": {"at": {"type": "string"}}, "readOnly": True}
    thing = {
        "type": "object",
        "required": ["id", "made", "name", "secret"],
        "properties": {
            "id": {"type": "integer", "readOnly": True},
            "made": {"$ref": "#/components/schemas/Stamp"},
            "name": {"type": "string"},
            "secret": {"type": "string", "writeOnly": True},
        },
    }
    composed = {
        "allOf": [{"$ref": "#/components/schemas/Thing"}, {"required": ["id", "size"], "properties": {"size": {}}}]
    }
    deep = {"type": "object", "properties": {"one": composed, "map": {"additionalProperties": thing}}}
    document = bodies(deep, Thing=thing, Stamp=stamp)
    answer = {"200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}}}}
    document["paths"]["/x"]["post"]["responses"] = answer
    tool = load(tmp_path, document).tools[0]
    assert tool.properties["one"]["required"] == ["name", "secret", "size"]
    assert set(tool.properties["one"]["properties"]) == {"name", "secret", "size"}
    assert tool.properties["map"]["additionalProperties"]["required"] == ["name", "secret"]
    assert tool.returns is not None and tool.returns["required"] == ["id", "made", "name"]


def test_a_branch_does_not_require_what_is_only_for_reading(tmp_path: Path) -> None:
    schema = {
        "type": "object",
        "properties": {"id": {"readOnly": True}, "a": {}},
        "anyOf": [{"required": ["id"]}, {"required": ["a"]}],
    }
    tool = load(tmp_path, bodies(schema)).tools[0]
    assert tool.properties["body"]["anyOf"] == [{}, {"required": ["a"]}]


def test_a_reference_is_followed_wherever_an_object_may_stand(tmp_path: Path) -> None:
    parts = {
        "paths.yaml": "/pets/{id}: {$ref: 'pets/path.yaml'}",
        "pets/path.yaml": "{get: {$ref: 'get.yaml'}, parameters: {$ref: '../shared.yaml#/all/pets'}, summary: Pets}",
        "pets/get.yaml": "{operationId: getPet, responses: {$ref: '../shared.yaml#/answers'}}",
        "shared.yaml": """
all: {$ref: 'more.yaml'}
answers: {'200': {content: {$ref: '#/content'}}}
content: {application/json: {$ref: '#/media'}}
media: {schema: {type: object, properties: {ok: {type: boolean}}}}
""",
        "more.yaml": "pets: [{name: id, in: path, schema: {$ref: '#/id'}}]\nid: {type: integer}",
    }
    for name, text in parts.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    document = {"openapi": "3.0.0", "info": {"title": "T"}, "paths": {"$ref": "paths.yaml"}}
    loaded = load(tmp_path, document, allow_references=True)
    tool = one(loaded, "getPet")
    assert not loaded.report.notes and not loaded.report.losses
    assert (tool.description, tool.properties) == ("Pets", {"id": {"type": "integer"}})
    assert tool.returns == {"type": "object", "properties": {"ok": {"type": "boolean"}}}


def test_an_operation_or_path_that_cannot_be_followed_is_a_loss_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "get.yaml").write_text("operationId: getPet")
    document = {
        "openapi": "3.0.0",
        "paths": {"/a": {"get": {"$ref": "get.yaml"}, "put": {"$ref": "#/x"}}, "/b": {"$ref": "c"}},
    }
    loaded = load(tmp_path, document)
    assert not loaded.tools
    assert {loss.name: loss.reason for loss in loaded.report.losses} == {
        "api.json GET /a": "the reference to another document 'get.yaml' is not followed without --allow-references",
        "api.json PUT /a": "the reference '#/x' leads nowhere",
        "api.json /b": "the reference to another document 'c' is not followed without --allow-references",
    }


def test_what_stands_beside_the_reference_of_a_path_counts_too(tmp_path: Path) -> None:
    document = {
        "openapi": "3.1.0",
        "paths": {"/a": {"$ref": "#/x-a", "parameters": [{"name": "q", "in": "query"}], "put": {"operationId": "put"}}},
        "x-a": {"get": {"operationId": "get"}},
    }
    assert [(tool.name, list(tool.properties)) for tool in load(tmp_path, document).tools] == [
        ("get", ["q"]),
        ("put", ["q"]),
    ]


def test_a_description_may_be_split_over_many_files(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    for number in range(300):
        (tmp_path / "p" / f"{number}.yaml").write_text(f"get: {{operationId: op{number}}}")
    paths = {f"/{number}": {"$ref": f"p/{number}.yaml"} for number in range(300)}
    loaded = load(tmp_path, {"openapi": "3.0.0", "paths": paths}, allow_references=True)
    assert [tool.name for tool in loaded.tools] == [f"op{number}" for number in range(300)]


def test_the_parts_of_a_description_in_a_folder_are_no_losses(tmp_path: Path) -> None:
    folder = tmp_path / "split"
    folder.mkdir()
    (folder / "api.yaml").write_text("openapi: 3.0.0\npaths: {/a: {$ref: a.yaml}}")
    (folder / "a.yaml").write_text("get: {operationId: getA, parameters: [{$ref: 'p.yaml#/p'}]}")
    (folder / "p.yaml").write_text("p: {name: q, in: query}")
    (folder / "other.yaml").write_text("nothing: here")
    loaded = checked(load_openapi(folder, allow_references=True))
    assert [(tool.name, list(tool.properties)) for tool in loaded.tools] == [("getA", ["q"])]
    assert [loss.name for loss in loaded.report.losses] == ["other.yaml"]
    alone = checked(load_openapi(folder))
    assert {loss.name for loss in alone.report.losses} == {"api.yaml /a", "a.yaml", "p.yaml", "other.yaml"}


def test_templates_of_gateways_keep_what_is_declared(tmp_path: Path) -> None:
    declared = [
        {"name": "name", "in": "path", "required": True, "description": "Which room", "schema": {"type": "string"}}
    ]
    document = {"openapi": "3.0.0", "paths": {"/v2/{name=hotels/*/rooms/*}:book": {"post": {"parameters": declared}}}}
    loaded = load(tmp_path, document)
    assert loaded.tools[0].properties == {"name": {"type": "string", "description": "Which room"}}
    request = build_request(loaded.tools[0], {"name": "hotels/h 1/rooms/2"}, server="https://x.example")
    assert request.full_url == "https://x.example/v2/hotels/h%201/rooms/2:book"
    assert not loaded.report.notes


def test_the_names_of_headers_ignore_case(tmp_path: Path) -> None:
    of_path = [{"name": "X-Trace", "in": "header", "schema": {"type": "string"}}, {"name": "ACCEPT", "in": "header"}]
    of_operation = [{"name": "x-trace", "in": "header", "required": True, "schema": {"type": "integer"}}]
    document = {"openapi": "3.0.0", "paths": {"/a": {"parameters": of_path, "get": {"parameters": of_operation}}}}
    tool = load(tmp_path, document).tools[0]
    assert (dict(tool.properties), tool.required) == ({"x-trace": {"type": "integer"}}, ("x-trace",))


@pytest.mark.parametrize(
    ("version", "parameter"),
    [
        ({"openapi": "3.0.3"}, {"type": "array", "items": {"type": "integer"}, "collectionFormat": "pipes"}),
        ({"swagger": "2.0"}, {"schema": {"type": "array", "items": {"type": "integer"}}, "collectionFormat": "pipes"}),
    ],
)
def test_a_schema_in_the_place_of_another_version_is_taken_and_noted(
    tmp_path: Path, version: Any, parameter: Any
) -> None:
    operation = {"parameters": [{"name": "ids", "in": "query", **parameter}]}
    loaded = load(tmp_path, {**version, "paths": {"/a": {"get": operation}}})
    assert loaded.tools[0].properties == {"ids": {"type": "array", "items": {"type": "integer"}}}
    assert build_request(loaded.tools[0], {"ids": [1, 2]}, server="http://x.example").query == "ids=1%7C2"
    assert len(loaded.report.notes) == 1 and "it was taken" in loaded.report.notes[0]


def test_a_schema_straight_under_a_media_type_is_taken_and_noted(tmp_path: Path) -> None:
    media = {"type": "object", "properties": {"a": {"type": "string"}}}
    loaded = load(tmp_path, with_operation({"requestBody": {"content": {"application/json": media}}}))
    assert list(loaded.tools[0].properties) == ["a"]
    assert "instead of under 'schema'" in loaded.report.notes[0]


@pytest.mark.parametrize("kind", ["application/json", "application/x-www-form-urlencoded"])
def test_a_body_that_takes_further_members_says_so_and_gets_them(tmp_path: Path, kind: str) -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "additionalProperties": {"type": "integer"}}
    tool = load(tmp_path, with_operation({"requestBody": {"content": {kind: {"schema": schema}}}})).tools[0]
    assert not schema_errors({"name": "x", "size": 3}, tool.parameters)
    assert schema_errors({"name": "x", "size": "big"}, tool.parameters)
    sent = build_request(tool, {"name": "x", "size": 3}, server="http://x.example").body
    assert sent in (b'{"name": "x", "size": 3}', b"name=x&size=3")


def test_a_body_with_patterns_for_its_names_is_one_argument(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"a": {}}, "patternProperties": {"^x-": {"type": "integer"}}}
    tool = load(tmp_path, bodies(schema)).tools[0]
    assert schema_errors({"body": {"x-b": "no"}}, tool.parameters) and not schema_errors(
        {"body": {"x-b": 1}}, tool.parameters
    )


def test_a_body_that_may_be_null_still_has_arguments(tmp_path: Path) -> None:
    schema = {"type": "object", "nullable": True, "properties": {"a": {"type": "string"}}}
    assert list(load(tmp_path, bodies(schema)).tools[0].properties) == ["a"]


def test_the_encoding_of_a_form_reaches_the_request(tmp_path: Path) -> None:
    media = {
        "schema": {"type": "object", "properties": {"to": {"type": "object"}, "tags": {"type": "array", "items": {}}}},
        "encoding": {
            "to": {"style": "deepObject", "explode": True, "headers": {}},
            "tags": {"style": "form", "explode": False},
        },
    }
    tool = load(
        tmp_path, with_operation({"requestBody": {"content": {"application/x-www-form-urlencoded": media}}})
    ).tools[0]
    sent = build_request(tool, {"to": {"city": "Rome"}, "tags": [1, 2]}, server="http://x.example").body
    assert sent == b"to%5Bcity%5D=Rome&tags=1%2C2"


def test_a_body_that_is_not_written_from_values_is_noted(tmp_path: Path) -> None:
    content = {"application/xml": {"schema": {"type": "object", "properties": {"a": {}}}}}
    loaded = load(tmp_path, with_operation({"requestBody": {"content": content}}))
    assert any("application/xml is not written from values" in note for note in loaded.report.notes)


def test_collection_formats_of_swagger_hold_everywhere(tmp_path: Path) -> None:
    def listed(name: str, place: str, style: str | None) -> dict[str, Any]:
        given = {"collectionFormat": style} if style else {}
        return {"name": name, "in": place, "type": "array", "items": {"type": "string"}, **given}

    parameters = [
        listed("p", "path", "ssv"),
        listed("q", "query", "tsv"),
        listed("r", "query", None),
        listed("h", "header", "pipes"),
        listed("f", "formData", None),
        listed("g", "formData", "multi"),
        listed("k", "formData", "pipes"),
    ]
    document = {"swagger": "2.0", "host": "x.example", "paths": {"/{p}": {"post": {"parameters": parameters}}}}
    request = build_request(load(tmp_path, document).tools[0], {key: ["a", "b"] for key in "pqrhfgk"})
    assert request.full_url == "https://x.example/a%20b?q=a%09b&r=a,b"
    assert (request.headers["h"], request.body) == ("a|b", b"f=a%2Cb&g=a&g=b&k=a%7Cb")


def test_lists_inside_a_list_of_swagger_are_joined_in_their_own_way(tmp_path: Path) -> None:
    def nested(name: str, place: str, outer: str, inner: str | None) -> dict[str, Any]:
        how = {"collectionFormat": inner} if inner else {}
        items = {"type": "array", "items": {"type": "integer"}, **how}
        return {"name": name, "in": place, "type": "array", "collectionFormat": outer, "items": items}

    parameters = [
        nested("p", "path", "csv", "pipes"),
        nested("q", "query", "pipes", "csv"),
        nested("r", "query", "multi", None),
        nested("h", "header", "ssv", "pipes"),
        nested("f", "formData", "multi", "tsv"),
    ]
    document = {"swagger": "2.0", "host": "x.example", "paths": {"/{p}": {"post": {"parameters": parameters}}}}
    (tool,) = load(tmp_path, document).tools
    assert "collectionFormat" not in json.dumps(tool.to_dict())
    request = build_request(tool, {key: [[1, 2], [3]] for key in "pqrhf"})
    assert request.full_url == "https://x.example/1%7C2,3?q=1%2C2%7C3&r=1%2C2&r=3"
    assert (request.headers["h"], request.body) == ("1|2 3", b"f=1%092&f=3")


@pytest.mark.parametrize(
    ("consumes", "kind", "sent"),
    [
        (["application/json"], "string", "application/x-www-form-urlencoded"),
        ([], "string", "application/x-www-form-urlencoded"),
        (["multipart/form-data"], "string", "multipart/form-data"),
        (["application/x-www-form-urlencoded", "multipart/form-data"], "string", "application/x-www-form-urlencoded"),
        (["application/json"], "file", "multipart/form-data"),
    ],
)
def test_a_form_of_swagger_without_a_file_is_urlencoded_whatever_else_is_consumed(
    tmp_path: Path, consumes: list[str], kind: str, sent: str
) -> None:
    parameters = [{"name": "a", "in": "formData", "type": kind}]
    operation = {"consumes": consumes, "parameters": parameters}
    document = {"swagger": "2.0", "host": "x.example", "paths": {"/a": {"post": operation}}}
    request = build_request(load(tmp_path, document).tools[0], {"a": "1"})
    assert request.headers["Content-Type"].partition(";")[0] == sent


@pytest.mark.parametrize("version", [{"openapi": "3.0.3"}, {"swagger": "2.0"}])
def test_a_header_that_is_an_api_key_is_not_asked_of_a_model(tmp_path: Path, version: dict[str, str]) -> None:
    schemes = {"key": {"type": "apiKey", "in": "header", "name": "X-Api-Key"}, "odd": 3}
    text: dict[str, Any] = {"schema": {"type": "string"}} if "openapi" in version else {"type": "string"}
    names = ("X-API-KEY", "X-Trace")
    operation = {"parameters": [{"name": name, "in": "header", "required": True, **text} for name in names]}
    where = {"components": {"securitySchemes": schemes}} if "openapi" in version else {"securityDefinitions": schemes}
    loaded = load(tmp_path, {**version, "paths": {"/a": {"get": operation}}, **where})
    assert loaded.tools[0].required == ("X-Trace",)
    assert any("'X-API-KEY' is a credential and no argument" in note for note in loaded.report.notes)


def test_a_header_of_the_connection_is_no_argument_and_noted(tmp_path: Path) -> None:
    names = ("Host", "transfer-encoding", "Proxy-Authorization", "Accept", "X-Trace")
    parameters = [{"name": name, "in": "header", "required": True, "schema": {"type": "string"}} for name in names]
    loaded = load(tmp_path, {"openapi": "3.0.3", "paths": {"/a": {"get": {"parameters": parameters}}}})
    assert loaded.tools[0].required == ("X-Trace",)
    assert sum("is one of the connection and no argument" in note for note in loaded.report.notes) == 3


def test_the_note_about_a_secret_names_what_had_it(tmp_path: Path) -> None:
    key = "sk-" + "abcdefghijklmnopqrstuvwx"
    parameter = {"name": "plan", "in": "query", "schema": {"type": "string", "default": key}}
    listed = {"name": "plans", "in": "query", "schema": {"type": "array", "items": {"default": key}}}
    shared = {"name": "other", "in": "query", "schema": {"$ref": "#/components/schemas/Plan"}}
    document = with_operation({"parameters": [parameter, listed, shared]})
    loaded = load(tmp_path, document | {"components": {"schemas": {"Plan": {"anyOf": [{"const": key}]}}}})
    assert key not in json.dumps(loaded.tools[0].to_dict())
    said = [note.partition(": ")[2] for note in loaded.report.notes]
    assert said == [
        "the default of 'plan' looks like a secret; left out",
        "the default of 'plans' looks like a secret; left out",
        "the const of 'Plan' looks like a secret; left out",
    ]


def test_reserved_characters_are_kept_where_the_description_allows_it(tmp_path: Path) -> None:
    parameters = [{"name": name, "in": "query", "allowReserved": name == "p", "schema": {}} for name in "pr"]
    tool = load(tmp_path, with_operation({"parameters": parameters})).tools[0]
    assert build_request(tool, {"p": "/a?b", "r": "/a?b"}, server="http://x.example").query == "p=/a?b&r=%2Fa%3Fb"


def test_secrets_in_a_description_do_not_get_into_the_catalog(tmp_path: Path) -> None:
    body = {"type": "object", "properties": {"password": {"type": "string", "default": "hunter22"}}}
    document = bodies(body)
    document["servers"] = [
        {
            "url": "https://me:hunter22@{token}.example/{v}",
            "variables": {"token": {"default": "hunter22"}, "v": {"default": "v1"}},
        }
    ]
    parameter = {
        "name": "api_key",
        "in": "query",
        "schema": {"type": "string", "default": "hunter22", "example": "hunter22"},
    }
    document["paths"]["/x"]["post"]["parameters"] = [parameter]
    loaded = load(tmp_path, document)
    assert "hunter22" not in json.dumps([loaded.tools[0].to_dict(), loaded.report.to_dict()])
    assert (loaded.tools[0].endpoint or {})["server"] == "https://{token}.example/v1"
    assert len(loaded.report.notes) == 3


def test_keys_that_occur_twice_lose_no_operation_and_are_noted(tmp_path: Path) -> None:
    text = "openapi: 3.0.0\npaths:\n  /a: {get: {operationId: g}}\n  /a: {put: {operationId: p}}\n"
    as_json = (
        '{"openapi": "3.0.0", "paths": {"/a": {"get": {"operationId": "g"}}, "/a": {"put": {"operationId": "p"}}}}'
    )
    for document, name in ((text, "a.yaml"), (as_json, "a.json")):
        loaded = load(tmp_path, document, name)
        assert {tool.name for tool in loaded.tools} == {"g", "p"}
        assert loaded.report.notes == (
            f"{name}: the key '/a' occurs twice in one object; the members of both were taken",
        )


def test_the_notes_of_one_description_are_limited_and_the_rest_is_counted(tmp_path: Path) -> None:
    paths: dict[str, Any] = {f"/{n}/{{id{n}}}/{{same}}": {"get": {}} for n in range(50)}
    loaded = load(tmp_path, {"openapi": "3.0.0", "paths": paths})
    assert len(loaded.report.notes) == 21 and loaded.report.notes[-1] == "api.json: 31 more notes"
    assert (
        loaded.report.notes[1]
        == "api.json GET /0/{id0}/{same}: the path's 'same' is not declared; taken as a text (50 times)"
    )


WORDS = """
openapi swagger info title paths /a /a/{b} get post parameters name in schema requestBody content application/json
responses 200 default $ref components schemas type properties items required allOf enum servers url tags description
"""
KEYS = tuple(WORDS.split())
junk = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.sampled_from([*KEYS, "#/components/schemas/a", "#/paths", "path", "object"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6),
    max_leaves=40,
)


@settings(max_examples=150)
@given(st.data())
def test_no_damage_to_a_description_is_more_than_a_loss_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    document = copy.deepcopy(data.draw(st.sampled_from([PETS, SWAGGER])))
    for _ in range(data.draw(st.integers(1, 3))):
        node = document
        for _ in range(data.draw(st.integers(0, 8))):
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            inner = [key for key in keys if isinstance(node[key], (dict, list)) and node[key]]
            if not inner:
                break
            node = node[data.draw(st.sampled_from(inner))]
        key = data.draw(st.sampled_from(list(node) if isinstance(node, dict) else list(range(len(node)))))
        if node is not document or key not in ("openapi", "swagger"):
            node[key] = data.draw(junk)
    loaded = load(tmp_path_factory.getbasetemp(), document)
    assert loaded.report.counts["operations"] >= loaded.report.loaded


def test_a_valid_call_of_a_tool_is_valid_for_its_schema(tmp_path: Path) -> None:
    tool = one(load(tmp_path, PETS), "updatePet")
    assert not schema_errors({"id": 1, "body_id": 2, "name": None, "age": 0.5, "fields": ["a"]}, tool.parameters)
    assert len(schema_errors({"id": "1", "name": 3, "age": 0}, tool.parameters)) == 4
