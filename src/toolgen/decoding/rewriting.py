"""Keywords of JSON Schema in simpler ones: the same meaning where there is one, else the keyword is left out and noted.

Works on one schema at a time, not on what is nested in it. Knows what the compiler (llguidance) can follow; no tokenizer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from itertools import combinations
from typing import Any
from urllib.parse import unquote

from toolgen.catalog.patterns import is_pattern, matches

Json = dict[str, Any]
NoteKeyword = Callable[[str], None]

TYPES = ("null", "boolean", "number", "string", "array", "object")
EVERY_TYPE = frozenset(TYPES)
FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"})
BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
# The compiler holds bounds and constants as floats: whole numbers beyond this are not exact.
EXACT = 2**53
MAX_BRANCHES = 8  # more that exclude each other are too much for one grammar
MAX_STEPS = 20_000
_DIRECT = frozenset({"type", "enum", "const", "properties", "required", "additionalProperties", "minProperties",
                     "maxProperties", "items", "prefixItems", "minItems", "maxItems", "minLength", "maxLength", "anyOf",
                     "allOf", "$ref"})  # fmt: skip
_UNSAID = frozenset({"contains", "minContains", "maxContains", "$dynamicRef"})


class References:
    """What the references of a schema lead to. Nothing outside of it is read."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._anchors: dict[str, Any] = {}
        self._types: dict[int, tuple[Any, frozenset[str]]] = {}
        self._steps = MAX_STEPS
        self._is_one = True  # no part is a document of its own, where `#` means another place
        self._collect(root)

    def find(self, reference: Any) -> Any:
        """The schema that a reference names, or None."""
        if not (self._is_one and isinstance(reference, str) and reference.startswith("#")):
            return None
        if reference[1:] in self._anchors:
            return self._anchors[reference[1:]]
        node: Any = self._root
        for part in unquote(reference[1:]).split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            if isinstance(node, list):
                node = node[int(key)] if key.isascii() and key.isdigit() and int(key) < len(node) else None
            else:
                node = node.get(key) if isinstance(node, Mapping) else None
        is_schema = isinstance(node, (Mapping, bool)) and (reference == "#" or reference.startswith("#/"))
        return node if is_schema else None

    def resolved(self, schema: Any) -> Any:
        """The schema, or what it refers to if it is nothing but a reference."""
        for _ in range(16):
            if not (isinstance(schema, Mapping) and set(schema) == {"$ref"}):
                return schema
            schema = self.find(schema["$ref"])
        return None

    def types(self, schema: Any) -> frozenset[str]:
        """The types that a valid value may have; never too few."""
        if schema is False:
            return frozenset()
        if not isinstance(schema, Mapping):
            return EVERY_TYPE
        # The schema is kept too, so that no other takes its id; one that comes to itself may have any type.
        _, known = self._types.get(id(schema), (None, None))
        if known is None:
            self._types[id(schema)] = (schema, EVERY_TYPE)
            known = self._types_of(schema)
            self._types[id(schema)] = (schema, known)
        return known

    def _types_of(self, schema: Mapping[str, Any]) -> frozenset[str]:
        given = schema.get("type", EVERY_TYPE)
        found = frozenset(
            "number" if one == "integer" else one for one in ([given] if isinstance(given, str) else given)
        )
        values = listed_values(schema)
        if values is not None:
            found &= {type_of(one) for one in values}
        for key in ("anyOf", "oneOf"):
            if schema.get(key):
                found &= frozenset[str]().union(*map(self.types, schema[key]))
        for one in schema.get("allOf") or ():
            found &= self.types(one)
        if "$ref" in schema:
            found &= self.types(self.find(schema["$ref"]))
        return found

    def spend(self) -> bool:
        """Whether one more step of reasoning is granted: a schema from anyone may be made to need millions."""
        self._steps -= 1
        return self._steps > 0

    def _collect(self, node: Any) -> None:
        if isinstance(node, Mapping):
            if isinstance(node.get("$anchor"), str):
                self._anchors[node["$anchor"]] = node
            self._is_one &= node is self._root or not isinstance(node.get("$id"), str)
            for key, value in node.items():
                if key not in ("const", "enum", "default", "examples"):
                    self._collect(value)
        elif isinstance(node, list):
            for value in node:
                self._collect(value)


def type_of(value: Any) -> str:
    """The JSON type of a value; whole numbers are numbers."""
    if value is None:
        return "null"
    kinds = ((bool, "boolean"), ((int, float), "number"), (str, "string"), ((list, tuple), "array"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "object")


def rewritten(schema: Mapping[str, Any], references: References, note: NoteKeyword) -> Json | None:
    """One schema in keywords that the compiler knows, None if nothing is valid under it; `note` hears of what is left out."""
    simple: Json = {key: value for key, value in schema.items() if key in _DIRECT}
    simple |= {key: int(value) for key, value in simple.items() if isinstance(value, float) and key != "const"}
    for key in sorted(_UNSAID & schema.keys()):
        if not (key in ("minContains", "maxContains") and "contains" not in schema):
            note(key)
    _scalars(simple, schema, note)
    _keys(simple, schema, references, note)
    extra = [
        one
        for one in (*_alternatives(schema, references, note), *_conditions(schema, references, note))
        if one is not True
    ]
    if False in extra:
        return None
    if len(extra) == 1 and extra[0].keys() == {"anyOf"} and "anyOf" not in simple:
        simple["anyOf"] = extra[0]["anyOf"]
    elif extra:
        simple["allOf"] = [*simple.get("allOf", ()), *extra]
    return simple


# --- values -------------------------------------------------------------------------------------------------------


def _scalars(simple: Json, schema: Mapping[str, Any], note: NoteKeyword) -> None:
    """Numbers, texts, constants and `uniqueItems`."""
    for key in BOUNDS:
        if key in schema:
            _keep(simple, key, schema[key], abs(schema[key]) <= EXACT, note)
    if "multipleOf" in schema:
        _keep(simple, "multipleOf", schema["multipleOf"], _is_exact_step(schema["multipleOf"]), note)
    if "pattern" in schema:
        _keep(simple, "pattern", schema["pattern"], is_pattern(schema["pattern"]), note)
    if schema.get("format") in FORMATS:  # another format says nothing about what is valid
        simple["format"] = schema["format"]
    for key in ("const", "enum"):
        if key in schema and not _is_exact_value(schema[key]):
            note(key)
            del simple[key]
    if schema.get("uniqueItems") and schema.get("maxItems", 2) > 1:
        note("uniqueItems")


def _keep(simple: Json, key: str, value: Any, exact: bool, note: NoteKeyword) -> None:
    if exact:
        simple[key] = value
    else:
        note(key)


def _is_exact_value(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_exact_value, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(_is_exact_value, value))
    return isinstance(value, bool) or not isinstance(value, (int, float)) or abs(value) <= EXACT


def _is_exact_step(step: float) -> bool:
    """Whether the compiler, which multiplies by ten until nothing is left behind the point, reads the same number."""
    value, places = float(step), 0
    while value % 1 and places < 400:
        value, places = value * 10, places + 1
    return 0 < value < 2**32 and Decimal(str(step)) == Decimal(int(value)).scaleb(-places)


# --- keys ---------------------------------------------------------------------------------------------------------


def _keys(simple: Json, schema: Mapping[str, Any], references: References, note: NoteKeyword) -> None:
    """Which keys an object may have."""
    alone = not any(key in schema for key in ("allOf", "anyOf", "oneOf", "$ref", "if", "not", "dependentSchemas"))
    for key, same in (("unevaluatedProperties", "additionalProperties"), ("unevaluatedItems", "items")):
        if key not in schema or schema[key] is True or same in schema:
            continue
        if alone and "contains" not in schema:
            simple[same] = schema[key]
        else:
            note(key)
    if "patternProperties" in schema:
        _pattern_properties(simple, schema["patternProperties"], note)
    if "propertyNames" in schema:
        _property_names(simple, references.resolved(schema["propertyNames"]), note)
    names = simple.get("properties") or {}
    closed = simple.get("additionalProperties", not names) is False
    optional = [name for name in names if name not in simple.get("required", ())]
    for key in ("minProperties", "maxProperties"):
        bound = simple.get(key, 0 if key == "minProperties" else len(names))
        exact = bound in (0, 1) and closed and "patternProperties" not in simple if optional else True
        # Names that are not declared may be written twice, which counts once.
        if key in simple and (not exact or (key == "minProperties" and bound > max(1, len(names)))):
            note(key)
            if not exact:
                del simple[key]


def _pattern_properties(simple: Json, patterns: Mapping[str, Any], note: NoteKeyword) -> None:
    """Patterns that may match the same name are no pattern for the compiler: then any name is allowed."""
    if (all(map(is_pattern, patterns)) and len(patterns) <= 1) or (
        all(map(is_pattern, patterns)) and are_disjoint_patterns(patterns)
    ):
        simple["patternProperties"] = dict(patterns)
    else:
        note("patternProperties")
        simple["additionalProperties"] = True


def are_disjoint_patterns(patterns: Any) -> bool:
    """Whether no name matches two of the patterns, as far as the compiler can tell."""
    import json

    from llguidance import LLMatcher

    schema = {"type": "object", "patternProperties": {one: {"type": "null"} for one in patterns}}
    return not LLMatcher.validate_grammar(LLMatcher.grammar_from_json_schema(json.dumps(schema)))


def _property_names(simple: Json, names: Any, note: NoteKeyword) -> None:
    if names is True or names == {} or names == {"type": "string"}:
        return
    if names is False:
        simple["maxProperties"] = 0
        return
    kept = {key: value for key, value in names.items() if key not in ("type", "title", "description")}
    more = simple.get("additionalProperties", True)
    if "patternProperties" in simple or len(kept) != 1 or names.get("type", "string") != "string":
        note("propertyNames")
        simple.setdefault("additionalProperties", True)
        return
    ((key, value),) = kept.items()
    declared = simple.get("properties") or {}
    if key in ("enum", "const"):
        allowed = [value] if key == "const" else [one for one in value if isinstance(one, str)]
        simple["properties"] = {n: s if n in allowed else False for n, s in declared.items()} | {
            name: more for name in allowed if name not in declared
        }
        simple["additionalProperties"] = False
    elif key in ("pattern", "minLength", "maxLength"):
        lengths = {"minLength": f"^[^]{{{value},}}$", "maxLength": f"^[^]{{0,{value}}}$"}
        pattern = value if key == "pattern" else lengths[key].replace("[^]", r"[\s\S]")
        if not is_pattern(pattern):
            note("propertyNames")
            return
        simple["properties"] = {n: s if matches(pattern, n) else False for n, s in declared.items()}
        simple["patternProperties"] = {pattern: more}
        simple["additionalProperties"] = False
    else:
        note("propertyNames")
        simple.setdefault("additionalProperties", True)


# --- conditions ---------------------------------------------------------------------------------------------------


def _alternatives(schema: Mapping[str, Any], references: References, note: NoteKeyword) -> list[Any]:
    """`oneOf` as `anyOf`, where no two branches hold together or each can exclude the others."""
    branches = schema.get("oneOf")
    if not branches:
        return []
    overlapping = [
        (a, b) for a, b in combinations(range(len(branches)), 2) if not disjoint(branches[a], branches[b], references)
    ]
    if not overlapping:
        return [{"anyOf": list(branches)}]
    made: list[Any] = []
    for place, one in enumerate(branches):
        others = [branches[b if a == place else a] for a, b in overlapping if place in (a, b)]
        excluded = (
            [_excluding(other, one, schema, references) for other in others] if len(others) < MAX_BRANCHES else [None]
        )
        if None in excluded:
            note("oneOf")
            return [{"anyOf": list(branches)}]
        made.append({"allOf": [one, *excluded]} if others else one)
    return [{"anyOf": made}]


def _excluding(other: Any, one: Any, domain: Any, references: References) -> Any:
    """What keeps a value of `one` from being valid under `other` too; None if it cannot be said. Where the opposite of `other`
    has no simple form, a key that it requires and `one` does not know is left out, as is meant by such alternatives."""
    opposite = negated(other, domain, references)
    if opposite is not None:
        return opposite
    plain, mine = references.resolved(other), references.resolved(one)
    if not (isinstance(plain, Mapping) and isinstance(mine, Mapping)) or (
        references.types(mine) & references.types(domain) != {"object"}
    ):
        return None
    known = {*(mine.get("properties") or {}), *mine.get("required", ())}
    name = next((name for name in plain.get("required", ()) if name not in known), None)
    return None if name is None else {"properties": {name: False}}


def _conditions(schema: Mapping[str, Any], references: References, note: NoteKeyword) -> list[Any]:
    """`not`, `if` and the keywords that depend on a key, as alternatives."""
    found: list[Any] = []
    if "not" in schema:
        opposite = negated(schema["not"], schema, references)
        if opposite is None:
            note("not")
        else:
            found.append(opposite)
    if "if" in schema and ("then" in schema or "else" in schema):
        opposite = negated(schema["if"], schema, references)
        if opposite is None:
            note("if")
        else:
            branches = [[schema["if"], schema.get("then", True)], [opposite, schema.get("else", True)]]
            found.append({"anyOf": [{"allOf": [one for one in branch if one is not True]} for branch in branches]})
    dependent = [(name, {"required": list(names)}) for name, names in (schema.get("dependentRequired") or {}).items()]
    dependent += list((schema.get("dependentSchemas") or {}).items())
    if len(dependent) > MAX_BRANCHES:
        note("dependentRequired" if "dependentRequired" in schema else "dependentSchemas")
    else:
        found += [{"anyOf": [{"properties": {name: False}}, then]} for name, then in dependent]
    return found


def disjoint(left: Any, right: Any, references: References, depth: int = 3) -> bool:
    """Whether no value is valid under both; False where that is not plain."""
    types = references.types(left) & references.types(right)
    if not types:
        return True
    one, other = references.resolved(left), references.resolved(right)
    if not (isinstance(one, Mapping) and isinstance(other, Mapping)):
        return False
    mine, theirs = listed_values(one), listed_values(other)
    if mine is not None and theirs is not None:
        return not any(_same(a, b) for a in mine for b in theirs)
    if types != {"object"} or not references.spend():
        return False
    for name in {*one.get("required", ()), *other.get("required", ())}:
        if depth and disjoint(_member(one, name), _member(other, name), references, depth - 1):
            return True
    return False


def _member(schema: Mapping[str, Any], name: str) -> Any:
    """The schema of a key's value, as far as the schema itself says."""
    if name in (schema.get("properties") or {}):
        return schema["properties"][name]
    return True if schema.get("patternProperties") else schema.get("additionalProperties", True)


def listed_values(schema: Mapping[str, Any]) -> Sequence[Any] | None:
    """The values that a schema lists."""
    return [schema["const"]] if "const" in schema else schema.get("enum")


def _same(left: Any, right: Any) -> bool:
    """Equality of JSON: `1` is `1.0` but not `true`."""
    return type_of(left) == type_of(right) and bool(left == right)


def negated(schema: Any, domain: Any, references: References, depth: int = 6) -> Any:
    """The schema of all that is not valid under `schema`, or None if it cannot be said. It will hold together with `domain`,
    whose lists of values are those to choose from."""
    if isinstance(schema, bool):
        return not schema
    if not isinstance(schema, Mapping) or depth == 0 or not references.spend():
        return None
    parts: list[Any] = []
    for key, value in schema.items():
        if key in ("title", "description", "default", "examples", "$comment", "deprecated", "readOnly", "writeOnly"):
            continue
        part = _negated_keyword(key, value, domain, references, depth - 1)
        if part is None:
            return None
        parts.append(part)
    if True in parts:
        return True
    parts = [part for part in parts if part is not False]
    return False if not parts else parts[0] if len(parts) == 1 else {"anyOf": parts}


def _negated_keyword(key: str, value: Any, domain: Any, references: References, depth: int) -> Any:
    domain = references.resolved(domain)
    domain = domain if isinstance(domain, Mapping) else {}
    if key == "type":
        kinds = [value] if isinstance(value, str) else value
        if "integer" in kinds and "number" not in kinds and "number" in references.types(domain):
            return None
        others = [one for one in TYPES if one not in kinds and not (one == "number" and "integer" in kinds)]
        return {"type": others} if others else False
    if key == "required":
        return {"anyOf": [{"type": "object", "properties": {name: False}} for name in value]} if value else False
    if key == "properties":
        members = domain.get("properties") or {}
        inner = {name: negated(one, members.get(name), references, depth) for name, one in value.items()}
        if None in inner.values():
            return None
        found = [
            {"type": "object", "required": [n], "properties": {n: one}} for n, one in inner.items() if one is not False
        ]
        return {"anyOf": found} if found else False
    if key in ("const", "enum"):
        return _other_values([value] if key == "const" else value, domain, references)
    if key in ("anyOf", "allOf"):
        inner_parts = [negated(one, domain, references, depth) for one in value]
        return None if None in inner_parts else {"allOf" if key == "anyOf" else "anyOf": inner_parts}
    if key == "not":
        return value
    if key == "$ref":
        return negated(references.find(value), domain, references, depth)
    return _other_range(key, value)


def _other_values(values: Sequence[Any], domain: Mapping[str, Any], references: References) -> Any:
    """What is none of the values, chosen from the list of the domain or among booleans and nulls."""
    listed = listed_values(domain)
    if listed is None:
        listed = [True, False, None] if references.types(domain) <= {"boolean", "null"} else None
    if listed is None:
        return None
    left = [one for one in listed if not any(_same(one, value) for value in values)]
    return {"enum": left} if left else False


def _other_range(key: str, value: Any) -> Any:
    """The numbers or lengths outside of a bound."""
    if key in ("minimum", "exclusiveMaximum"):
        return {"type": "number", "exclusiveMaximum" if key == "minimum" else "minimum": value}
    if key in ("maximum", "exclusiveMinimum"):
        return {"type": "number", "exclusiveMinimum" if key == "maximum" else "maximum": value}
    kinds = {"Length": "string", "Items": "array"}
    kind = kinds.get(key[3:])
    if kind is None or key[:3] not in ("min", "max"):
        return None
    if key.startswith("min"):
        return {"type": kind, f"max{key[3:]}": value - 1} if value else False
    return {"type": kind, f"min{key[3:]}": value + 1}
