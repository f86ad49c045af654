"""A call of a tool whose endpoint is of kind `http`, as the request that makes it. Nothing is sent.

Serialization: OpenAPI 3.1.1, section 4.8.12 (styles of parameters), which follows RFC 6570; `request_body` writes the body.
Knows no credentials: whoever sends the request adds them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import quote, urlsplit

from toolgen.catalog.request_body import (
    DELIMITERS,
    is_undefined,
    joined_inside,
    scalar_text,
    styled,
    write_body,
    write_value,
)
from toolgen.catalog.tool import JsonObject, Tool
from toolgen.errors import InputError
from toolgen.foreign.web import has_login

_TRIPLET = re.compile(r"(%[0-9A-Fa-f]{2})")
_RESERVED = ":/?[]@!$'()*+,;="  # RFC 3986, without `#` and `&`, which would end the query or the value
_RESERVED_IN_PATH = ":/@!$&'()*+,;="
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_OF_CONNECTION = frozenset({"host", "content-length", "transfer-encoding", "connection", "te", "trailer", "upgrade", "expect",
                            "keep-alive"})  # fmt: skip

_Placed = list[
    tuple[str, Any, JsonObject]
]  # the name on the wire, the value, how it is written or (of a body) its schema


@dataclass(frozen=True)
class HttpRequest:
    """A request that has not been sent. `query` is percent-encoded."""

    method: str
    url: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None

    @property
    def full_url(self) -> str:
        """The address with the query."""
        return f"{self.url}{'&' if '?' in self.url else '?'}{self.query}" if self.query else self.url


def build_request(tool: Tool, arguments: JsonObject, *, server: str | None = None) -> HttpRequest:
    """The request of one call. `server` replaces the address that the description gives; a relative one in the description
    is put behind a `server` that is a host alone.

    InputError if the tool is called in another way, an argument is unknown or a required one is missing, a value cannot be
    written as the description asks, or no server is known. Values are not validated: see `catalog.schema.schema_errors`.
    """
    endpoint = tool.endpoint or {}
    if endpoint.get("kind") != "http":
        raise InputError(f"tool {tool.id!r} is not called over HTTP (its endpoint is {endpoint.get('kind')!r})")
    by_place = _by_place(tool, endpoint, arguments)
    try:
        headers = _headers(by_place)
        kind, body = write_body(endpoint.get("body") or {}, by_place.get("body", []))
        query = [pair for name, value, how in by_place.get("query", ()) for pair in _query(name, value, how)]
        url = server_address(tool, server) + _path(str(endpoint["path"]), by_place.get("path", []))
    except InputError as error:
        raise InputError(f"the call of {tool.id!r}: {error}") from None
    if kind:
        headers["Content-Type"] = kind
    return HttpRequest(str(endpoint["method"]), url, "&".join(query), headers, body)


def _by_place(tool: Tool, endpoint: JsonObject, arguments: JsonObject) -> dict[str, _Placed]:
    """The arguments by the place of the request that each goes to; InputError for an unknown and for a missing one."""
    places: Mapping[str, str] = endpoint.get("in", {})
    takes_more = (
        tool.parameters.get("additionalProperties", False) is not False
    )  # members of the body that have no name yet
    open_body = takes_more and "body" in places.values() and not endpoint.get("body", {}).get("whole")
    if not open_body and (unknown := sorted(set(arguments) - set(places))):
        raise InputError(f"tool {tool.id!r} has no parameter {unknown[0]!r}; it has {', '.join(places) or 'none'}")
    if missing := [name for name in tool.required if name not in arguments]:
        raise InputError(f"the call of {tool.id!r} lacks the required {missing[0]!r}")
    wire: Mapping[str, JsonObject] = endpoint.get("wire", {})
    by_place: dict[str, _Placed] = {}
    for name, value in arguments.items():
        how, place = wire.get(name, {}), places.get(name, "body")
        more = tool.properties.get(name, {}) if place == "body" else how
        by_place.setdefault(place, []).append((str(how.get("name", name)), value, more))
    return by_place


def is_of_connection(name: str) -> bool:
    """Whether a header says where a request ends or which host it is for, so that no argument may set it."""
    name = name.strip().lower()
    return name in _OF_CONNECTION or name.startswith("proxy-")


def server_address(tool: Tool, given: str | None = None) -> str:
    """Where a tool's path begins: `given`, or what the description says; InputError if that is no full address, or one with a
    user or password, which is not shown."""
    endpoint = tool.endpoint or {}
    declared = str(endpoint.get("server") or "").rstrip("/")
    base = str(given or declared).rstrip("/")
    if has_login(base):
        raise InputError(
            "the address of the server has a user or password, which is not sent; give the address without it as `server`, "
            "and the credential as a header (--header)"
        )
    if given and declared and "://" not in declared and not urlsplit(base).path:
        base += "/" + declared.lstrip("/")
    if "://" not in base or "{" in base:
        raise InputError(f"the description names no full server address ({base!r}); give one as `server`")
    return base


def _headers(by_place: Mapping[str, _Placed]) -> dict[str, str]:
    headers = {}
    for name, value, how in by_place.get("header", ()):
        if "content" in how or not is_undefined(value):
            if is_of_connection(name):
                raise InputError(f"the header {name!r} is one of the connection, which no argument sets")
            headers[name] = _simple(name, value, how)
    cookies = [
        f"{name}={quote(_simple(name, value, how))}"
        for name, value, how in by_place.get("cookie", ())
        if "content" in how or not is_undefined(value)
    ]
    return headers | ({"Cookie": "; ".join(cookies)} if cookies else {})


def _simple(name: str, value: Any, how: JsonObject) -> str:
    """The value of a header or cookie."""
    if "content" in how:
        text = write_value(value, str(how["content"])).decode("utf-8", "replace")
    else:
        delimiter = DELIMITERS.get(str(how.get("style")), ",")
        text = _joined(joined_inside(value, how), delimiter, how.get("explode") is True, str)
    if _CONTROL.search(text):
        raise InputError(f"the value of {name!r} has a control character, which no header can hold")
    return text


def _query(name: str, value: Any, how: JsonObject) -> list[str]:
    """`name=value` for each of what the style makes of a value, encoded; of the delimiters the comma is not."""
    encode = partial(_keep_reserved, kept=_RESERVED) if how.get("allowReserved") is True else partial(quote, safe="")
    if "content" in how:
        text = write_value(value, str(how["content"])).decode("utf-8", "replace")
        return [f"{quote(name, safe='')}={encode(text)}"]
    return [
        f"{quote(key, safe='')}={quote(delimiter, safe=',').join(map(encode, parts))}"
        for key, parts, delimiter in styled(name, value, how)
    ]


def _path(template: str, values: _Placed) -> str:
    """The path with its values. Its templates are `{name}` and nothing else: the loader has settled operators."""
    path = template.partition("#")[0]  # a fragment only tells operations on one path apart
    for name, value, how in values:
        if is_undefined(value):
            raise InputError(f"the path needs a value for {name!r}; got {value!r}")
        written = _path_value(name, value, how)
        if any(part in (".", "..") for part in written.split("/")):
            raise InputError(f"the value {value!r} of {name!r} would lead to another path")
        path = path.replace(f"{{{name}}}", written)
    path, _, query = path.partition("?")
    fixed = "&".join(pair for pair in query.split("&") if pair and "{" not in pair)  # templates that nothing filled
    return path + (f"?{fixed}" if fixed else "")


def _path_value(name: str, value: Any, how: JsonObject) -> str:
    style, explode = str(how.get("style", "simple")), how.get("explode") is True
    encode = (
        partial(_keep_reserved, kept=_RESERVED_IN_PATH) if how.get("allowReserved") is True else partial(quote, safe="")
    )
    if "content" in how:
        return encode(write_value(value, str(how["content"])).decode("utf-8", "replace"))
    value = joined_inside(value, how)
    if style == "label":
        return "." + _joined(value, "." if explode else ",", explode, encode)
    if style != "matrix":
        return _joined(value, quote(DELIMITERS.get(style, ","), safe=","), explode, encode)
    if isinstance(value, Mapping) and explode:
        return ";" + _joined(value, ";", True, encode)
    values = [_joined(one, ",", False, encode) for one in (value if isinstance(value, list) and explode else [value])]
    return "".join(f";{quote(name, safe='')}={one}" if one else f";{quote(name, safe='')}" for one in values)


def _joined(value: Any, delimiter: str, explode: bool, encode: Any) -> str:
    """A list, object or plain value as one text: each part is encoded, the delimiters are not."""
    if isinstance(value, Mapping):
        inner = "=" if explode else delimiter
        return delimiter.join(
            f"{encode(str(key))}{inner}{encode(scalar_text(one))}" for key, one in value.items() if one is not None
        )
    values = value if isinstance(value, list) else [value]
    return delimiter.join(encode(scalar_text(one)) for one in values if one is not None)


def _keep_reserved(text: str, kept: str) -> str:
    """Reserved expansion (RFC 6570, 3.2.3): neither reserved characters nor percent-encoded triplets are encoded."""
    return "".join(part if _TRIPLET.fullmatch(part) else quote(part, safe=kept) for part in _TRIPLET.split(text))
