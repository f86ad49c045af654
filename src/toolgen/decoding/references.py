"""What the references of a schema lead to, and which types it admits. Nothing outside of it is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from toolgen.catalog.schema import pointed

Json = dict[str, Any]

TYPES = ("null", "boolean", "number", "string", "array", "object")
EVERY_TYPE = frozenset(TYPES)
MAX_STEPS = 20_000


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
        return pointed(reference, self._root)

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
            for key in ("$anchor", "$dynamicAnchor"):
                if isinstance(node.get(key), str):
                    self._anchors[node[key]] = node
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


def listed_values(schema: Mapping[str, Any]) -> Sequence[Any] | None:
    """The values that a schema lists."""
    return [schema["const"]] if "const" in schema else schema.get("enum")
