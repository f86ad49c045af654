"""Tool schemas in the words that the grammar compiler knows, with undeclared keys forbidden.

JSON Schema says more than llguidance can follow token by token. What means the same in simpler keywords is written in those;
what does not is left out at its place alone, and noted. Every reference becomes one to a definition of its own, so that a
definition can be closed where it stands alone and open where it is one of several schemas that hold together.
Knows no tokenizer and no tool.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from toolgen.catalog.patterns import matches
from toolgen.decoding.references import Json, References
from toolgen.decoding.rewriting import rewritten

MAX_DEFINITIONS = 2000
# Schemas that hold at the place of the object itself.
IN_PLACE = ("allOf", "anyOf", "oneOf")
_OPEN = ("patternProperties", "propertyNames")
_SPEAKING = ("properties", "required", "patternProperties", "propertyNames", "minProperties",
             "unevaluatedProperties", "if", "not", "$ref", *IN_PLACE)  # fmt: skip
_NESTED = frozenset({"properties", "patternProperties", "additionalProperties", "items", "prefixItems"})
EVERY_NAME = None


class Relaxed(NamedTuple):
    """A keyword that the grammar does not hold, and where."""

    place: str
    keyword: str


@dataclass(frozen=True)
class Lowered:
    """A schema for the compiler; `relaxed` is what it lacks, empty if it means the same."""

    schema: Json
    relaxed: tuple[Relaxed, ...]


class _Form(NamedTuple):
    """How a schema is lowered. `closed`: undeclared keys are forbidden but for the names in `extra`. Other schemas at the same
    place declare the names in `shared` too (None: any name), so what is nested under those stays open."""

    closed: bool = True
    extra: frozenset[str] = frozenset()
    shared: frozenset[str] | None = frozenset()


_OWN = _Form()
_PART = _Form(closed=False, shared=EVERY_NAME)


def lowered(schema: Mapping[str, Any]) -> Lowered:
    """The schema of an argument object for the compiler.

    JSON Schema admits undeclared keys by default; a call with one is legal but never meant. So keys that nothing at their
    place declares are forbidden, unless the schema speaks about them itself or declares none; the argument object
    takes none unless it says so.
    """
    lowering = _Lowering(schema)
    whole = lowering.lower({**schema, "type": "object"}, "", _OWN)
    speaks = schema.get("additionalProperties", False) is not False or any(map(schema.get, _SPEAKING))
    if not isinstance(whole, dict) or not speaks:
        whole = {"type": "object", "additionalProperties": False}
    definitions = lowering.definitions()
    return Lowered({**whole, "$defs": definitions} if definitions else whole, tuple(dict.fromkeys(lowering.relaxed)))


class _Lowering:
    """One pass over a schema."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self.relaxed: list[Relaxed] = []
        self._references = References(root)
        self._names: dict[tuple[int, _Form], str] = {}
        self._waiting: list[tuple[str, Any, str, _Form]] = []

    def lower(self, schema: Any, place: str, form: _Form) -> Any:
        """The schema at `place` in the words of the compiler."""
        if not isinstance(schema, Mapping):
            return schema
        simple = rewritten(
            schema, self._references, lambda keyword: self.relaxed.append(Relaxed(place or "/", keyword))
        )
        if simple is None:
            return False
        if simple.keys() == {"$ref"}:
            return self._reference(simple["$ref"], place, form)
        counts: Counter[str] = Counter()
        parts: dict[int, Mapping[str, Any]] = {}
        is_open = self._declared(simple, counts, parts)
        shared = form.shared
        if len(parts) > 1 and (any(map(_has_keyed, parts.values())) or sum(map(_has_items, parts.values())) > 1):
            shared = EVERY_NAME
        elif shared is not EVERY_NAME:
            shared |= {name for name, count in counts.items() if count > 1}
        pushed = self._alternatives(simple, place, form, counts, is_open, shared)
        if pushed is not None:
            return pushed
        result = self._keywords(simple, place, shared)
        if form.closed and not is_open and counts and "additionalProperties" not in result:
            _close(result, form.extra.union(counts))
        return result

    def definitions(self) -> Json:
        """All that was referred to, by name."""
        done: Json = {}
        while self._waiting:
            name, schema, place, form = self._waiting.pop()
            done[name] = self.lower(schema, place, form)
        return done

    def _reference(self, reference: Any, place: str, form: _Form) -> Json:
        target = self._references.find(reference)
        if target is None or len(self._names) > MAX_DEFINITIONS:
            self.relaxed.append(Relaxed(place or "/", "$ref"))
            return {}
        key = (id(target), form)
        if key not in self._names:
            self._names[key] = str(len(self._names))
            self._waiting.append((self._names[key], target, str(reference), form))
        return {"$ref": f"#/$defs/{self._names[key]}"}

    def _alternatives(
        self, schema: Json, place: str, form: _Form, counts: Counter[str], is_open: bool, shared: frozenset[str] | None
    ) -> Json | None:
        """A schema that is nothing but alternatives: each is closed by itself, with the names of all; None if it is more."""
        if "anyOf" not in schema or schema.keys() - {"anyOf", "type"} or not form.closed:
            return None
        objects = [one for one in schema["anyOf"] if "object" in self._references.types(one)]
        inner = form if len(objects) < 2 else _Form(not is_open, form.extra.union(counts), shared)
        branches = [self.lower(one, f"{place}/anyOf/{i}", inner) for i, one in enumerate(schema["anyOf"])]
        return {**schema, "anyOf": branches}

    def _keywords(self, schema: Json, place: str, shared: frozenset[str] | None) -> Json:
        """The schema with what is in it lowered."""
        patterns = schema.get("patternProperties", ())
        result: Json = {"properties": {}} if "properties" in schema else {}
        part = _Form(closed=False, shared=shared)
        if shared is not EVERY_NAME:
            shared |= {name for name in schema.get("properties", ()) if any(matches(one, name) for one in patterns)}
        nested = _PART if shared is EVERY_NAME else _OWN
        for key, value in schema.items():
            below = f"{place}/{key}"
            if key in IN_PLACE:
                result[key] = [self.lower(one, f"{below}/{i}", part) for i, one in enumerate(value)]
            elif key == "properties":
                result[key] = {
                    name: self.lower(one, f"{below}/{name}", _PART if shared is EVERY_NAME or name in shared else _OWN)
                    for name, one in value.items()
                }
            elif key == "$ref":
                result["$ref"] = self._reference(value, place, part).get("$ref")
                if result["$ref"] is None:
                    del result["$ref"]
            elif key == "patternProperties":
                named = _PART if "properties" in schema else nested
                result[key] = {name: self.lower(one, f"{below}/{name}", named) for name, one in value.items()}
            elif key == "prefixItems":
                result[key] = [self.lower(one, f"{below}/{i}", nested) for i, one in enumerate(value)]
            elif key in _NESTED:
                result[key] = self.lower(value, below, nested)
            else:
                result[key] = value
        return result

    def _declared(self, schema: Any, counts: Counter[str], parts: dict[int, Mapping[str, Any]]) -> bool:
        """Counts by how many of the schemas that hold at one place, the `parts`, each name is declared; whether one of them
        speaks of other names."""
        if not isinstance(schema, Mapping) or id(schema) in parts:
            return False
        parts[id(schema)] = schema
        names = schema.get("properties")
        if isinstance(names, Mapping):
            counts.update({name: one is not True for name, one in names.items() if one is not False})
        counts.update(dict.fromkeys(schema.get("required") or (), 0))
        is_open = any(key in schema for key in _OPEN)
        is_open |= any(schema.get(key, False) is not False for key in ("additionalProperties", "unevaluatedProperties"))
        for key in IN_PLACE:
            for one in schema.get(key) or ():
                is_open |= self._declared(one, counts, parts)
        for one in (*map(schema.get, ("if", "then", "else")), *(schema.get("dependentSchemas") or {}).values()):
            is_open |= self._declared(one, counts, parts)
        if "$ref" in schema:
            target = self._references.find(schema["$ref"])
            is_open |= target is None or self._declared(target, counts, parts)
        return is_open


def _has_items(schema: Mapping[str, Any]) -> bool:
    return "items" in schema or "prefixItems" in schema


def _has_keyed(schema: Mapping[str, Any]) -> bool:
    """Whether a schema says something of the values of keys that it does not name."""
    return any(isinstance(schema.get(key), Mapping) for key in ("patternProperties", "additionalProperties"))


def _close(schema: Json, names: frozenset[str]) -> None:
    """Forbids other keys than these. The compiler writes keys in the order in which it meets them: those that the schema itself
    declares come first, as in the documentation that the model is shown, then those of its parts."""
    own = schema.get("properties", {})
    every = {**own, **dict.fromkeys(sorted(names - own.keys()), True)}
    if any(key in schema for key in (*IN_PLACE, "$ref")):
        parts = schema.pop("allOf", [])
        schema["allOf"] = [*parts, {"properties": dict.fromkeys(every, True), "additionalProperties": False}]
    else:
        schema |= {"properties": every, "additionalProperties": False}


def subschemas(schema: Json, definitions: Json) -> list[tuple[tuple[Any, ...], Json]]:
    """The schemas directly inside one, and what it refers to, each with the way to it; booleans are left out."""
    found: list[tuple[tuple[Any, ...], Any]] = []
    for key, value in schema.items():
        if key in ("properties", "patternProperties"):
            found += [((key, name), one) for name, one in value.items()]
        elif key in (*IN_PLACE, "prefixItems"):
            found += [((key, place), one) for place, one in enumerate(value)]
        elif key in _NESTED:
            found.append(((key,), value))
        elif key == "$ref":
            name = value.rpartition("/")[2]
            found.append((("$defs", name), definitions[name]))
    return [(way, one) for way, one in found if isinstance(one, dict)]


def replaced(schema: Any, way: tuple[Any, ...], new: Json) -> Any:
    """The schema with another one at the end of the way."""
    if not way:
        return new
    if isinstance(schema, list):
        return [replaced(one, way[1:], new) if place == way[0] else one for place, one in enumerate(schema)]
    return {key: replaced(one, way[1:], new) if key == way[0] else one for key, one in schema.items()}
