"""Parameters in the flat form of xLAM, LangChain and Cohere, `{"city": {"type": "str, optional"}}`, as JSON Schema."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from toolgen.catalog.schema import schema_errors
from toolgen.catalog.type_texts import parse_type

Json = dict[str, Any]

_OPTIONAL = re.compile(r",?\s*\boptional\b\.?$", re.IGNORECASE)


def flat_schema(declared: Mapping[str, Json]) -> Json:
    """The object schema of parameters in the flat form, types still as they are written. Required are those without a
    default that are not marked and cannot be null."""
    properties, required = {}, []
    for name, parameter in declared.items():
        written = parameter.get("type", "any")
        text = _OPTIONAL.sub("", written.strip()) if isinstance(written, str) else written
        properties[name] = {**parameter, "type": text}
        optional = isinstance(text, str) and (text != written.strip() or _admits_null(text))
        if not optional and "default" not in parameter and parameter.get("required") is not False:
            required.append(name)
    return {"type": "object", "properties": properties, "required": required}


def _admits_null(text: str) -> bool:
    """Whether a type is `Optional[...]` or `... | None`: this form has no other sign of what may be left out."""
    schema = parse_type(text).schema
    return bool(schema) and not schema_errors(None, schema)
