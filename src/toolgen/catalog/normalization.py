"""Foreign parameter descriptions to JSON Schema 2020-12.

Foreign means: types in text, as Python, Java and TypeScript write them (`type_texts`), older JSON Schema drafts and OpenAPI
3.0 (`nullable`, `items` as a list, boolean `exclusiveMinimum`). Knows no tool and no file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from toolgen.catalog.merging import join_schemas, merge_schemas
from toolgen.catalog.patterns import is_pattern
from toolgen.catalog.schema import (
    MAX_DEPTH,
    SCHEMA_KEYWORDS,
    SCHEMA_LISTS,
    SCHEMA_MAPS,
    Note,
    Schema,
    admit_null,
    pointed,
    values_of,
)
from toolgen.catalog.secrets import looks_secret
from toolgen.catalog.tool import canonical_json
from toolgen.catalog.type_texts import TypeText, any_of, parse_type
from toolgen.errors import InputError
from toolgen.foreign.data import clean, parse_json

# Keywords whose schemas hold at the place of the object itself, or may be referred to from there.
_IN_PLACE = frozenset(
    {"anyOf", "oneOf", "allOf", "not", "if", "then", "else", "dependentSchemas", "$defs", "definitions"}
)
_ELSEWHERE = frozenset({"allOf", "anyOf", "oneOf", "$ref", "patternProperties"})  # where a name may be declared besides
_COUNTS = frozenset({"minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties",
                     "minContains", "maxContains"})  # fmt: skip
_LIMITS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})
_TEXTS = frozenset({"title", "description", "format", "$ref", "$id", "$schema", "$anchor", "$comment",
                    "contentEncoding", "contentMediaType"})  # fmt: skip
_FLAGS = frozenset({"uniqueItems", "deprecated", "readOnly", "writeOnly"})
_ELSEWHERE_TYPED = frozenset({"$ref", "allOf", "anyOf", "oneOf"})
_NULLABLE = ("nullable", "x-nullable")
# OpenAPI 3.0.3 lets it count beside `type` alone, but those who write it mean it, and their services answer and take null.
_NULL_ADMITTED = "'nullable' stands beside '$ref' or 'allOf' instead of 'type'; null is allowed there"


class _Place(NamedTuple):
    """Where a schema stands: its path for notes, and the name of the value that it describes."""

    path: str
    name: str

    def inside(self, key: str) -> _Place:
        """The place of a schema that a keyword holds."""
        return _Place(f"{self.path}.{key}", self.name)

    def member(self, name: str) -> _Place:
        """The place of a named schema."""
        return _Place(f"{self.path}.{name}", name)

    def __str__(self) -> str:
        return self.path


def normalize_schema(foreign: Any, *, on_note: Note | None = None) -> Schema:
    """The argument schema of a function as JSON Schema 2020-12: always `{"type": "object", "properties": {...}, ...}`.

    What cannot be expressed is left out and told to `on_note` (one line each); nothing is refused.
    """
    note = on_note or (lambda _line: None)
    schema = _normalize(foreign, _Place("arguments", "arguments"), note, 0) if isinstance(foreign, Mapping) else {}
    schema.pop("nullable", None)  # arguments are never null
    if foreign is not None and not isinstance(foreign, Mapping):
        note(f"arguments: expected a schema object, got {type(foreign).__name__}; taken as no parameters")
    if any(values_of(schema, "$ref")):
        anchors = frozenset(anchor for anchor in values_of(schema, "$anchor") if isinstance(anchor, str))
        schema = _without_foreign_references(schema, schema, anchors, note)
    if "allOf" in schema or "$ref" in schema:
        schema = _written_out(schema)
    types = schema.get("type", "object")
    if types != "object" and not (isinstance(types, list) and "object" in types):
        note(f"arguments: type {types!r} instead of 'object'; wrapped as the parameter 'value'")
        definitions: Schema = {key: schema.pop(key) for key in ("$defs", "definitions") if key in schema}
        schema = {"properties": {"value": schema}, "required": ["value"], **definitions}
    properties = _properties_of_branches(schema) | schema.get("properties", {})
    first: Schema = {"type": "object", "properties": properties}
    whole: Schema = _settled(first | schema | first, note)
    _clean_enumeration(whole, _Place("arguments", "arguments"), note)
    return whole


def _without_foreign_references(node: Any, whole: Schema, anchors: frozenset[str], note: Note) -> Any:
    """A schema inside `whole` without the references that lead out of that or nowhere: nobody follows them."""
    if not isinstance(node, dict):
        return node
    kept = dict(node)
    if "$ref" in node and not _is_inside(node["$ref"], whole, anchors):
        note(f"the reference {str(node['$ref'])[:100]!r} leads out of the schema; anything is allowed there")
        del kept["$ref"]
    for key, value in kept.items():
        if key in SCHEMA_KEYWORDS:
            kept[key] = _without_foreign_references(value, whole, anchors, note)
        elif key in SCHEMA_LISTS:
            kept[key] = [_without_foreign_references(one, whole, anchors, note) for one in value]
        elif key in SCHEMA_MAPS:
            kept[key] = {n: _without_foreign_references(one, whole, anchors, note) for n, one in value.items()}
    return kept


def _is_inside(reference: Any, whole: Schema, anchors: frozenset[str]) -> bool:
    return (isinstance(reference, str) and reference[1:] in anchors) or pointed(reference, whole) is not None


def _written_out(whole: Schema) -> Schema:
    """An argument schema with its properties at the top: they may stand behind a `$ref` or in the parts of an `allOf`."""
    parts: list[Schema] = []
    seen: list[Any] = []
    _add_parts(whole, whole, parts, seen)
    definitions = {key: whole[key] for key in ("$defs", "definitions") if key in whole}
    return join_schemas(parts) | definitions


def _properties_of_branches(schema: Schema) -> Schema:
    """The properties that only the branches of a schema declare, each with what any of them admits: what a model reads and
    a search finds are the properties at the top."""
    found: dict[str, list[Schema]] = {}
    for branch in (one for key in ("anyOf", "oneOf", "allOf") for one in schema.get(key, ())):
        parts: list[Schema] = []
        _add_parts(branch, schema, parts, [])
        for name, inner in (item for part in parts for item in part.get("properties", {}).items()):
            found.setdefault(name, []).append(inner)
    return {name: merge_schemas(schemas) for name, schemas in found.items()}


def _add_parts(schema: Any, whole: Schema, parts: list[Schema], seen: list[Any]) -> None:
    if not isinstance(schema, dict) or any(schema is one for one in seen):
        return
    seen.append(schema)
    _add_parts(pointed(schema.get("$ref"), whole), whole, parts, seen)
    for inner in schema.get("allOf", ()):
        _add_parts(inner, whole, parts, seen)
    inside = pointed(schema.get("$ref"), whole) is None  # an anchor is left where it is
    left_out = {"allOf", "$defs", "definitions", "nullable"} | (set() if inside else {"$ref"})
    if rest := {key: value for key, value in schema.items() if key not in left_out}:
        parts.append(rest)


def without_secrets(name: str, schema: Schema, note: Note) -> Schema:
    """The schema of the property `name` without a default or examples that look like somebody's secret."""
    is_secret = schema.get("format") == "password"
    given = [key for key in ("default", "examples", "const") if schema.get(key)]
    found = [key for key in given if is_secret or looks_secret(name, schema[key])]
    if not found:
        return schema
    note(f"the {found[0]} of {name[:60]!r} looks like a secret; left out")
    return {key: value for key, value in schema.items() if key not in found}


def normalize_value_schema(
    foreign: Any, *, on_note: Note | None = None, is_part: bool = False, name: str = "value"
) -> Schema:
    """The same for a schema of any type, such as that of a result, whose value is called `name`. A schema that is only a
    part of what holds at its place (`is_part`) may require names that another part declares, and says `nullable` itself
    where the others say the type."""
    note = on_note or (lambda _line: None)
    schema = _normalize(foreign, _Place(name, name), note, 0)
    result: Schema = schema if is_part else _settled(schema, note)
    return result


def close_object(schema: Mapping[str, Any]) -> Schema:
    """An argument schema that admits declared parameters only: a function with a fixed signature takes no others."""
    properties = schema.get("properties", {})
    closed = {**schema, "additionalProperties": False}
    if required := [name for name in schema.get("required", ()) if name in properties]:
        return closed | {"required": required}
    closed.pop("required", None)
    return closed


def _normalize(foreign: Any, place: _Place, note: Note, depth: int) -> Schema:
    if not isinstance(foreign, Mapping):
        if foreign is not True:
            note(f"{place}: expected a schema object, got {type(foreign).__name__}; anything is allowed there")
        return {}
    if depth > MAX_DEPTH:
        note(f"{place}: nested deeper than {MAX_DEPTH} levels; anything is allowed there")
        return {}
    foreign = _modern(foreign)
    schema: Schema = {}
    for key, value in foreign.items():
        _copy_keyword(schema, str(key), value, place, note, depth)
    _clean_required(schema, foreign)
    schema = _with_old_keywords(schema, foreign, note)
    _clean_enumeration(schema, place, note)
    _clean_default(schema)
    return without_secrets(place.name, schema, note)


def _modern(foreign: Mapping[str, Any]) -> Mapping[str, Any]:
    """A schema with the keywords of drafts 4 to 7 that 2020-12 has renamed: a list of `items` with `additionalItems`, and
    `dependencies`. Alternatives that a `discriminator` tells apart need not exclude each other."""
    modern = dict(foreign)
    if "discriminator" in foreign and "oneOf" in foreign and "anyOf" not in foreign:
        modern["anyOf"] = modern.pop("oneOf")
    further = modern.pop("additionalItems", None)
    if isinstance(foreign.get("items"), list):
        modern["prefixItems"] = modern.pop("items")
        if further is not None:
            modern["items"] = further
    dependencies = modern.pop("dependencies", None)
    if isinstance(dependencies, Mapping):
        names = {name: value for name, value in dependencies.items() if isinstance(value, list)}
        schemas = {name: value for name, value in dependencies.items() if name not in names}
        for key, found in (("dependentRequired", names), ("dependentSchemas", schemas)):
            if found:
                modern[key] = {**found, **modern[key]} if isinstance(modern.get(key), Mapping) else found
    return modern


def _copy_keyword(schema: Schema, key: str, value: Any, place: _Place, note: Note, depth: int) -> None:
    """Copies one keyword into `schema` in its 2020-12 form, or notes why it is left out."""
    inside = place.inside(key)
    if key == "type":
        _copy_type(schema, value, place, note)
    elif key in ("required", "optional", *_NULLABLE) or (key.startswith("exclusive") and isinstance(value, bool)):
        return  # read together with their neighbours by _clean_required and _with_old_keywords
    elif key in SCHEMA_KEYWORDS:
        schema[key] = value if isinstance(value, bool) else _normalize(value, inside, note, depth + 1)
    elif key in SCHEMA_LISTS and isinstance(value, list) and value:
        schema[key] = [_normalize(item, inside, note, depth + 1) for item in value]
    elif key in SCHEMA_MAPS and isinstance(value, Mapping):
        members = {str(k): _normalize(v, place.member(str(k)), note, depth + 1) for k, v in value.items()}
        invalid = [name for name in members if key == "patternProperties" and not is_pattern(name)]
        for name in invalid:
            note(f"{place}: the pattern {name[:60]!r} of 'patternProperties' is not a regular expression; left out")
        schema[key] = {name: member for name, member in members.items() if name not in invalid}
    elif _is_valid_plain(key, value := clean(value)):
        schema[key] = value
    elif value is not None:
        note(f"{place}: keyword {key!r} with the value {str(value)[:60]!r} left out")


def _is_valid_plain(key: str, value: Any) -> bool:
    """Whether a keyword without subschemas has a value that the 2020-12 metaschema admits."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if key in SCHEMA_LISTS or key in SCHEMA_MAPS:
        return False
    if key in _COUNTS:
        return number and value >= 0 and float(value).is_integer()
    if key in _LIMITS:
        return number
    if key == "multipleOf":
        return number and value > 0
    if key in _TEXTS:
        return isinstance(value, str)
    if key in _FLAGS:
        return isinstance(value, bool)
    if key in ("enum", "examples"):
        return isinstance(value, list) and (key == "examples" or bool(value))
    if key == "pattern":
        return isinstance(value, str) and is_pattern(value)
    if key == "dependentRequired":
        return isinstance(value, Mapping) and all(
            isinstance(names, list) and all(isinstance(name, str) for name in names) and len({*names}) == len(names)
            for names in value.values()
        )
    return not key.startswith("$")


def _copy_type(schema: Schema, value: Any, place: _Place, note: Note) -> None:
    texts = value if isinstance(value, list) else [value]
    found = [parse_type(text) if isinstance(text, str) else TypeText({}, (repr(text),)) for text in texts]
    for text, one in zip(texts, found, strict=True):
        for part in one.unknown:
            inside = f"{part[:60]!r} in {text[:60]!r}" if one.schema else f"{str(text)[:60]!r}"
            note(f"{place}: unknown type {inside}; any value is allowed{' there' if one.schema else ''}")
    for key, given in any_of([one.schema for one in found]).items():
        schema.setdefault(key, given)  # what is said beside the type says more


def _clean_required(schema: Schema, foreign: Mapping[Any, Any]) -> None:
    """`required` as a list of names; `required: true` and `optional: true` inside a property count too."""
    listed = foreign.get("required")
    names = [name for name in listed if isinstance(name, str)] if isinstance(listed, (list, tuple)) else []
    declared = foreign.get("properties")
    for name, inner in declared.items() if isinstance(declared, Mapping) else ():
        if isinstance(inner, Mapping) and inner.get("required") is True:
            names.append(str(name))
        if isinstance(inner, Mapping) and inner.get("optional") is True:
            names = [other for other in names if other != name]
    if names:
        schema["required"] = list(dict.fromkeys(names))


def require_declared(schema: Schema, note: Note) -> Schema:
    """An object that requires no name that it does not declare, unless another schema at its place may declare it."""
    declared, required = schema.get("properties"), schema.get("required")
    if declared is None or not required or schema.keys() & _ELSEWHERE:
        return schema
    lost = [name for name in required if name not in declared]
    if not lost:
        return schema
    note(f"an object requires {lost[0][:60]!r}, which it does not declare; left out")
    kept = [name for name in required if name in declared]
    rest = {key: value for key, value in schema.items() if key != "required"}
    return rest | {"required": kept} if kept else rest


def _settled(schema: Any, note: Note, *, alone: bool = True) -> Any:
    """The same at every depth, and null admitted where `nullable` is left; what is not `alone` at its place, such as a part
    of `allOf`, requires what it requires."""
    if not isinstance(schema, dict):
        return schema
    result: Schema = {}
    for key, value in schema.items():
        inner_alone = key not in _IN_PLACE
        if key in SCHEMA_KEYWORDS:
            value = _settled(value, note, alone=inner_alone)
        elif key in SCHEMA_LISTS:
            value = [_settled(one, note, alone=inner_alone) for one in value]
        elif key in SCHEMA_MAPS:
            value = {n: _settled(one, note, alone=inner_alone) for n, one in value.items()}
        result[key] = value
    if result.pop("nullable", False):
        result = admit_null(result)
    return require_declared(result, note) if alone else result


def _with_old_keywords(schema: Schema, foreign: Mapping[Any, Any], note: Note) -> Schema:
    """OpenAPI 3.0's `nullable` and draft 4's boolean exclusive limits. Where others say the type, `nullable` is left to whoever
    puts them together."""
    if any(foreign.get(key) is True for key in _NULLABLE):
        if schema.keys() & {"$ref", "allOf"} and "type" not in schema:
            note(_NULL_ADMITTED)
        if schema.keys() & _ELSEWHERE_TYPED:
            schema["nullable"] = True
        else:
            schema = admit_null(schema)
    for old, limit in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if foreign.get(old) is True and limit in schema:
            schema[old] = schema.pop(limit)
    return schema


def _clean_enumeration(schema: Schema, place: _Place, note: Note) -> None:
    """An enumeration whose values are all of another type than the declared one admits nothing at all: that of an array
    is meant for its items, others are converted where that is possible and left out where not."""
    values, declared = schema.get("enum"), schema.get("type")
    if not values or not isinstance(declared, str) or any(_is_of_type(value, declared) for value in values):
        return
    del schema["enum"]
    if declared == "array":
        items = schema.get("items")
        schema["items"] = {**(items if isinstance(items, dict) else {}), "enum": values}
        note(f"{place}: the enumeration of an array has no arrays; moved to its items")
        return
    converted = [new for new in (_converted(value, declared) for value in values) if new is not None]
    if converted:
        schema["enum"] = converted
    note(f"{place}: no value of the enumeration {str(values)[:60]} is of type {declared}; {len(converted)} converted")


def _is_of_type(value: Any, name: str) -> bool:
    if isinstance(value, bool) or name == "boolean":
        return isinstance(value, bool) and name == "boolean"
    if name in ("integer", "number"):
        return isinstance(value, (int, float)) and (name == "number" or float(value).is_integer())
    kinds: dict[str, type] = {"object": Mapping, "array": list, "string": str, "null": type(None)}
    return isinstance(value, kinds[name])


def _converted(value: Any, name: str) -> Any:
    """`"3"` as the number 3, `"True"` as true, 3 as the text `3`; None where it cannot be."""
    if name == "string":
        return None if value is None else canonical_json(value)
    try:
        parsed = parse_json(value.lower(), name) if isinstance(value, str) else None
    except InputError:
        return None
    return parsed if _is_of_type(parsed, name) else None


def _clean_default(schema: Schema) -> None:
    """`"false"` as the default of a boolean is a slip of the source."""
    if schema.get("type") == "boolean" and schema.get("default") in ("true", "false", "True", "False"):
        schema["default"] = schema["default"].lower() == "true"
