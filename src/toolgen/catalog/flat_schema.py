"""Parameters in the flat form of xLAM, LangChain and Cohere, `{"city": {"type": "str, optional"}}`, as JSON Schema."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]


def flat_schema(declared: Mapping[str, Json]) -> Json:
    """The object schema of parameters in the flat form. Required are those without a default that are not marked."""
    properties, required = {}, []
    for name, parameter in declared.items():
        kind, optional = _python_type(str(parameter.get("type", "any")))
        properties[name] = {**parameter, **kind}
        if "type" not in kind:
            properties[name].pop("type", None)
        if not optional and "default" not in parameter and parameter.get("required") is not False:
            required.append(name)
    return {"type": "object", "properties": properties, "required": required}


def _python_type(text: str) -> tuple[Json, bool]:
    """The schema of a Python annotation as it is written in text, and whether it is marked as optional."""
    text = text.strip()
    plain = re.sub(r",?\s*\boptional\b\.?$", "", text, flags=re.IGNORECASE).strip()
    optional = plain != text
    if match := re.fullmatch(r"(?:typing\.)?Optional\[(.*)\]", plain, flags=re.DOTALL):
        return _python_type(match[1])[0], True
    if match := re.fullmatch(r"(?:typing\.)?(list|set|sequence|iterable)\[(.*)\]", plain, flags=re.I | re.DOTALL):
        return {"type": "array", "items": _python_type(match[2])[0]}, optional
    head = plain.partition("[")[0].removeprefix("typing.").lower()
    if head in ("union", "callable", "any", "") or " or " in plain or "|" in plain:
        return {}, optional
    return {"type": head}, optional
