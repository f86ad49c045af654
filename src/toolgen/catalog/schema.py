"""JSON Schemas: whether one is sound, and whether a value is valid under it.

A schema may come from anyone: nothing outside of it is read, whatever its `$ref` names, and its patterns run in linear time.
Knows no tool and no file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from toolgen.catalog.patterns import is_pattern, matches
from toolgen.errors import CatalogError

if TYPE_CHECKING:
    from jsonschema import ValidationError

Schema = dict[str, Any]
Note = Callable[[str], None]

MAX_DEPTH = 48  # deeper schemas are cut to "anything": validators and grammar compilers recurse

SCHEMA_KEYWORDS = frozenset({"items", "additionalProperties", "not", "contains", "propertyNames", "if", "then", "else",
                              "unevaluatedItems", "unevaluatedProperties"})  # fmt: skip
SCHEMA_LISTS = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
SCHEMA_MAPS = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
_COMPOSING = frozenset({"anyOf", "oneOf", "allOf", "$ref", "const", "not", "if"})
_ASIDE = frozenset({"title", "description", "default", "examples", "readOnly", "writeOnly", "deprecated", "$defs",
                    "definitions"})  # fmt: skip
_PLAIN_TEXTS = frozenset({"title", "description", "$comment"})  # any text is allowed
_UNCONSTRAINED = frozenset({"default", "const"})


def values_of(schema: Any, key: str) -> Iterator[Any]:
    """The values of a key at any depth."""
    waiting = [schema]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Mapping):
            if key in node:
                yield node[key]
            waiting.extend(node.values())
        elif isinstance(node, (list, tuple)):
            waiting.extend(node)


def pointed(reference: Any, whole: Mapping[str, Any]) -> Any:
    """The schema in `whole` that a JSON pointer in a `$ref` names; None if there is none."""
    if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
        return None
    node: Any = whole
    for part in unquote(reference[1:]).split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(node, list):
            node = node[int(key)] if key.isascii() and key.isdigit() and int(key) < len(node) else None
        else:
            node = node.get(key) if isinstance(node, Mapping) else None
    return node if isinstance(node, (Mapping, bool)) else None


def admit_null(schema: Schema) -> Schema:
    """The schema of the same values and null, texts and definitions where they are."""
    composed, types, null = schema.keys() & _COMPOSING, schema.get("type"), {"type": "null"}
    admitted = dict(schema)
    if types is not None:
        listed = types if isinstance(types, list) else [types]
        admitted["type"] = [*listed, *(["null"] if "null" not in listed else [])]
    if "enum" in schema and None not in schema["enum"]:
        admitted["enum"] = [*schema["enum"], None]
    if not composed or not schema_errors(None, admitted):
        return admitted
    if composed == {"anyOf"} and types is None and "enum" not in schema:
        return {**schema, "anyOf": [*schema["anyOf"], null]}
    aside = {key: value for key, value in schema.items() if key in _ASIDE}
    return {**aside, "anyOf": [{key: value for key, value in schema.items() if key not in aside}, null]}


def check_schema(schema: Any) -> None:
    """CatalogError unless `schema` is a valid JSON Schema of draft 2020-12."""
    from jsonschema import Draft202012Validator, SchemaError

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        place = "/".join(str(part) for part in error.absolute_path) or "the top"
        raise CatalogError(f"invalid JSON Schema at {place}: {error.message[:200]}") from error
    except RecursionError:
        raise CatalogError("invalid JSON Schema: nested too deeply to be checked") from None


class SchemaChecks:
    """`check_schema` for many schemas. The metaschema says of each object what its own keywords may be and that its
    subschemas are schemas, so an object whose keywords look like those of a checked one needs no second check."""

    def __init__(self) -> None:
        self._sound: set[str] = set()

    def check(self, schema: Any) -> None:
        """CatalogError unless `schema` is a valid JSON Schema of draft 2020-12."""
        if not self._is_sound(schema, 0):
            check_schema(schema)  # knows the place and the fault

    def _is_sound(self, schema: Any, depth: int) -> bool:
        if isinstance(schema, bool):
            return True
        if not isinstance(schema, dict) or depth > MAX_DEPTH:
            return False
        outline: Schema = {}
        for key, value in schema.items():
            if key in _UNCONSTRAINED or (key in _PLAIN_TEXTS and isinstance(value, str)):
                continue
            subschemas: Iterable[Any] = ()
            if key in SCHEMA_KEYWORDS:
                outline[key], subschemas = True, (value,)
            elif key in SCHEMA_LISTS and isinstance(value, list):
                outline[key], subschemas = [True] * bool(value), value
            elif key in SCHEMA_MAPS and isinstance(value, dict):
                outline[key] = dict.fromkeys(value, True) if key == "patternProperties" else {}
                subschemas = value.values()
            elif key == "required" and _are_names(value):
                continue
            else:
                outline[key] = value
            if not all(self._is_sound(one, depth + 1) for one in subschemas):
                return False
        text = repr(outline)
        if text not in self._sound:
            try:
                check_schema(outline)
            except CatalogError:
                return False
            self._sound.add(text)
        return True


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value) and len(set(value)) == len(value)


def schema_errors(value: Any, schema: Mapping[str, Any]) -> list[str]:
    """What is wrong with `value` under `schema`, one line a fault; empty if it is valid."""
    faults, problem = _faults(value, schema)
    lines = [f"{error.json_path}: {error.message[:200]}" for error in faults]
    return [*lines, *([f"$: {problem}"] if problem else [])]


def best_fault(value: Any, schema: Mapping[str, Any]) -> str | None:
    """The one fault that says most to whoever wrote `value`, or None if it is valid."""
    from jsonschema.exceptions import best_match

    faults, problem = _faults(value, schema)
    best = best_match(faults)
    return problem or None if best is None else str(best.message)


def _faults(value: Any, schema: Mapping[str, Any]) -> tuple[list[ValidationError], str]:
    """The faults of a value, and why the schema could not be followed to its end, if so."""
    from jsonschema.exceptions import UnknownType
    from referencing import Registry
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import UnknownDialect

    found: list[ValidationError] = []
    registry: Registry[Any] = Registry()
    try:
        validator = _validator_class(any(values_of(schema, "patternProperties")))
        found.extend(validator(schema, registry=registry).iter_errors(value))
    except Unresolvable as error:
        return found, f"the schema refers to {str(error.ref)[:100]!r}, which is not in it; nothing outside is read"
    except UnknownDialect as error:
        return found, f"the schema is of the unknown kind {str(error.uri)[:100]!r}"
    except RecursionError:
        return found, "the schema or the value is nested too deeply to be checked"
    except (TypeError, ValueError, AttributeError, KeyError, UnknownType):
        return found, "the schema is no JSON Schema: a keyword has a value of the wrong type"
    return found, ""


@lru_cache(maxsize=2)
def _validator_class(with_patterns: bool) -> Any:
    """The validator of draft 2020-12 with patterns in linear time and multiples of decimals. `jsonschema` also runs patterns
    to find out what `unevaluatedProperties` means; where a schema has both, that keyword is not checked."""
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend

    changed: dict[str, Any] = {"pattern": _check_pattern, "multipleOf": _check_multiple}
    if with_patterns:
        changed |= {
            "patternProperties": _check_pattern_properties,
            "additionalProperties": _check_additional_properties,
            "unevaluatedProperties": lambda *_: (),
        }
    validator: Any = extend(Draft202012Validator, changed)  # type: ignore[no-untyped-call]
    validator.evolve = _evolved
    return validator


def _evolved(validator: Any, **changes: Any) -> Any:
    """The validator for another schema. `jsonschema` would take the one that a `$schema` inside names, with its patterns."""
    from attrs import evolve

    return evolve(validator, **changes)


def _check_multiple(validator: Any, step: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    """As decimals: divided as floats, 0.07 is no multiple of 0.01."""
    from jsonschema import ValidationError

    if validator.is_type(instance, "number") and not _is_multiple(instance, step):
        yield ValidationError(f"{instance!r} is not a multiple of {step!r}")


def _is_multiple(number: float, step: float) -> bool:
    if not step or (isinstance(number, float) and not math.isfinite(number)):
        return False
    return not (Fraction(number if isinstance(number, int) else repr(number)) % Fraction(repr(step)))


def _check_pattern(validator: Any, pattern: str, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    from jsonschema import ValidationError

    if validator.is_type(instance, "string") and not matches(pattern, instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _check_pattern_properties(validator: Any, patterns: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    if validator.is_type(instance, "object"):
        for pattern, subschema in patterns.items():
            for name, inner in instance.items():
                if is_pattern(pattern) and matches(pattern, name):
                    yield from validator.descend(inner, subschema, path=name, schema_path=pattern)


def _check_additional_properties(validator: Any, more: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    from jsonschema import ValidationError

    if not validator.is_type(instance, "object"):
        return
    patterns = schema.get("patternProperties", {})
    for name, inner in instance.items():
        if name in schema.get("properties", {}) or any(matches(pattern, name) for pattern in patterns):
            continue
        if more is False:
            yield ValidationError(f"Additional properties are not allowed ({name!r} was unexpected)")
        else:
            yield from validator.descend(inner, more, path=name)
