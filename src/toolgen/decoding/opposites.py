"""Whether two schemas exclude each other, and the schema of all that another refuses, as far as simple keywords say it.

Knows one schema and its references.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from toolgen.decoding.references import TYPES, References, listed_values, type_of


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
