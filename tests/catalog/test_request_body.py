"""A body is written as its media type asks, or refused; never JSON under another type."""

from __future__ import annotations

import email
import json
from email.message import Message
from typing import Any
from urllib.parse import parse_qsl

import pytest
import yaml

from toolgen.catalog.http_request import build_request
from toolgen.catalog.request_body import MULTIPART, URLENCODED, best_type, write_body
from toolgen.catalog.tool import Tool
from toolgen.errors import InputError


def whole(kind: str, value: Any) -> bytes:
    """The bytes of a body that is one argument."""
    sent, body = write_body({"type": kind, "whole": True}, [("body", value, {})])
    assert sent == kind and body is not None
    return body


def form(fields: Any, encoding: Any = None) -> list[tuple[str, str]]:
    """What a server reads of an urlencoded form."""
    values: list[tuple[str, Any, Any]] = [(name, value, {}) for name, value in fields.items()]
    sent, body = write_body({"type": URLENCODED, "encoding": encoding or {}}, values)
    assert sent == URLENCODED
    return parse_qsl((body or b"").decode(), keep_blank_values=True, strict_parsing=bool(body))


def parts(fields: Any, encoding: Any = None, schemas: Any = None) -> list[tuple[Any, Any, str, bytes]]:
    """Name, file name, declared content type and data of each part, as the standard library reads them."""
    values: list[tuple[str, Any, Any]] = [
        (name, value, (schemas or {}).get(name, {})) for name, value in fields.items()
    ]
    kind, body = write_body({"type": MULTIPART, "encoding": encoding or {}}, values)
    payload = email.message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + (body or b"")).get_payload()
    assert isinstance(payload, list)
    found = []
    for part in payload:
        assert isinstance(part, Message)
        data = part.get_payload(decode=True)
        assert isinstance(data, bytes)
        name = part.get_param("name", header="content-disposition")
        found.append((name, part.get_filename(), part.get("Content-Type", ""), data))
    return found


def test_a_whole_body_is_sent_as_its_type_asks() -> None:
    assert whole("application/json", [1, 2]) == b"[1, 2]"
    assert whole("application/vnd.api+json", "a") == b'"a"'
    assert whole("text/csv", "a,b") == b"a,b"
    assert whole("text/plain", 3.5) == b"3.5"
    assert write_body({"type": "*/*", "whole": True}, [("body", {}, {})]) == ("application/json", b"{}")
    assert write_body({"type": "application/json"}, []) == ("", None)


@pytest.mark.parametrize("kind", ["application/x-ndjson", "application/jsonl", "Application/JSON-Lines; charset=utf-8"])
def test_json_lines_are_one_value_a_line_and_each_line_ends(kind: str) -> None:
    assert whole(kind, [{"a": "x\ny"}, 2]) == b'{"a": "x\\ny"}\n2\n'
    assert whole(kind, {"a": 1}) == b'{"a": 1}\n'
    assert whole(kind, '{"a":1}\n') == b'{"a":1}\n'


def test_a_json_sequence_and_yaml_are_read_by_others() -> None:
    records = whole("application/json-seq", [1, {"a": 2}]).split(b"\x1e")[1:]
    assert [json.loads(record) for record in records] == [1, {"a": 2}]
    assert all(record.endswith(b"\n") for record in records)
    value = {"no": "no", "when": "2020-01-01", "list": [1, None, {"ü": True}]}
    assert yaml.safe_load(whole("application/yaml", value)) == value


@pytest.mark.parametrize(
    "kind",
    ["application/xml", "text/xml", "image/svg+xml", "application/octet-stream", "text/csv", "multipart/related"],
)
@pytest.mark.parametrize("value", [{"id": 1}, [1, 2]])
def test_what_is_not_written_from_values_is_refused_by_its_name_and_sent_as_a_text(kind: str, value: Any) -> None:
    with pytest.raises(InputError, match=kind.replace("+", r"\+")):
        whole(kind, value)
    assert whole(kind, "<a/>") == b"<a/>"


def test_fields_of_a_form_are_one_a_value_and_objects_are_json() -> None:
    assert form({"a": "x y", "b": [1, 2], "c": {"d": 1}, "e": None, "f": [], "g": ""}) == [
        ("a", "x y"),
        ("b", "1"),
        ("b", "2"),
        ("c", '{"d": 1}'),
        ("g", ""),
    ]


@pytest.mark.parametrize(
    ("how", "value", "fields"),
    [
        ({"style": "deepObject", "explode": True}, {"city": "Rome"}, [("x[city]", "Rome")]),
        ({"style": "deepObject"}, [{"price": 1}, {"price": 2}], [("x[0][price]", "1"), ("x[1][price]", "2")]),
        ({"style": "deepObject"}, {"a": {"b": "c"}}, [("x[a][b]", "c")]),
        ({"style": "form", "explode": False}, ["t", "u"], [("x", "t,u")]),
        ({"style": "form", "explode": True}, {"R": 1, "G": 2}, [("R", "1"), ("G", "2")]),
        ({"style": "pipeDelimited", "explode": False}, ["t", "u"], [("x", "t|u")]),
        ({"contentType": "application/json"}, ["t", "u"], [("x", '["t", "u"]')]),
    ],
)
def test_the_encoding_of_a_form_says_how_each_field_is_written(how: Any, value: Any, fields: Any) -> None:
    assert form({"x": value}, {"x": how}) == fields


def test_a_multipart_form_is_read_by_others() -> None:
    assert parts({"a": "x\r\ny", "b": [1, 2]}) == [
        ("a", None, "", b"x\r\ny"),
        ("b", None, "", b"1"),
        ("b", None, "", b"2"),
    ]


def test_each_object_in_a_multipart_form_is_a_part_of_json() -> None:
    assert parts({"meta": {"a": 1}, "rows": [{"b": 1}, {"b": 2}, None, "x"]}) == [
        ("meta", None, "application/json", b'{"a": 1}'),
        ("rows", None, "application/json", b'{"b": 1}'),
        ("rows", None, "application/json", b'{"b": 2}'),
        ("rows", None, "", b"x"),
    ]


def test_the_encoding_of_a_multipart_form_gives_the_type_of_a_part() -> None:
    assert parts({"rows": [{"b": 1}]}, {"rows": {"contentType": "application/json"}}) == [
        ("rows", None, "application/json", b'[{"b": 1}]')
    ]
    encoding = {"all": {"contentType": "application/json"}, "x": {"contentType": "application/xml"}}
    assert parts({"all": ["x", "y"], "x": "<a/>"}, encoding) == [
        ("all", None, "application/json", b'["x", "y"]'),
        ("x", None, "application/xml", b"<a/>"),
    ]
    with pytest.raises(InputError, match="application/xml"):
        parts({"x": {"a": 1}}, encoding)


def test_files_of_a_multipart_form_have_a_name() -> None:
    schemas = {
        "one": {"type": "string", "format": "binary"},
        "many": {"type": "array", "items": {"type": "string", "format": "binary"}},
        "new": {"contentMediaType": "image/png"},
    }
    encoding = {"one": {"contentType": "image/png, image/jpeg"}, "new": {"contentType": "image/*"}}
    assert parts({"one": "a", "many": ["b", "c"], "new": "d"}, encoding, schemas) == [
        ("one", "one", "image/png", b"a"),
        ("many", "many", "application/octet-stream", b"b"),
        ("many", "many", "application/octet-stream", b"c"),
        ("new", "new", "application/octet-stream", b"d"),
    ]


def test_the_media_type_that_values_fit_into_best_is_chosen() -> None:
    assert (
        best_type(["text/xml", URLENCODED, "application/hal+json", "Application/JSON; v=1"]) == "Application/JSON; v=1"
    )
    assert best_type(["text/xml", URLENCODED, "application/hal+json"]) == "application/hal+json"
    assert best_type(["text/xml", "application/x-ndjson"]) == "application/x-ndjson"
    assert best_type(["text/xml", "image/png"]) == "text/xml"


def test_files_are_told_by_their_schema_also_under_another_name_and_in_a_whole_body() -> None:
    binary = {"type": "string", "format": "binary"}
    renamed = Tool(
        id="a&&b",
        provider="a",
        name="b",
        parameters={"type": "object", "properties": {"file": {}, "body_file": binary}},
        endpoint={
            "kind": "http",
            "method": "POST",
            "server": "https://x.example",
            "path": "/{file}",
            "in": {"file": "path", "body_file": "body"},
            "wire": {"body_file": {"name": "file"}},
            "body": {"type": MULTIPART},
        },
    )
    sent = build_request(renamed, {"file": "f", "body_file": "data"}).body or b""
    assert b'name="file"; filename="file"\r\nContent-Type: application/octet-stream\r\n\r\ndata' in sent
    whole = write_body({"type": MULTIPART, "whole": True}, [("body", {"f": "data"}, {"properties": {"f": binary}})])
    assert b'name="f"; filename="f"' in (whole[1] or b"")
