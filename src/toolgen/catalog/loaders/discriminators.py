"""`discriminator` of OpenAPI: the value that says which of several schemas is meant, written into each of them.

JSON Schema does not know it: schemas that share a parent would all admit the same value. Specification: OpenAPI 3.1.1,
section 4.8.25. Knows no reference but by its text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from toolgen.catalog.schema import Schema, schema_errors


def property_of(discriminator: Any) -> str:
    """The property that holds the value; empty for what is no discriminator of OpenAPI 3."""
    name = discriminator.get("propertyName") if isinstance(discriminator, Mapping) else None
    return name if isinstance(name, str) else ""


def values_for(discriminator: Any, reference: str) -> list[str]:
    """What the property holds for the schema that a `$ref` names: what `mapping` says, else the schema's own name."""
    name = reference.rpartition("/")[2]
    mapping = discriminator.get("mapping")
    found = mapping.items() if isinstance(mapping, Mapping) else ()
    return [str(value) for value, target in found if target in (reference, name)] or [name]


def with_values(schema: Any, name: str, values: Sequence[str]) -> Any:
    """An object schema, or the part of its `allOf` that declares the property, with these values alone. It stays as it is
    where it does not declare the property, or admits none of them there."""
    if not isinstance(schema, dict):
        return schema
    inner = schema.get("properties", {}).get(name)
    if isinstance(inner, dict):
        return {**schema, "properties": {**schema["properties"], name: _narrowed(inner, values)}}
    parts = schema.get("allOf", [])
    place = next(
        (n for n, part in enumerate(parts) if isinstance(part, dict) and name in part.get("properties", {})), None
    )
    if place is None:
        return schema
    return {**schema, "allOf": [*parts[:place], with_values(parts[place], name, values), *parts[place + 1 :]]}


def _narrowed(schema: Schema, values: Sequence[str]) -> Schema:
    allowed = [value for value in values if not schema_errors(value, schema)]
    if not allowed:
        return schema
    rest = {key: value for key, value in schema.items() if key not in ("const", "enum", "default")}
    return rest | ({"const": allowed[0]} if len(allowed) == 1 else {"enum": allowed})
