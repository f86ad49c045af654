"""Several schemas as one: those that all hold (`join_schemas`), and those of which each admits something (`merge_schemas`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from toolgen.catalog.schema import Schema
from toolgen.catalog.tool import canonical_json

ANNOTATIONS = frozenset({"description", "title", "default", "readOnly", "format"})
_MERGEABLE = frozenset({"type", "properties", "required", "description", "title", "readOnly", "default",
                        "additionalProperties", "unevaluatedProperties"})  # fmt: skip


def join_schemas(parts: Sequence[Schema]) -> Schema:
    """Schemas that all hold as one, where that can be said without `allOf`: plain objects (how OpenAPI writes inheritance),
    and one schema with texts beside it (how 3.0 describes a reference)."""
    texts: Schema = {}
    main: list[Schema] = []
    for part in parts:
        if part.keys() <= ANNOTATIONS:
            texts |= part
        else:
            main.append(part)
    if len(main) < 2:
        return {**(main[0] if main else {}), **texts}
    if any(not _is_mergeable(part) for part in main):
        return {"allOf": main, **texts}
    properties: Schema = {}
    required: list[str] = []
    for part in main:
        for name, inner in part.get("properties", {}).items():
            old = properties.get(name)
            properties[name] = inner if old is None or _same(old, inner) else {"allOf": [old, inner]}
        required += part.get("required", ())
    merged = {"type": "object", "properties": properties} if properties else {"type": "object"}
    found = {key: part[key] for part in main for key in ("description", "title", "readOnly") if key in part}
    more: Schema = {"additionalProperties": True} if any("additionalProperties" in part for part in main) else {}
    if any(part.get("unevaluatedProperties") is False for part in main):
        more = {"additionalProperties": False}
    return merged | found | texts | more | ({"required": list(dict.fromkeys(required))} if required else {})


def _is_mergeable(part: Schema) -> bool:
    """Whether a schema is a plain object that forbids no further members; `unevaluatedProperties` knows those of all parts."""
    types, more = part.get("type", "object"), part.get("additionalProperties", True)
    plain = types == "object" or (isinstance(types, list) and set(types) == {"object", "null"})
    takes_any = more is True or (isinstance(more, dict) and more.keys() <= ANNOTATIONS)
    return plain and takes_any and part.keys() <= _MERGEABLE


def _same(one: Schema, other: Schema) -> bool:
    """Whether two schemas are equal, as far as that is cheap: written out, they share parts and can be immense."""
    return one is other or (not any(isinstance(value, (dict, list)) for value in one.values()) and one == other)


def merge_schemas(schemas: Sequence[Mapping[str, Any]]) -> Schema:
    """One schema that admits what each of `schemas` admits (at least one is needed).

    Objects: union of the properties, intersection of the required ones; arrays: merged items; enumerations: union, or
    none if one schema has none; different types: `anyOf`. The longest description is kept, and the first default. One
    exception to "what each admits": a member that only some objects declare keeps its declared type in all.
    """
    distinct = list({canonical_json(schema): schema for schema in schemas}.values())
    if len(distinct) == 1:
        return dict(distinct[0])
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for schema in distinct:
        for alternative in schema.get("anyOf") or [schema]:
            groups.setdefault(canonical_json(alternative.get("type")), []).append(alternative)
    if "null" in groups:  # canonical JSON of an absent type: one of the schemas admits anything
        return _annotations(distinct)
    if {'"integer"', '"number"'} <= set(groups):
        groups['"number"'] += groups.pop('"integer"')
    merged = [_merge_same_type(group) for group in groups.values()]
    if len(merged) == 1:
        return merged[0] | _annotations(distinct)
    alternatives = [{key: value for key, value in one.items() if key != "description"} for one in merged]
    return {"anyOf": alternatives} | _annotations(distinct)


def _merge_same_type(schemas: Sequence[Mapping[str, Any]]) -> Schema:
    if len(schemas) == 1:
        return dict(schemas[0])
    shared = {key: value for key, value in schemas[0].items() if all(other.get(key, ...) == value for other in schemas)}
    merged: Schema = {"type": schemas[0]["type"]} | _annotations(schemas) | shared
    if all("enum" in schema for schema in schemas):
        merged["enum"] = list({canonical_json(v): v for schema in schemas for v in schema["enum"]}.values())
    if any("properties" in schema for schema in schemas):
        merged |= _merge_properties(schemas)
    if all("items" in schema for schema in schemas):
        merged["items"] = merge_schemas([schema["items"] for schema in schemas])
    return merged


def _merge_properties(schemas: Sequence[Mapping[str, Any]]) -> Schema:
    names = dict.fromkeys(name for schema in schemas for name in schema.get("properties", {}))
    properties = {
        name: merge_schemas([s["properties"][name] for s in schemas if name in s.get("properties", {})])
        for name in names
    }
    required = [name for name in names if all(name in schema.get("required", ()) for schema in schemas)]
    return {"properties": properties} | ({"required": required} if required else {})


def _annotations(schemas: Iterable[Mapping[str, Any]]) -> Schema:
    """The longest description and the first default: what informs but does not constrain."""
    schemas = list(schemas)
    result: Schema = {}
    if descriptions := [schema["description"] for schema in schemas if schema.get("description")]:
        result["description"] = max(descriptions, key=len)
    if defaults := [schema["default"] for schema in schemas if "default" in schema]:
        result["default"] = defaults[0]
    return result
