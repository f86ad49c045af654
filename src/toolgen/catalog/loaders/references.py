"""`$ref` in a description: looked up by JSON pointer (RFC 6901), and schemas written out without any.

A schema is written out as deep as a budget of characters allows; what is deeper, and what refers to itself, ends as a
schema that says only type and description, which JSON Schema reads as "any such value". Knows no operation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin, urlsplit
from urllib.request import url2pathname

from toolgen.catalog.loaders.common import shortened
from toolgen.catalog.loaders.documents import MAX_DOCUMENT_BYTES, parse_document
from toolgen.catalog.loaders.web import download, is_url
from toolgen.catalog.schema import Schema, normalize_value_schema
from toolgen.errors import InputError

MAX_HOPS = 6  # references that are followed inside each other when a schema is written out
MAX_CHAIN = 20  # references that lead straight to references
MAX_FOREIGN_DOCUMENTS = 50
MAX_TEXT = 600  # characters of the description of one property
MAX_CHOICES = 300  # values of an enumeration

_LEFT_OUT = frozenset({"xml", "discriminator", "externalDocs", "example", "examples", "$id", "$schema", "$anchor",
                       "$comment", "$defs", "definitions", "deprecated", "writeOnly"})  # fmt: skip
_ANNOTATIONS = frozenset({"description", "title", "default", "readOnly", "format"})
_INNER = frozenset({"items", "additionalProperties", "not", "contains", "propertyNames", "if", "then", "else",
                    "unevaluatedItems", "unevaluatedProperties"})  # fmt: skip
_INNER_LISTS = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
_INNER_MAPS = frozenset({"properties", "patternProperties", "dependentSchemas"})
_MERGEABLE = frozenset({"type", "properties", "required", "description", "title", "readOnly", "default"})

Note = Callable[[str], None]


@dataclass(frozen=True)
class Target:
    """What a reference leads to. `base` and `pointer` name its place; None for `value` if there is nothing."""

    value: Any
    base: str
    pointer: str


@dataclass(frozen=True)
class Written:
    """A schema without references, and about how many characters of JSON it takes."""

    schema: Any
    size: int


class References:
    """The references of one document. `base` is the address that relative ones start from.

    Those to other documents are refused, unless `root` is given: then files inside that folder and documents at public
    addresses are read. What leads nowhere is told to `note` once.
    """

    def __init__(
        self, document: Any, base: str, note: Note, *, allowed: bool = False, root: Path | None = None
    ) -> None:
        self._documents: dict[str, Any] = {"": document}
        self._base, self._note, self._allowed, self._root = base, note, allowed, root
        self._found: dict[tuple[str, str], Target] = {}

    def follow(self, node: Any, base: str = "") -> Target:
        """A node itself, or what its `$ref` leads to, through references to references."""
        pointer = ""
        for _ in range(MAX_CHAIN):
            if not isinstance(node, Mapping) or not isinstance(node.get("$ref"), str):
                return Target(node, base, pointer)
            found = self.look_up(node["$ref"], base)
            node, base, pointer = found.value, found.base, found.pointer
        self._note("references that lead only to references; anything is allowed there")
        return Target(None, base, pointer)

    def look_up(self, reference: str, base: str = "") -> Target:
        """What a `$ref` names; its value is None if there is nothing."""
        key = (reference, base)
        if key not in self._found:
            self._found[key] = self._resolve(reference, base)
        return self._found[key]

    def _resolve(self, reference: str, base: str) -> Target:
        place, pointer = urldefrag(reference) if not reference.startswith("#") else ("", reference[1:])
        try:
            where = base if not place else self._foreign(place, base)
            return Target(_at(self._documents[where], pointer), where, pointer)
        except InputError as error:
            self._note(str(error))
        except (LookupError, ValueError):
            self._note(f"the reference {reference[:120]!r} leads nowhere; anything is allowed there")
        return Target(None, base, pointer)

    def _foreign(self, place: str, base: str) -> str:
        """The key of another document, which is read if that is allowed."""
        if not self._allowed:
            raise InputError(
                f"the reference to another document {place[:120]!r} is not followed unless that is allowed"
            )
        start = base or self._base
        if not start and not is_url(place):
            raise InputError(f"the reference {place[:120]!r} is relative, but a document in an archive has no address")
        address = urljoin(start, place)
        if address == self._base:
            return ""
        if address not in self._documents:
            if len(self._documents) > MAX_FOREIGN_DOCUMENTS:
                raise InputError(
                    f"more than {MAX_FOREIGN_DOCUMENTS} other documents are referred to; the rest is not read"
                )
            self._documents[address] = None  # not asked again if it cannot be read
            self._documents[address] = parse_document(self._read(address), place[:120])
        return address

    def _read(self, address: str) -> bytes:
        if is_url(address):
            return download(address, MAX_DOCUMENT_BYTES, trusted=False).data
        if self._root is None or not address.startswith("file:"):
            raise InputError(
                f"the reference to {address[:120]!r} is not followed: only files beside the description are read"
            )
        path = Path(url2pathname(urlsplit(address).path)).resolve()
        if not path.is_relative_to(self._root.resolve()) or not path.is_file():
            raise InputError(
                f"the reference to the file {path.name!r} is not followed: it is not in the description's folder"
            )
        if path.stat().st_size > MAX_DOCUMENT_BYTES:
            raise InputError(f"the file {path.name!r} that is referred to is too large")
        return path.read_bytes()


def _at(document: Any, pointer: str) -> Any:
    """The value at a JSON pointer; LookupError if there is none."""
    value = document
    for part in unquote(pointer).split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(value, (list, Mapping)):
            raise LookupError(pointer)
        value = value[int(key)] if isinstance(value, list) else value[key]
    if pointer and not pointer.startswith("/"):
        raise LookupError(pointer)
    return value


class SchemaWriter:
    """Writes schemas of one document out without references. Results are shared between tools: treat them as constants."""

    def __init__(self, references: References, note: Note) -> None:
        self._references, self._note = references, note
        self._normal: dict[tuple[str, str], Schema] = {}
        self._written: dict[tuple[str, str, int, bool], Written] = {}
        self._fitted: dict[tuple[str, str, int], Written] = {}

    def fit(self, schema: Any, limit: int, base: str = "") -> Written:
        """The schema as deep as it stays below `limit` characters: first fewer levels, then without annotations. The
        flattest form is taken even if it is larger."""
        if isinstance(schema, Mapping) and schema.keys() == {"$ref"}:  # what many tools share is worked out once
            target = self._references.follow(schema, base)
            key = (target.base, target.pointer, limit)
            if key not in self._fitted:
                self._fitted[key] = self._fit(self._normalize(target.value), limit, target.base)
            return self._fitted[key]
        return self._fit(self._normalize(schema), limit, base)

    def _fit(self, normal: Schema, limit: int, base: str) -> Written:
        written = Written({}, 2)
        for bare, most in ((False, MAX_HOPS), (True, 1)):
            for hops in range(most, -1, -1):
                written = self._write(normal, base, hops, bare)
                if written.size <= limit:
                    return written
        return written

    def outline(self, schema: Any, base: str = "") -> Schema:
        """Only type and description."""
        return self._outline(self._normalize(self._references.follow(schema, base).value))

    def _normalize(self, schema: Any) -> Schema:
        return normalize_value_schema(schema, on_note=self._note) if schema is not None else {}

    def _write(self, schema: Schema, base: str, hops: int, bare: bool) -> Written:
        """One schema in normal form, with what it refers to in place."""
        if "$ref" in schema:
            return self._write_reference(schema, base, hops, bare)
        result: Schema = {}
        size = 2
        for key, value in schema.items():
            if key in _LEFT_OUT or key.startswith("x-") or (bare and key in _ANNOTATIONS):
                continue
            if key == "enum" and len(value) > MAX_CHOICES:  # shortened it would forbid what the service allows
                continue
            new, more = self._write_keyword(key, value, base, hops, bare)
            result[key] = new
            size += len(key) + 6 + more
        merged = _merge_all_of(result)
        return Written(merged, size)

    def _write_keyword(self, key: str, value: Any, base: str, hops: int, bare: bool) -> tuple[Any, int]:
        if key in _INNER and isinstance(value, dict):
            written = self._write(value, base, hops, bare)
            return written.schema, written.size
        if key in _INNER_LISTS:
            several = [self._write(one, base, hops, bare) for one in value]
            return [one.schema for one in several], sum(one.size + 2 for one in several)
        if key in _INNER_MAPS:
            members = {name: self._write(one, base, hops, bare) for name, one in value.items()}
            return (
                {name: one.schema for name, one in members.items()},
                sum(len(name) + 6 + one.size for name, one in members.items()),
            )
        if key == "description":
            value = shortened(value, MAX_TEXT)
        return value, _length(value)

    def _write_reference(self, schema: Schema, base: str, hops: int, bare: bool) -> Written:
        """What is referred to, with what stands beside the reference (OpenAPI 3.1 allows that) put over it."""
        target = self._references.look_up(schema["$ref"], base)
        key = (target.base, target.pointer)
        found = self._written.get((*key, hops, bare))
        if found is None:
            if key not in self._normal:
                self._normal[key] = self._normalize(target.value)
            normal = self._normal[key]
            if hops == 0:
                outline = {} if "$ref" in normal else self._outline(normal, bare)
                found = Written(outline, 2 + _length(outline))
            else:
                found = self._write(normal, target.base, hops - 1, bare)
            self._written[(*key, hops, bare)] = found
        beside = {k: v for k, v in schema.items() if k != "$ref"}
        if not beside:
            return found
        over = self._write(beside, base, hops, bare)
        if over.schema.keys() <= _ANNOTATIONS:
            return Written({**found.schema, **over.schema}, found.size + over.size)
        return Written({"allOf": [found.schema, over.schema]}, found.size + over.size + 16)

    def _outline(self, normal: Schema, bare: bool = False) -> Schema:
        kept = ("type",) if bare else ("type", "format", "description")
        outline = {key: normal[key] for key in kept if key in normal}
        if "type" not in outline and "properties" in normal:
            outline["type"] = "object"
        if "description" in outline:
            outline["description"] = shortened(outline["description"], MAX_TEXT)
        if len(choices := normal.get("enum", ())) in range(1, 25):
            outline["enum"] = choices
        return outline


def _merge_all_of(schema: Schema) -> Schema:
    """`allOf` of plain objects as one object, and of one schema as that schema: how OpenAPI writes inheritance, and how
    3.0 puts a description beside a reference."""
    parts = schema.get("allOf")
    if not parts:
        return schema
    rest = {key: value for key, value in schema.items() if key != "allOf"}
    if len(parts) == 1 and rest.keys() <= _ANNOTATIONS:
        return {**parts[0], **rest}
    every = [*parts, rest]
    if any(not part.keys() <= _MERGEABLE or part.get("type", "object") != "object" for part in every):
        return schema
    properties: Schema = {}
    required: list[str] = []
    for part in every:
        for name, inner in part.get("properties", {}).items():
            old = properties.get(name)
            properties[name] = inner if old is None or _same(old, inner) else {"allOf": [old, inner]}
        required += part.get("required", ())
    merged = {"type": "object", "properties": properties} if properties else {"type": "object"}
    texts = {key: part[key] for part in every for key in ("description", "title", "readOnly") if key in part}
    return merged | texts | ({"required": list(dict.fromkeys(required))} if required else {})


def _same(one: Schema, other: Schema) -> bool:
    """Whether two schemas are equal, as far as that is cheap: written out, they share parts and can be immense."""
    return one is other or (not any(isinstance(value, (dict, list)) for value in one.values()) and one == other)


def _length(value: Any) -> int:
    """About how many characters a value takes as JSON."""
    if isinstance(value, str):
        return len(value) + 2
    if isinstance(value, Mapping):
        return sum(len(str(key)) + 6 + _length(inner) for key, inner in value.items()) + 2
    if isinstance(value, (list, tuple)):
        return sum(_length(inner) + 2 for inner in value) + 2
    return len(str(value))
