"""A call through the schema becomes the request that its description asks for."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolgen.catalog import Tool
from toolgen.catalog.http_request import build_request
from toolgen.catalog.request_body import URLENCODED
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
        ({}, [1, 2], "x=1&x=2"),
        ({"explode": False}, [1, "2,3"], "x=1,2%2C3"),
        ({"style": "spaceDelimited", "explode": False}, ["a", "b"], "x=a%20b"),
        ({"style": "tabDelimited", "explode": False}, ["a", "b"], "x=a%09b"),
        ({"style": "pipeDelimited", "explode": False}, ["a", "b"], "x=a%7Cb"),
        ({"style": "deepObject", "explode": True}, {"a": 1, "b": True}, "x%5Ba%5D=1&x%5Bb%5D=true"),
        (
            {"style": "deepObject"},
            {"a": {"b": [1, {"c": 2}]}},
            "x%5Ba%5D%5Bb%5D%5B0%5D=1&x%5Ba%5D%5Bb%5D%5B1%5D%5Bc%5D=2",
        ),
        ({}, {"R": 100, "G": 200}, "R=100&G=200"),
        ({"explode": False}, {"R": 100, "G": 200}, "x=R,100,G,200"),
        ({"content": "application/json"}, {"a": [1]}, "x=%7B%22a%22%3A%20%5B1%5D%7D"),
        ({}, True, "x=true"),
        ({}, "", "x="),
        ({"allowReserved": True}, "a/b:c,d e&#%2F", "x=a/b:c,d%20e%26%23%2F"),
        ({"allowReserved": True, "explode": False}, ["a/b", "c"], "x=a/b,c"),
    ],
)
def test_query_styles_are_those_of_the_specification(how: Any, value: Any, query: str) -> None:
    assert build_request(tool(in_={"x": "query"}, wire={"x": how}), {"x": value}).query == query


@pytest.mark.parametrize("name", ["Host", "content-length", "Transfer-Encoding ", "TE", "proxy-authorization"])
def test_no_argument_sets_a_header_of_the_connection(name: str) -> None:
    called = tool(in_={"x": "header"}, wire={"x": {"name": name}})
    with pytest.raises(InputError, match=f"the header '{name}' is one of the connection"):
        build_request(called, {"x": "evil.example"})
    assert build_request(called, {"x": None}).headers == {}


@pytest.mark.parametrize("place", ["query", "header", "cookie"])
@pytest.mark.parametrize("value", [None, [], {}])
@pytest.mark.parametrize("how", [{}, {"explode": False}, {"style": "deepObject"}])
def test_what_is_undefined_is_not_sent(place: str, value: Any, how: Any) -> None:
    request = build_request(tool(in_={"x": place}, wire={"x": how}), {"x": value})
    assert (request.full_url, request.headers) == ("https://a.example/v1/x", {})


def test_null_members_of_lists_and_objects_are_left_out() -> None:
    called = tool("/{p}", in_={"p": "path", "q": "query", "h": "header", "f": "body"}, body={"type": URLENCODED})
    request = build_request(called, {"p": [1, None], "q": {"a": None, "b": 1}, "h": [None, 2], "f": [3, None]})
    assert request.full_url == "https://a.example/v1/1?b=1"
    assert (request.headers["h"], request.body) == ("2", b"f=3")


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
        ({"style": "matrix"}, "", "/;c"),
        ({"style": "pipeDelimited"}, ["a", "b/c"], "/a%7Cb%2Fc"),
        ({"style": "label", "explode": True}, {"R": 1, "G": None}, "/.R=1"),
        ({"allowReserved": True}, "a/b c?d#e", "/a/b%20c%3Fd%23e"),
    ],
)
def test_path_styles_are_those_of_the_specification(how: Any, value: Any, path: str) -> None:
    request = build_request(tool("/{c}", in_={"c": "path"}, wire={"c": how}), {"c": value})
    assert request.url == f"https://a.example/v1{path}"


@given(st.dictionaries(st.text("abc", min_size=1), st.text(st.characters(codec="utf-8"), max_size=9), max_size=4))
def test_queries_and_forms_come_back_as_they_were(arguments: dict[str, str]) -> None:
    asked = build_request(tool(in_=dict.fromkeys(arguments, "query")), arguments)
    assert dict(parse_qsl(urlsplit(asked.full_url).query, keep_blank_values=True)) == arguments
    form = tool(in_=dict.fromkeys(arguments, "body"), body={"type": URLENCODED})
    sent = build_request(form, arguments).body or b""
    assert dict(parse_qsl(sent.decode(), keep_blank_values=True)) == arguments


@pytest.mark.parametrize(
    "server", ["https://me:s3cret@a.example/v1", "https://me:s3cret@{host}/v1", "//me:s3cret@a.example"]
)
def test_a_server_with_a_user_or_password_is_refused_without_showing_it(server: str) -> None:
    for called, other in ((tool(server=server), None), (tool(), server)):
        with pytest.raises(InputError, match="give the address without it as `server`") as raised:
            build_request(called, {}, server=other)
        assert "s3cret" not in str(raised.value)


def test_a_fragment_of_the_path_is_not_sent_and_its_query_is_kept() -> None:
    request = build_request(tool("/?Version=1#Action=List", in_={"q": "query"}), {"q": "1"})
    assert parse_qs(urlsplit(request.full_url).query) == {"Version": ["1"], "q": ["1"]}
    assert "Action" not in request.full_url


@pytest.mark.parametrize("value", [None, [], {}])
def test_a_path_is_not_sent_without_its_value(value: Any) -> None:
    with pytest.raises(InputError, match="the path needs a value for 'id'"):
        build_request(tool("/pets/{id}", in_={"id": "path"}), {"id": value})


@pytest.mark.parametrize(("how", "value"), [({}, ".."), ({"allowReserved": True}, "a/../../admin")])
def test_a_value_never_climbs_to_another_path(how: Any, value: str) -> None:
    with pytest.raises(InputError, match="would lead to another path"):
        build_request(tool("/files/{p}", in_={"p": "path"}, wire={"p": how}), {"p": value})


def test_a_value_never_ends_a_header() -> None:
    with pytest.raises(InputError, match="control character"):
        build_request(tool(in_={"X-T": "header"}), {"X-T": "a\r\nHost: evil.example"})


def test_header_lists_are_delimited_as_described() -> None:
    called = tool(in_={"a": "header", "b": "header"}, wire={"b": {"style": "spaceDelimited"}})
    assert build_request(called, {"a": [1, 2], "b": [1, 2]}).headers == {"a": "1,2", "b": "1 2"}


def test_members_that_have_no_name_yet_go_to_a_body_that_takes_them() -> None:
    called = tool(in_={"q": "query", "name": "body"}, body={"type": "application/json"})
    with pytest.raises(InputError, match="no parameter 'size'"):
        build_request(called, {"size": 3})
    taking = replace(called, parameters={**called.parameters, "additionalProperties": {"type": "integer"}})
    request = build_request(taking, {"q": 1, "name": "x", "size": 3})
    assert (request.query, json.loads(request.body or b"")) == ("q=1", {"name": "x", "size": 3})


@pytest.mark.parametrize(
    ("declared", "given", "url"),
    [
        ("/v1", "http://b.example/", "http://b.example/v1/x"),
        ("api/v1/", "http://b.example", "http://b.example/api/v1/x"),
        ("/v1", "http://b.example/other", "http://b.example/other/x"),
        ("https://a.example/v1", "http://b.example", "http://b.example/x"),
    ],
)
def test_a_relative_server_is_a_path_on_the_host_that_the_user_names(declared: str, given: str, url: str) -> None:
    assert build_request(tool(server=declared), {}, server=given).url == url


def test_calls_that_cannot_be_made_are_one_line() -> None:
    with pytest.raises(InputError, match="no parameter 'y'"):
        build_request(tool(), {"y": 1})
    with pytest.raises(InputError, match="lacks the required 'x'"):
        build_request(tool(required=["x"], in_={"x": "query"}), {})
    for server in ("/v1", "https://{region}.example"):
        with pytest.raises(InputError, match="no full server address"):
            build_request(tool(server=server), {})
    with pytest.raises(InputError, match="not called over HTTP"):
        build_request(Tool(id="a", provider="", name="a"), {})
