"""Schemas of a description written out without references, as deep as a budget of characters allows.

What is deeper, and what refers to itself, ends as a schema that says only type and description, which JSON Schema reads as
"any such value". Knows no operation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from toolgen.catalog.loaders.common import shortened
from toolgen.catalog.loaders.discriminators import property_of, values_for, with_values
from toolgen.catalog.loaders.references import MAX_CHAIN, References, Target
from toolgen.catalog.merging import ANNOTATIONS, join_schemas
from toolgen.catalog.normalization import normalize_value_schema, require_declared
from toolgen.catalog.schema import Schema, admit_null
from toolgen.foreign.data import Note

MAX_HOPS = 6  # references that are followed inside each other when a schema is written out
MAX_TEXT = 600  # characters of the description of one property
MAX_CHOICES = 300  # values of an enumeration

_LEFT_OUT = frozenset({"xml", "discriminator", "externalDocs", "example", "examples", "$id", "$schema", "$anchor",
                       "$comment", "$defs", "definitions", "deprecated", "writeOnly", "collectionFormat",
                       "nullable"})  # fmt: skip
_INNER = frozenset({"items", "additionalProperties", "not", "contains", "propertyNames", "if", "then", "else",
                    "unevaluatedItems", "unevaluatedProperties"})  # fmt: skip
_INNER_LISTS = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
_INNER_MAPS = frozenset({"properties", "patternProperties", "dependentSchemas"})
_IN_PLACE = frozenset({"not", "if", "then", "else"})  # of _INNER: they hold at the place of the object itself
_NESTING = _INNER | _INNER_LISTS | _INNER_MAPS

LEVELS_CUT = "a schema is cut where objects inside it are too deep or too long; anything is allowed there"
TEXTS_CUT = "a schema is so long that the descriptions of its properties were left out"
NAMES_CUT = "the schema of an answer is so long that the names inside it were left out; anything is allowed there"
TEXT_CUT = f"a description inside a schema has more than {MAX_TEXT} characters and was cut"
CHOICES_CUT = f"an enumeration of more than {MAX_CHOICES} values was left out; anything is allowed there"


@dataclass(frozen=True)
class Written:
    """A schema without references, about how many characters of JSON it takes, and in one line each what was cut."""

    schema: Any
    size: int
    cuts: frozenset[str] = frozenset()


@dataclass(frozen=True)
class _Part:
    """One of the schemas that all hold at the same place, without `$ref` and `allOf`. `key` names what a reference led to."""

    schema: Schema
    base: str
    key: tuple[str, str] | None


class _Way(NamedTuple):
    """How a schema is written: `hops` references inside each other are left, `bare` leaves annotations out, `thin` those
    inside what the last hop leads to, `request` says who sends it. Up to `free` combinations inside each other, references
    cost nothing: they stand at the level of the arguments. `hidden` are names that this object may not require, and one
    that is not `alone` is a branch of another, which may declare what it requires."""

    hops: int
    bare: bool
    request: bool
    free: int = 0
    thin: bool = False
    hidden: frozenset[str] = frozenset()
    alone: bool = True

    def inside(self) -> _Way:
        """The way of a schema of a property or item."""
        bare = self.bare or (self.thin and self.hops == 0)
        if self.free or self.hidden or not self.alone or bare != self.bare:
            return self._replace(bare=bare, free=0, hidden=frozenset(), alone=True)
        return self


class SchemaWriter:
    """Writes schemas of one document out without references. Results are shared between tools: treat them as constants.

    What stands at one place (a schema, what its `$ref` leads to, the parts of its `allOf`) is put together before anything
    is cut, and all or nothing of it is written: an object with half of its names would forbid the others.
    """

    def __init__(self, references: References, note: Note) -> None:
        self._references, self._note = references, note
        self._normal: dict[tuple[str, str], Schema] = {}
        self._whole: dict[tuple[tuple[str, str], _Way], Written] = {}
        self._written: dict[tuple[tuple[str, str], _Way], Written] = {}
        self._fitted: dict[tuple[str, str, int, bool], Written] = {}
        self._flags: dict[tuple[str, str, str], bool] = {}

    def fit(self, schema: Any, limit: int, base: str = "", *, name: str = "value") -> Written:
        """The schema of what a request gives as `name`, as deep as it stays below `limit` characters: first fewer levels,
        then the deepest without annotations, then all without. The flattest form is taken even if it is larger. What is cut
        is noted. Properties that are `readOnly` are left out.
        """
        return self._noted(self._cached_fit(schema, limit, base, True, name))

    def fit_answer(self, schema: Any, limit: int, base: str = "") -> Written:
        """The same for an answer, without the properties that are `writeOnly`; one that is too large is an outline: type,
        description, enumeration and required names."""
        written = self._cached_fit(schema, limit, base, False, "value")
        if written.size > limit:
            parts, _ = self._parts(self._normalize(schema), base)
            written = Written(self._outline(parts, _Way(0, False, request=False)), limit, frozenset({NAMES_CUT}))
        return self._noted(written)

    def _noted(self, written: Written) -> Written:
        for line in written.cuts:
            self._note(line)
        return written

    def _cached_fit(self, schema: Any, limit: int, base: str, request: bool, name: str) -> Written:
        if not (isinstance(schema, Mapping) and schema.keys() == {"$ref"}):
            return self._fit(self._normalize(schema, name), limit, base, request)
        target = self._references.follow(schema, base)  # what many tools share is worked out once
        key = (target.base, target.pointer, limit, request)
        if key not in self._fitted:
            self._fitted[key] = self._fit(self._normalize(target.value, _name_at(target)), limit, target.base, request)
        return self._fitted[key]

    def _fit(self, normal: Schema, limit: int, base: str, request: bool) -> Written:
        for bare, most in ((False, MAX_HOPS), (True, 1)):
            best, reached = self._write(normal, base, _Way(0, bare, request, free=2)), 0
            for hops in range(1, most + 1):
                if best.size > limit or LEVELS_CUT not in best.cuts:
                    break
                deeper = self._write(normal, base, _Way(hops, bare, request, free=2))
                if deeper.size > limit:
                    break
                best, reached = deeper, hops
            if best.size <= limit:
                break
        if not bare and LEVELS_CUT in best.cuts and reached < MAX_HOPS:
            thin = self._write(normal, base, _Way(reached + 1, False, request, free=2, thin=True))
            if thin.size <= limit:  # texts are left out before names
                return replace(thin, cuts=thin.cuts | {TEXTS_CUT})
        return replace(best, cuts=best.cuts | {TEXTS_CUT}) if bare else best

    def _normalize(self, schema: Any, name: str = "value") -> Schema:
        return normalize_value_schema(schema, on_note=self._note, is_part=True, name=name) if schema is not None else {}

    def _normal_of(self, target: Target) -> Schema:
        """What a reference leads to, in normal form."""
        place = (target.base, target.pointer)
        if place not in self._normal:
            self._normal[place] = self._normalize(target.value, _name_at(target))
        return self._normal[place]

    def _parts(self, schema: Schema, base: str) -> tuple[list[_Part], bool]:
        """All schemas that hold at the place of one in normal form, each once, and whether a reference led to some."""
        parts: list[_Part] = []
        seen: set[tuple[str, str]] = set()
        self._add_parts(_Part(schema, base, None), parts, seen)
        return parts, bool(seen)

    def _add_parts(self, node: _Part, parts: list[_Part], seen: set[tuple[str, str]]) -> None:
        schema = node.schema
        if not _is_composed(schema):
            parts.append(node)
            return
        if "$ref" in schema:
            target = self._references.look_up(schema["$ref"], node.base)
            place = (target.base, target.pointer)
            if place not in seen:
                seen.add(place)
                self._add_parts(_Part(self._normal_of(target), target.base, place), parts, seen)
        for inner in schema.get("allOf", ()):
            self._add_parts(_Part(inner, node.base, None), parts, seen)
        if rest := {key: value for key, value in schema.items() if key not in ("$ref", "allOf", "nullable")}:
            parts.append(_Part(rest, node.base, node.key))

    def _write(self, schema: Schema, base: str, way: _Way) -> Written:
        """One schema in normal form, with what it refers to in place. What many schemas refer to is written once."""
        if schema.keys() != {"$ref"}:
            return self._new(schema, base, way)
        target = self._references.look_up(schema["$ref"], base)
        key = ((target.base, target.pointer), way)
        if key not in self._whole:
            self._whole[key] = self._new(schema, base, way)
        return self._whole[key]

    def _new(self, schema: Schema, base: str, way: _Way) -> Written:
        written = self._put_together(schema, base, way)
        return replace(written, schema=admit_null(written.schema)) if self._is_nullable(schema, base) else written

    def _is_nullable(self, schema: Schema, base: str) -> bool:
        """Whether `nullable` is left beside other schemas of the same place, or where a `$ref` leads to."""
        for _ in range(MAX_CHAIN):
            if schema.get("nullable") is True or "$ref" not in schema or "allOf" in schema:
                return schema.get("nullable") is True
            target = self._references.look_up(schema["$ref"], base)
            schema, base = self._normal_of(target), target.base
        return False

    def _put_together(self, schema: Schema, base: str, way: _Way) -> Written:
        parts, referred = self._parts(schema, base) if _is_composed(schema) else ([_Part(schema, base, None)], False)
        hidden = way.hidden.union(*(self._hidden(part, way.request) for part in parts))
        if hidden != way.hidden:
            way = way._replace(hidden=hidden)
        if referred and not way.free and not all(self._is_flat(part) for part in parts):
            if way.hops == 0:
                outline = self._outline(parts, way)
                return Written(outline, 2 + _length(outline), frozenset({LEVELS_CUT}))
            way = way._replace(hops=way.hops - 1)
        written = [self._write_part(part, way) for part in parts]
        if len(written) == 1:
            return (
                replace(written[0], schema=require_declared(written[0].schema, self._note)) if way.alone else written[0]
            )
        merged = join_schemas([one.schema for one in written])
        merged = require_declared(merged, self._note) if way.alone else merged
        return Written(merged, sum(one.size for one in written) + 16, frozenset().union(*(one.cuts for one in written)))

    def _is_flat(self, part: _Part, depth: int = 0) -> bool:
        """Whether a schema has no others inside, but for the flat items of an array: there is nothing in it to cut."""
        nested = part.schema.keys() & _NESTING
        if not nested or nested != {"items"}:
            return not nested
        items = part.schema["items"]
        if depth > 2 or not isinstance(items, dict):
            return False
        return all(self._is_flat(one, depth + 1) for one in self._parts(items, part.base)[0])

    def _write_part(self, part: _Part, way: _Way) -> Written:
        if part.key is None:
            return self._new_part(part, way)
        key = (part.key, way)
        if key not in self._written:
            self._written[key] = self._new_part(part, way)
        return self._written[key]

    def _new_part(self, part: _Part, way: _Way) -> Written:
        result: Schema = {}
        size, cuts = 2, frozenset[str]()
        for key, value in part.schema.items():
            if key in _LEFT_OUT or key.startswith("x-") or (way.bare and key in ANNOTATIONS):
                continue
            if key == "enum" and len(value) > MAX_CHOICES:  # shortened it would forbid what the service allows
                cuts |= {CHOICES_CUT}
                continue
            if key == "required":
                value = [name for name in value if name not in way.hidden]
                if not value:
                    continue
            written = self._write_keyword(key, value, part.base, way)
            if key in ("oneOf", "anyOf") and (told := self._told_apart(part, key, written.schema)):
                key, written = "anyOf", replace(written, schema=told)
            result[key] = written.schema
            size += len(key) + 6 + written.size
            cuts |= written.cuts
        return Written(result, size, cuts)

    def _write_keyword(self, key: str, value: Any, base: str, way: _Way) -> Written:
        if key in _INNER and isinstance(value, dict):
            inside = way._replace(free=0, alone=False) if key in _IN_PLACE else way.inside()
            if key == "items" and way.free:  # the items of a body that is an array are what is sent
                inside = inside._replace(free=way.free - 1)
            return self._write(value, base, inside)
        if key in _INNER_LISTS:
            inside = way.inside() if key == "prefixItems" else way._replace(free=max(way.free - 1, 0), alone=False)
            several = [self._write(one, base, inside) for one in value]
            cuts = frozenset[str]().union(*(one.cuts for one in several))
            return Written([one.schema for one in several], sum(one.size + 2 for one in several), cuts)
        if key in _INNER_MAPS:
            shown = value.items() if key != "properties" else ((n, v) for n, v in value.items() if n not in way.hidden)
            inside = way.inside()
            members = {name: self._write(one, base, inside) for name, one in shown}
            size = sum(len(name) + 6 + one.size for name, one in members.items())
            cuts = frozenset[str]().union(*(one.cuts for one in members.values()))
            return Written({name: one.schema for name, one in members.items()}, size, cuts)
        if key == "description" and len(value) > MAX_TEXT:
            return Written(shortened(value, MAX_TEXT), MAX_TEXT + 6, frozenset({TEXT_CUT}))
        return Written(value, _length(value))

    def _told_apart(self, part: _Part, key: str, written: list[Any]) -> list[Any] | None:
        """The alternatives of a part as they are written, each with its own value of the discriminator that the part has, or
        that all alternatives of a `oneOf` have from a parent; None without one."""
        own = part.schema.get("discriminator")
        told = list(written)
        for place, one in enumerate(part.schema[key]):
            if "$ref" not in one:  # it has no name that a discriminator could hold
                continue
            found = own if property_of(own) or key == "anyOf" else self._inherited(one, part.base)
            if not property_of(found):
                return None
            told[place] = with_values(written[place], property_of(found), values_for(found, one["$ref"]))
        return told if property_of(own) or told != written else None

    def _inherited(self, schema: Schema, base: str) -> Any:
        """The discriminator of a schema's parents. Its own would tell its children apart."""
        target = self._references.look_up(schema["$ref"], base)
        parents = (
            part for part in self._parts(schema, base)[0] if part.key not in (None, (target.base, target.pointer))
        )
        return next(filter(property_of, (part.schema.get("discriminator") for part in parents)), None)

    def _hidden(self, part: _Part, request: bool) -> frozenset[str]:
        """The names that the sender of an object does not give."""
        properties = part.schema.get("properties")
        if not properties:
            return frozenset()
        flag = "readOnly" if request else "writeOnly"
        return frozenset(name for name, inner in properties.items() if self._has_flag(inner, part.base, flag))

    def _has_flag(self, schema: Schema, base: str, flag: str) -> bool:
        if schema.get(flag) is True or not _is_composed(schema):
            return schema.get(flag) is True
        if "allOf" in schema:
            return any(part.schema.get(flag) is True for part in self._parts(schema, base)[0])
        key = (schema["$ref"], base, flag)
        if key not in self._flags:
            self._flags[key] = any(part.schema.get(flag) is True for part in self._parts(schema, base)[0])
        return self._flags[key]

    def _outline(self, parts: Sequence[_Part], way: _Way) -> Schema:
        kept = ("type", "enum", "const") if way.bare else ("type", "enum", "const", "format", "description")
        outline: Schema = {}
        required: dict[str, None] = {}
        for part in parts:
            outline |= {key: part.schema[key] for key in kept if key in part.schema}
            if "properties" in part.schema:
                outline.setdefault("type", "object")
            required |= dict.fromkeys(name for name in part.schema.get("required", ()) if name not in way.hidden)
        if "description" in outline:
            outline["description"] = shortened(outline["description"], MAX_TEXT)
        if len(outline.get("enum", ())) > MAX_CHOICES:
            del outline["enum"]
        return outline | ({"required": list(required)} if required else {})


def _name_at(target: Target) -> str:
    """What the place that a reference leads to is called."""
    return target.pointer.rpartition("/")[2] or "value"


def _is_composed(schema: Schema) -> bool:
    return "$ref" in schema or "allOf" in schema


def _length(value: Any) -> int:
    """About how many characters a value takes as JSON."""
    if isinstance(value, str):
        return len(value) + 2
    if isinstance(value, Mapping):
        return sum(len(str(key)) + 6 + _length(inner) for key, inner in value.items()) + 2
    if isinstance(value, (list, tuple)):
        return sum(_length(inner) + 2 for inner in value) + 2
    return len(str(value))
