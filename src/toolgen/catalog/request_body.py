"""The body of an HTTP request, by its media type: JSON, JSON lines, YAML, forms and texts.

Never JSON under another type: what cannot be written as the media type asks is an InputError that names it. Forms follow
the Encoding Object (OpenAPI 3.1.1, section 4.8.15) and RFC 7578. Knows no tool and no address.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from toolgen.errors import InputError

JsonObject = Mapping[str, Any]

URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"
DELIMITERS = {"form": ",", "simple": ",", "spaceDelimited": " ", "tabDelimited": "\t", "pipeDelimited": "|"}

_JSON_LINES = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonl",
                         "application/jsonlines", "application/x-jsonlines", "application/json-lines",
                         "application/x-json-stream", "application/stream+json"})  # fmt: skip
_YAML = frozenset({"application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml", "text/vnd.yaml"})


def media_type(kind: str) -> str:
    """A media type in small letters and without its parameters."""
    return kind.partition(";")[0].strip().lower()


def is_json(kind: str) -> bool:
    """Whether a media type is, or may be, one JSON value."""
    plain = media_type(kind)
    if plain in _JSON_LINES:
        return False
    return plain in ("application/json", "*/*", "text/json", "application/*") or plain.endswith("+json")


def is_form(kind: str) -> bool:
    """Whether a media type is one of the two forms of HTML."""
    return media_type(kind) in (URLENCODED, MULTIPART)


def takes_values(kind: str) -> bool:
    """Whether objects and lists can be written as this media type; the others take texts only."""
    plain = media_type(kind)
    return is_json(kind) or is_form(kind) or plain in _JSON_LINES or plain == "application/json-seq" or _is_yaml(plain)


def best_type(kinds: Sequence[str]) -> str:
    """The media type that arguments fit into best: JSON, then forms, then others that can be written, then the first."""
    for wanted in (lambda kind: media_type(kind) == "application/json", is_json, is_form, takes_values):
        for kind in kinds:
            if wanted(kind):
                return kind
    return kinds[0] if kinds else ""


def is_undefined(value: Any) -> bool:
    """Whether a value is not sent at all (RFC 6570, 2.3): null, an empty list and an empty object."""
    return value is None or (isinstance(value, (list, Mapping)) and not value)


def scalar_text(value: Any) -> str:
    """One value as text; objects and lists, which no style defines inside a value, as JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def write_body(how: JsonObject, values: Sequence[tuple[str, Any, JsonObject]]) -> tuple[str, bytes | None]:
    """The content type and the bytes of a body; neither if no argument belongs to it.

    `how` is the endpoint's `body`: its media type, whether one argument is the `whole` of it, and the `encoding` of the
    fields of a form. `values` are names, values and schemas; the last say which fields of a form are files.
    """
    if not values:
        return "", None
    kind = str(how.get("type") or "application/json")
    content = values[0][1] if how.get("whole") else {name: value for name, value, _ in values}
    encoding: JsonObject = how.get("encoding") or {}
    if is_form(kind) and isinstance(content, Mapping):
        if media_type(kind) == MULTIPART:
            whole = values[0][2].get("properties") if how.get("whole") else None
            return _multipart(content, encoding, whole or {name: schema for name, _, schema in values})
        pairs = [pair for name, value in content.items() for pair in _fields(name, value, encoding.get(name) or {})]
        return kind, urlencode(pairs).encode()
    return "application/json" if "*" in kind else kind, write_value(content, kind)


def write_value(value: Any, kind: str) -> bytes:
    """A whole value as a media type asks for it; InputError if that takes more than is known here."""
    plain = media_type(kind)
    if is_json(kind):
        return _json(value)
    if isinstance(value, str):  # the finished text: a document of XML, lines of JSON
        return value.encode("utf-8", "replace")
    if plain in _JSON_LINES:
        return b"".join(_json(one) + b"\n" for one in (value if isinstance(value, list) else [value]))
    if plain == "application/json-seq":  # RFC 7464
        return b"".join(b"\x1e" + _json(one) + b"\n" for one in (value if isinstance(value, list) else [value]))
    if _is_yaml(plain):
        import yaml

        return bytes(yaml.safe_dump(value, allow_unicode=True, sort_keys=False, encoding="utf-8"))
    if plain.startswith("text/") and "xml" not in plain and isinstance(value, (int, float)):
        return scalar_text(value).encode()
    raise InputError(f"a body of {plain} is not written from {_described(value)}; give it as a text")


class Styled(NamedTuple):
    """One name of a query or form, the parts of its value, and what stands between them; none of it is encoded."""

    name: str
    parts: list[str]
    delimiter: str = ","


def styled(name: str, value: Any, how: JsonObject) -> list[Styled]:
    """A value as what its style makes of it in a query or form."""
    style = str(how.get("style", "form"))
    explode = how.get("explode", style == "form")
    value = joined_inside(value, how)
    if is_undefined(value):
        return []
    if not isinstance(value, (list, Mapping)):
        return [Styled(name, [scalar_text(value)])]
    if style == "deepObject":
        return [Styled(path, [scalar_text(one)]) for path, one in _deep(name, value)]
    delimiter = DELIMITERS.get(style, ",")
    if isinstance(value, Mapping):
        pairs = [(str(key), scalar_text(one)) for key, one in value.items() if one is not None]
        if explode:
            return [Styled(key, [text]) for key, text in pairs]
        return [Styled(name, [part for pair in pairs for part in pair], delimiter)]
    texts = [scalar_text(one) for one in value if one is not None]
    return [Styled(name, [text]) for text in texts] if explode else [Styled(name, texts, delimiter)]


def joined_inside(value: Any, how: JsonObject) -> Any:
    """A list with the lists inside it as texts, where `inner` says in which styles (Swagger 2.0)."""
    styles = how.get("inner")
    if not styles or not isinstance(value, list):
        return value
    inside = [joined_inside(one, {"inner": styles[1:]}) for one in value]
    delimiter = DELIMITERS.get(str(styles[0]), ",")
    return [delimiter.join(map(scalar_text, one)) if isinstance(one, list) else one for one in inside]


def _deep(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """`address[city]`, `items[0][price]`: the names that servers of `deepObject` take at every depth."""
    if isinstance(value, (list, Mapping)):
        for key, inner in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _deep(f"{path}[{key}]", inner)
    elif value is not None:
        yield path, value


def _fields(name: str, value: Any, how: JsonObject) -> list[tuple[str, str]]:
    """The fields of one property of a form: by its style if one is given, else as its content type says. By default a
    list is one field for each of its values, and an object one of JSON."""
    if "style" in how or "explode" in how:
        return [(one.name, one.delimiter.join(one.parts)) for one in styled(name, value, how)]
    if kind := _content_type(how):
        return [(name, write_value(value, kind).decode("utf-8", "replace"))]
    several = value if isinstance(value, list) else [value]
    return [(name, scalar_text(one)) for one in several if one is not None]


@dataclass(frozen=True)
class _Part:
    """One part of a multipart form."""

    name: str
    data: bytes
    kind: str = ""
    file: bool = False

    def to_bytes(self) -> bytes:
        name = quote(self.name, safe=" []")
        filename = f'; filename="{name}"' if self.file else ""
        kind = f"\r\nContent-Type: {self.kind}" if self.kind else ""
        head = f'Content-Disposition: form-data; name="{name}"{filename}{kind}\r\n\r\n'
        return head.encode("utf-8", "replace") + self.data + b"\r\n"


def _multipart(fields: JsonObject, encoding: JsonObject, schemas: JsonObject) -> tuple[str, bytes]:
    parts = [
        part.to_bytes()
        for name, value in fields.items()
        for part in _parts(str(name), value, encoding.get(name) or {}, _is_file(schemas.get(name)))
    ]
    boundary = hashlib.sha256(b"".join(parts)).hexdigest()[:32]
    start = f"--{boundary}\r\n".encode()
    return f"{MULTIPART}; boundary={boundary}", b"".join(
        start + part for part in parts
    ) + f"--{boundary}--\r\n".encode()


def _parts(name: str, value: Any, how: JsonObject, file: bool) -> list[_Part]:
    """The parts of one property. A list is one part for each value, an object one of JSON; a content type that is given makes
    one part of that type."""
    if "style" in how or "explode" in how:
        return [_Part(key, text.encode("utf-8", "replace")) for key, text in _fields(name, value, how)]
    kind = _content_type(how)
    several = value if isinstance(value, list) else [value]
    if kind and not file:
        return [_Part(name, write_value(value, kind), kind)]
    kind = kind or ("application/octet-stream" if file else "")
    return [
        _Part(name, scalar_text(one).encode("utf-8", "replace"), kind or _default_type(one), file)
        for one in several
        if one is not None
    ]


def _default_type(value: Any) -> str:
    return "application/json" if isinstance(value, (list, Mapping)) else ""


def _content_type(how: JsonObject) -> str:
    """The first of the content types that an encoding allows; none if it leaves it open (`image/*`)."""
    kinds = [kind.strip() for kind in str(how.get("contentType") or "").split(",")]
    return next((kind for kind in kinds if kind and "*" not in kind), "")


def _is_file(schema: Any) -> bool:
    """Whether a field of a form holds bytes: `format: binary`, or 3.1's content that is not encoded as text."""
    if not isinstance(schema, Mapping):
        return False
    if schema.get("format") == "binary":
        return True
    if "contentMediaType" in schema and "contentEncoding" not in schema:
        return schema["contentMediaType"] == "application/octet-stream" or schema.get("type") is None
    return _is_file(schema.get("items"))


def _is_yaml(plain: str) -> bool:
    return plain in _YAML or plain.endswith("+yaml")


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")


def _described(value: Any) -> str:
    return "an object" if isinstance(value, Mapping) else "a list" if isinstance(value, list) else repr(value)[:40]
