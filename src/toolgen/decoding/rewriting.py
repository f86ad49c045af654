"""Keywords of JSON Schema in simpler ones: the same meaning where there is one, else the keyword is left out and noted.

Works on one schema at a time, not on what is nested in it. Knows what the compiler (llguidance) can follow; no tokenizer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from itertools import combinations
from typing import Any

from toolgen.catalog.patterns import is_pattern, matches
from toolgen.decoding.opposites import disjoint, negated
from toolgen.decoding.references import Json, References

NoteKeyword = Callable[[str], None]

FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"})
BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
# The compiler holds bounds and constants as floats: whole numbers beyond this are not exact.
EXACT = 2**53
MAX_BRANCHES = 8  # more that exclude each other are too much for one grammar
_DIRECT = frozenset({"type", "enum", "const", "properties", "required", "additionalProperties", "minProperties",
                     "maxProperties", "items", "prefixItems", "minItems", "maxItems", "minLength", "maxLength", "anyOf",
                     "allOf", "$ref"})  # fmt: skip
_COMPOSING = ("allOf", "anyOf", "oneOf", "$ref", "if", "not", "dependentSchemas")
_UNSAID = frozenset({"contains", "minContains", "maxContains", "$dynamicRef"})


def rewritten(schema: Mapping[str, Any], references: References, note: NoteKeyword) -> Json | None:
    """One schema in keywords that the compiler knows, None if nothing is valid under it; `note` hears of what is left out."""
    simple: Json = {key: value for key, value in schema.items() if key in _DIRECT}
    simple |= {key: int(value) for key, value in simple.items() if isinstance(value, float) and key != "const"}
    for key in sorted(_UNSAID & schema.keys()):
        if not (key in ("minContains", "maxContains") and "contains" not in schema):
            note(key)
    _scalars(simple, schema, note)
    _keys(simple, schema, references, note)
    found = (
        *_alternatives(schema, references, note),
        *_conditions(schema, references, note),
        *_unevaluated(schema, references, note),
    )
    extra = [one for one in found if one is not True]
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
    for key, same in (("unevaluatedProperties", "additionalProperties"), ("unevaluatedItems", "items")):
        if key in schema and same not in schema and not any(one in schema for one in (*_COMPOSING, "contains")):
            simple[same] = schema[key]
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
    if names is True:
        return
    if names is False:
        simple["maxProperties"] = 0
        return
    kept = {key: value for key, value in names.items() if key not in ("type", "title", "description")}
    is_text = names.get("type", "string") == "string"
    if is_text and not kept:
        return
    more = simple.get("additionalProperties", True)
    if "patternProperties" in simple or len(kept) != 1 or not is_text:
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


def _unevaluated(schema: Mapping[str, Any], references: References, note: NoteKeyword) -> list[Any]:
    """What `unevaluatedProperties` and `unevaluatedItems` say beside other schemas: exact where all of those always hold."""
    if not any(one in schema for one in (*_COMPOSING, "contains")):
        return []
    if schema.get("unevaluatedItems", True) is not True and "items" not in schema:
        note("unevaluatedItems")
    if schema.get("unevaluatedProperties", True) is True or "additionalProperties" in schema:
        return []
    names: set[str] = set()
    always = _evaluated(schema, references, names, set())
    if not always or schema["unevaluatedProperties"] is not False:
        note("unevaluatedProperties")
    if always is None:
        return []
    return [{"properties": dict.fromkeys(sorted(names), True), "additionalProperties": schema["unevaluatedProperties"]}]


def _evaluated(schema: Any, references: References, names: set[str], seen: set[int]) -> bool | None:
    """Collects the names that a schema evaluates: True if it does so for every value, False if for some, None if it
    evaluates names that it does not list."""
    if not isinstance(schema, Mapping) or id(schema) in seen:
        return True
    seen.add(id(schema))
    names.update(schema.get("properties") or ())
    if any(key in schema for key in ("patternProperties", "additionalProperties", "$dynamicRef")) or (
        seen != {id(schema)} and "unevaluatedProperties" in schema
    ):
        return None
    inner = [references.find(schema["$ref"]) or {"$dynamicRef": ""}] if "$ref" in schema else []
    always = [_evaluated(one, references, names, seen) for one in (*inner, *schema.get("allOf", ()))]
    sometimes = [
        *(one for key in ("anyOf", "oneOf") for one in schema.get(key) or ()),
        *(schema[key] for key in ("if", "then", "else") if key in schema),
        *(schema.get("dependentSchemas") or {}).values(),
    ]
    more = [_evaluated(one, references, names, seen) for one in sometimes]
    if None in always or None in more:
        return None
    return all(always) and not sometimes


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
