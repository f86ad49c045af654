"""A call of a tool whose endpoint is of kind `http`, as the request that makes it. Nothing is sent.

Serialization: OpenAPI 3.1.1, section 4.8.12 (styles of parameters), and RFC 7578 (multipart forms). Knows no credentials:
whoever sends the request adds them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from toolgen.catalog.tool import JsonObject, Tool
from toolgen.errors import InputError

_DELIMITERS = {"form": ",", "simple": ",", "spaceDelimited": " ", "tabDelimited": "\t", "pipeDelimited": "|"}


@dataclass(frozen=True)
class HttpRequest:
    """A request that has not been sent. `query` holds names and values before they are encoded."""

    method: str
    url: str
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None

    @property
    def full_url(self) -> str:
        """The address with the query."""
        if not self.query:
            return self.url
        return f"{self.url}{'&' if '?' in self.url else '?'}{urlencode(self.query, quote_via=quote)}"


def build_request(tool: Tool, arguments: JsonObject, *, server: str | None = None) -> HttpRequest:
    """The request of one call. `server` replaces the address that the description gives.

    InputError if the tool is called in another way, an argument is unknown or a required one is missing, or no server is
    known. Values are not validated: see `catalog.schema.schema_errors`.
    """
    endpoint = tool.endpoint or {}
    if endpoint.get("kind") != "http":
        raise InputError(f"tool {tool.id!r} is not called over HTTP (its endpoint is {endpoint.get('kind')!r})")
    places: Mapping[str, str] = endpoint.get("in", {})
    if unknown := sorted(set(arguments) - set(places)):
        raise InputError(f"tool {tool.id!r} has no parameter {unknown[0]!r}; it has {', '.join(places) or 'none'}")
    if missing := [name for name in tool.required if name not in arguments]:
        raise InputError(f"the call of {tool.id!r} lacks the required {missing[0]!r}")
    wire: Mapping[str, JsonObject] = endpoint.get("wire", {})
    by_place: dict[str, list[tuple[str, Any, JsonObject]]] = {}
    for name, value in arguments.items():
        how = wire.get(name, {})
        by_place.setdefault(places[name], []).append((str(how.get("name", name)), value, how))
    headers = {name: _simple(value, how) for name, value, how in by_place.get("header", ())}
    if cookies := by_place.get("cookie"):
        headers["Cookie"] = "; ".join(f"{name}={quote(_simple(value, how))}" for name, value, how in cookies)
    kind, body = _body(endpoint.get("body") or {}, by_place.get("body", []))
    if kind:
        headers["Content-Type"] = kind
    query = [pair for name, value, how in by_place.get("query", ()) for pair in _query(name, value, how)]
    url = _url(tool, endpoint, server, by_place.get("path", []))
    return HttpRequest(str(endpoint["method"]), url, tuple(query), headers, body)


def _url(tool: Tool, endpoint: JsonObject, server: str | None, values: list[tuple[str, Any, JsonObject]]) -> str:
    base = str(server or endpoint.get("server") or "").rstrip("/")
    if "://" not in base:
        raise InputError(
            f"the description of {tool.id!r} names no full server address ({base!r}); give one as `server`"
        )
    path = str(endpoint["path"]).partition("#")[0]  # a fragment only tells operations on one path apart
    for name, value, how in values:
        path = path.replace(f"{{{name}}}", _path(name, value, how))
    path, _, query = path.partition("?")
    fixed = "&".join(pair for pair in query.split("&") if pair and "{" not in pair)  # templates that nothing filled
    return base + path + (f"?{fixed}" if fixed else "")


def _path(name: str, value: Any, how: JsonObject) -> str:
    style, explode = how.get("style", "simple"), how.get("explode", False)
    if style == "label":
        return "." + _joined(value, "." if explode else ",", explode)
    if style == "matrix":
        if isinstance(value, Mapping) and explode:
            return ";" + _joined(value, ";", True)
        if isinstance(value, list) and explode:
            return "".join(f";{quote(name, safe='')}={quote(_scalar(one), safe='')}" for one in value)
        return f";{quote(name, safe='')}={_joined(value, ',', False)}"
    return _joined(value, ",", explode)


def _joined(value: Any, delimiter: str, explode: bool) -> str:
    """A value for a path: each part is encoded, the delimiters are not."""
    if isinstance(value, Mapping):
        inner = "=" if explode else ","
        return delimiter.join(f"{quote(str(k), safe='')}{inner}{quote(_scalar(v), safe='')}" for k, v in value.items())
    values = value if isinstance(value, list) else [value]
    return delimiter.join(quote(_scalar(one), safe="") for one in values)


def _simple(value: Any, how: JsonObject) -> str:
    if "content" in how:
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        inner = "=" if how.get("explode") else ","
        return ",".join(f"{key}{inner}{_scalar(one)}" for key, one in value.items())
    return ",".join(_scalar(one) for one in value) if isinstance(value, list) else _scalar(value)


def _query(name: str, value: Any, how: JsonObject) -> list[tuple[str, str]]:
    style = str(how.get("style", "form"))
    explode = how.get("explode", style == "form")
    if "content" in how:
        return [(name, json.dumps(value, ensure_ascii=False))]
    if style == "deepObject" and isinstance(value, Mapping):
        return [(f"{name}[{key}]", _scalar(one)) for key, one in value.items()]
    delimiter = _DELIMITERS.get(style, ",")
    if isinstance(value, Mapping):
        if explode:
            return [(str(key), _scalar(one)) for key, one in value.items()]
        return [(name, delimiter.join(f"{key}{delimiter}{_scalar(one)}" for key, one in value.items()))]
    if isinstance(value, list):
        return [(name, _scalar(one)) for one in value] if explode else [(name, delimiter.join(map(_scalar, value)))]
    return [(name, _scalar(value))]


def _body(how: JsonObject, values: list[tuple[str, Any, JsonObject]]) -> tuple[str, bytes | None]:
    """The content type and the bytes of the body; neither if no argument belongs to it."""
    if not values:
        return "", None
    kind = str(how.get("type") or "application/json")
    plain = kind.partition(";")[0].strip()
    content = values[0][1] if how.get("whole") else {name: value for name, value, _ in values}
    if plain == "application/x-www-form-urlencoded" and isinstance(content, Mapping):
        return kind, urlencode(_fields(content)).encode()
    if plain == "multipart/form-data" and isinstance(content, Mapping):
        return _multipart(content)
    if isinstance(content, str) and not (plain.endswith("json") or "*" in plain):
        return kind, content.encode("utf-8", "replace")
    text = json.dumps(content, ensure_ascii=False).encode("utf-8", "replace")
    return "application/json" if "*" in kind else kind, text


def _fields(content: JsonObject) -> list[tuple[str, str]]:
    """The fields of a form; a list is one field for each of its values."""
    several = ((name, value if isinstance(value, list) else [value]) for name, value in content.items())
    return [(str(name), _scalar(one)) for name, values in several for one in values]


def _multipart(fields: JsonObject) -> tuple[str, bytes]:
    parts = _fields(fields)
    boundary = hashlib.sha256(repr(parts).encode("utf-8", "replace")).hexdigest()[:32]
    lines = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{quote(name, safe=" []")}"\r\n\r\n{text}\r\n'
        for name, text in parts
    ]
    body = "".join([*lines, f"--{boundary}--\r\n"]).encode("utf-8", "replace")
    return f"multipart/form-data; boundary={boundary}", body


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)
