"""Foreign parameter descriptions to JSON Schema 2020-12, and the merge of several descriptions of one function.

Foreign means: types in text, as Python, Java and TypeScript write them (`type_texts`), older JSON Schema drafts and OpenAPI
3.0 (`nullable`, `items` as a list, boolean `exclusiveMinimum`). Knows no tool and no file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from toolgen.catalog.patterns import is_pattern
from toolgen.catalog.schema import MAX_DEPTH, SCHEMA_KEYWORDS, SCHEMA_LISTS, SCHEMA_MAPS, Note, Schema, values_of
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
ANNOTATIONS = frozenset({"description", "title", "default", "readOnly", "format"})
_MERGEABLE = frozenset({"type", "properties", "required", "description", "title", "readOnly", "default",
                        "additionalProperties", "unevaluatedProperties"})  # fmt: skip
_FLAGS = frozenset({"uniqueItems", "deprecated", "readOnly", "writeOnly"})


def normalize_schema(foreign: Any, *, on_note: Note | None = None) -> Schema:
    """The argument schema of a function as JSON Schema 2020-12: always `{"type": "object", "properties": {...}, ...}`.

    What cannot be expressed is left out and told to `on_note` (one line each); nothing is refused.
    """
    note = on_note or (lambda _line: None)
    schema = _normalize(foreign, "arguments", note, 0) if isinstance(foreign, Mapping) else {}
    if foreign is not None and not isinstance(foreign, Mapping):
        note(f"arguments: expected a schema object, got {type(foreign).__name__}; taken as no parameters")
    if any(values_of(schema, "$ref")):
        anchors = frozenset(anchor for anchor in values_of(schema, "$anchor") if isinstance(anchor, str))
        schema = _without_foreign_references(schema, schema, anchors, note)
    if "allOf" in schema or "$ref" in schema:
        schema = _written_out(schema)
    types = schema.get("type", "object")
    if types != "object" and not (isinstance(types, list) and "object" in types):  # arguments are never null
        note(f"arguments: type {types!r} instead of 'object'; wrapped as the parameter 'value'")
        definitions: Schema = {key: schema.pop(key) for key in ("$defs", "definitions") if key in schema}
        schema = {"properties": {"value": schema}, "required": ["value"], **definitions}
    properties = _properties_of_branches(schema) | schema.get("properties", {})
    first: Schema = {"type": "object", "properties": properties}
    whole: Schema = _require_declared_everywhere(first | schema | first, note)
    _clean_enumeration(whole, "arguments", note)
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
    return (isinstance(reference, str) and reference[1:] in anchors) or _pointed(reference, whole) is not None


def _pointed(reference: Any, whole: Schema) -> Any:
    """The schema in `whole` that a JSON pointer in a `$ref` names; None if there is none."""
    if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
        return None
    node: Any = whole
    for part in unquote(reference[1:]).split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(node, list):
            node = node[int(key)] if key.isascii() and key.isdigit() and int(key) < len(node) else None
        else:
            node = node.get(key) if isinstance(node, dict) else None
    return node if isinstance(node, (dict, bool)) else None


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
    _add_parts(_pointed(schema.get("$ref"), whole), whole, parts, seen)
    for inner in schema.get("allOf", ()):
        _add_parts(inner, whole, parts, seen)
    inside = _pointed(schema.get("$ref"), whole) is None  # an anchor is left where it is
    left_out = {"allOf", "$defs", "definitions"} | (set() if inside else {"$ref"})
    if rest := {key: value for key, value in schema.items() if key not in left_out}:
        parts.append(rest)


def without_secrets(name: str, schema: Schema, note: Note) -> Schema:
    """The schema of the property `name` without a default or examples that look like somebody's secret."""
    found = [key for key in ("default", "examples", "const") if looks_secret(name, schema.get(key))]
    if not found:
        return schema
    note(f"the {found[0]} of {name[:60]!r} looks like a secret; left out")
    return {key: value for key, value in schema.items() if key not in found}


def normalize_value_schema(foreign: Any, *, on_note: Note | None = None, is_part: bool = False) -> Schema:
    """The same for a schema of any type, such as that of a result. A schema that is only a part of what holds at its place
    (`is_part`) may require names that another part declares."""
    note = on_note or (lambda _line: None)
    schema = _normalize(foreign, "value", note, 0)
    result: Schema = schema if is_part else _require_declared_everywhere(schema, note)
    return result


def close_object(schema: Mapping[str, Any]) -> Schema:
    """An argument schema that admits declared parameters only: a function with a fixed signature takes no others."""
    properties = schema.get("properties", {})
    closed = {**schema, "additionalProperties": False}
    if required := [name for name in schema.get("required", ()) if name in properties]:
        return closed | {"required": required}
    closed.pop("required", None)
    return closed


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


def _normalize(foreign: Any, place: str, note: Note, depth: int) -> Schema:
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
    _apply_old_keywords(schema, foreign)
    _clean_enumeration(schema, place, note)
    _clean_default(schema)
    return without_secrets(place.rpartition(".")[2], schema, note)


def _modern(foreign: Mapping[str, Any]) -> Mapping[str, Any]:
    """A schema with the keywords of drafts 4 to 7 that 2020-12 has renamed: a list of `items` with `additionalItems`, and
    `dependencies`."""
    modern = dict(foreign)
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


def _copy_keyword(schema: Schema, key: str, value: Any, place: str, note: Note, depth: int) -> None:
    """Copies one keyword into `schema` in its 2020-12 form, or notes why it is left out."""
    inside = f"{place}.{key}"
    if key == "type":
        _copy_type(schema, value, place, note)
    elif key in ("required", "optional", "nullable") or (key.startswith("exclusive") and isinstance(value, bool)):
        return  # read together with their neighbours by _clean_required and _apply_old_keywords
    elif key in SCHEMA_KEYWORDS:
        schema[key] = value if isinstance(value, bool) else _normalize(value, inside, note, depth + 1)
    elif key in SCHEMA_LISTS and isinstance(value, list) and value:
        schema[key] = [_normalize(item, inside, note, depth + 1) for item in value]
    elif key in SCHEMA_MAPS and isinstance(value, Mapping):
        members = {str(k): _normalize(v, f"{place}.{k}", note, depth + 1) for k, v in value.items()}
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


def _copy_type(schema: Schema, value: Any, place: str, note: Note) -> None:
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


def _require_declared_everywhere(schema: Any, note: Note, *, alone: bool = True) -> Any:
    """The same at every depth; what is not `alone` at its place, such as a part of `allOf`, is left as it is."""
    if not isinstance(schema, dict):
        return schema
    result: Schema = {}
    for key, value in schema.items():
        inner_alone = key not in _IN_PLACE
        if key in SCHEMA_KEYWORDS:
            value = _require_declared_everywhere(value, note, alone=inner_alone)
        elif key in SCHEMA_LISTS:
            value = [_require_declared_everywhere(one, note, alone=inner_alone) for one in value]
        elif key in SCHEMA_MAPS:
            value = {n: _require_declared_everywhere(one, note, alone=inner_alone) for n, one in value.items()}
        result[key] = value
    return require_declared(result, note) if alone else result


def _apply_old_keywords(schema: Schema, foreign: Mapping[Any, Any]) -> None:
    """OpenAPI 3.0's `nullable` and draft 4's boolean exclusive limits."""
    if foreign.get("nullable") is True and "type" in schema:
        types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        schema["type"] = [*types, *(["null"] if "null" not in types else [])]
        if "enum" in schema and None not in schema["enum"]:
            schema["enum"] = [*schema["enum"], None]
    for old, limit in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if foreign.get(old) is True and limit in schema:
            schema[old] = schema.pop(limit)


def _clean_enumeration(schema: Schema, place: str, note: Note) -> None:
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
