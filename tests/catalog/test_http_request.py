"""A call through the schema becomes the request that its description asks for."""

from __future__ import annotations

import email
import json
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolgen.catalog import Tool
from toolgen.catalog.http_request import build_request
from toolgen.errors import InputError


def tool(path: str = "/x", required: Any = (), **endpoint: Any) -> Tool:
    endpoint = {key.removesuffix("_"): value for key, value in endpoint.items()}
    places = endpoint.get("in", {})
    parameters = {"type": "object", "properties": {name: {} for name in places}, "required": list(required)}
    known = {"kind": "http", "method": "POST", "server": "https://a.example/v1", "path": path, "in": {}}
    return Tool(id="a&&b", provider="a", name="b", parameters=parameters, endpoint=known | endpoint)


def test_every_argument_goes_to_its_place() -> None:
    called = tool(
        "/pets/{id}",
        in_={"id": "path", "q": "query", "X-T": "header", "s": "cookie", "body_id": "body", "name": "body"},
        wire={"body_id": {"name": "id"}},
        body={"type": "application/json"},
    )
    request = build_request(called, {"id": "a/b é", "q": "x&y", "X-T": 3, "s": "c d", "body_id": 7, "name": None})
    assert request.url == "https://a.example/v1/pets/a%2Fb%20%C3%A9"
    assert request.full_url == request.url + "?q=x%26y"
    assert request.headers == {"X-T": "3", "Cookie": "s=c%20d", "Content-Type": "application/json"}
    assert json.loads(request.body or b"") == {"id": 7, "name": None}


@pytest.mark.parametrize(
    ("how", "value", "query"),
    [
        ({}, [1, 2], [("x", "1"), ("x", "2")]),
        ({"explode": False}, [1, 2], [("x", "1,2")]),
        ({"style": "spaceDelimited", "explode": False}, ["a", "b"], [("x", "a b")]),
        ({"style": "pipeDelimited", "explode": False}, ["a", "b"], [("x", "a|b")]),
        ({"style": "deepObject", "explode": True}, {"a": 1, "b": True}, [("x[a]", "1"), ("x[b]", "true")]),
        ({}, {"R": 100, "G": 200}, [("R", "100"), ("G", "200")]),
        ({"explode": False}, {"R": 100, "G": 200}, [("x", "R,100,G,200")]),
        ({"content": "application/json"}, {"a": [1]}, [("x", '{"a": [1]}')]),
        ({}, True, [("x", "true")]),
        ({}, None, [("x", "")]),
    ],
)
def test_query_styles_are_those_of_the_specification(how: Any, value: Any, query: Any) -> None:
    assert list(build_request(tool(in_={"x": "query"}, wire={"x": how}), {"x": value}).query) == query


@pytest.mark.parametrize(
    ("how", "value", "path"),
    [
        ({}, ["blue", "black"], "/blue,black"),
        ({}, {"R": 100, "G": 200}, "/R,100,G,200"),
        ({"explode": True}, {"R": 100, "G": 200}, "/R=100,G=200"),
        ({"style": "label", "explode": True}, ["blue", "black"], "/.blue.black"),
        ({"style": "label"}, "blue", "/.blue"),
        ({"style": "matrix"}, ["blue", "black"], "/;c=blue,black"),
        ({"style": "matrix", "explode": True}, ["blue", "black"], "/;c=blue;c=black"),
        ({"style": "matrix", "explode": True}, {"R": 100, "G": 200}, "/;R=100;G=200"),
    ],
)
def test_path_styles_are_those_of_the_specification(how: Any, value: Any, path: str) -> None:
    request = build_request(tool("/{c}", in_={"c": "path"}, wire={"c": how}), {"c": value})
    assert request.url == f"https://a.example/v1{path}"


@given(st.dictionaries(st.text("abc", min_size=1), st.text(st.characters(codec="utf-8"), max_size=9), max_size=4))
def test_queries_and_forms_come_back_as_they_were(arguments: dict[str, str]) -> None:
    asked = build_request(tool(in_=dict.fromkeys(arguments, "query")), arguments)
    assert dict(parse_qsl(urlsplit(asked.full_url).query, keep_blank_values=True)) == arguments
    form = tool(in_=dict.fromkeys(arguments, "body"), body={"type": "application/x-www-form-urlencoded"})
    sent = build_request(form, arguments).body or b""
    assert dict(parse_qsl(sent.decode(), keep_blank_values=True)) == arguments


def test_a_multipart_form_is_read_by_others() -> None:
    form = tool(in_={"a": "body", "b": "body"}, body={"type": "multipart/form-data"})
    request = build_request(form, {"a": "x\r\ny", "b": [1, 2]})
    head = f"Content-Type: {request.headers['Content-Type']}\r\n\r\n".encode()
    parts = email.message_from_bytes(head + (request.body or b"")).get_payload()
    assert isinstance(parts, list)
    found = [(p.get_param("name", header="content-disposition"), p.get_payload(decode=True)) for p in parts]  # type: ignore[union-attr]
    assert [(name, bytes(data).strip()) for name, data in found] == [("a", b"x\r\ny"), ("b", b"1"), ("b", b"2")]


def test_a_whole_body_is_sent_as_it_is() -> None:
    whole = {"body": "body"}
    as_json = tool(in_=whole, body={"type": "application/json", "whole": True})
    assert build_request(as_json, {"body": [1, 2]}).body == b"[1, 2]"
    as_text = tool(in_=whole, body={"type": "text/csv", "whole": True})
    assert build_request(as_text, {"body": "a,b"}).body == b"a,b"
    assert build_request(as_json, {}).body is None


def test_a_fragment_of_the_path_is_not_sent_and_its_query_is_kept() -> None:
    request = build_request(tool("/?Version=1#Action=List", in_={"q": "query"}), {"q": "1"})
    assert parse_qs(urlsplit(request.full_url).query) == {"Version": ["1"], "q": ["1"]}
    assert "Action" not in request.full_url


def test_calls_that_cannot_be_made_are_one_line() -> None:
    with pytest.raises(InputError, match="no parameter 'y'"):
        build_request(tool(), {"y": 1})
    with pytest.raises(InputError, match="lacks the required 'x'"):
        build_request(tool(required=["x"], in_={"x": "query"}), {})
    with pytest.raises(InputError, match="no full server address"):
        build_request(tool(server="/v1"), {})
    assert build_request(tool(server="/v1"), {}, server="http://b.example/").url == "http://b.example/x"
    with pytest.raises(InputError, match="not called over HTTP"):
        build_request(Tool(id="a", provider="", name="a"), {})
