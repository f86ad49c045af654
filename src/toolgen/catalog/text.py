"""Tool to text: what a baseline indexes, what stage 1 shows, and what the model reads before it writes arguments.

Short on purpose: a model of 135M parameters reads it, and every token of it is paid for. Knows no tokenizer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from toolgen.catalog.tool import Tool

MAX_CHOICES = 12  # values of an enumeration that are spelled out
ELLIPSIS = "..."
MAX_DEFAULT = 60  # characters
BRIEF_DESCRIPTION = 320  # characters
BRIEF_PARAMETERS = 12  # names
STATEMENT = 200  # characters


def display_name(tool: Tool) -> str:
    """`provider.name`; the name alone where the provider is only the name of the dataset and says nothing."""
    if not tool.provider or tool.provider == tool.source.get("dataset"):
        return tool.name
    return f"{tool.provider}.{tool.name}"


def document(tool: Tool, *, defaults: bool = False) -> str:
    """The whole tool: its name, its description, and one line `- name (type, required): description` a parameter. `defaults`
    are for who writes arguments; no search is for them."""
    parts = (display_name(tool), _one_line(tool.description), _parameters(tool, defaults=defaults))
    return "\n".join(part for part in parts if part)


def views(tool: Tool) -> dict[str, str]:
    """The tool seen in several ways: `document`, `name`, `description`, `parameters`; an empty view is left out."""
    every = {
        "document": document(tool),
        "name": display_name(tool),
        "description": _one_line(tool.description),
        "parameters": _parameters(tool),
    }
    return {key: text for key, text in every.items() if text}


def brief(tool: Tool, *, described: bool = True, listed: bool = True) -> str:
    """The tool in about 60 tokens, which a learned row is made from: its name, the beginning of its description, and the names
    of its parameters. The last two can be left out."""
    description = _one_line(tool.description)[:BRIEF_DESCRIPTION] if described else ""
    names = ", ".join(list(tool.properties)[:BRIEF_PARAMETERS]) if listed else ""
    return "\n".join(part for part in (display_name(tool), description, names) if part)


def statement(tool: Tool) -> str:
    """The beginning of the description, or of all there is where a tool has none: of its documentation, the most like a
    request."""
    return (_one_line(tool.description) or document(tool))[:STATEMENT]


def spaced_words(text: str) -> str:
    """A text in small letters with identifiers as words and a space before each: `getCurrentWeather` becomes
    ` get current weather`, which shares sub-tokens with a request."""
    plain = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", re.sub(r"[_.]", " ", text))
    return " " + " ".join(plain.lower().split())


def numbered(tools: Sequence[Tool], budget: int) -> str:
    """A list for a prompt, one line `1. name: description` a tool. Each line gets an equal share of `budget` characters and
    is cut to it."""
    lines = [
        f"{number}. " + ": ".join(part for part in (display_name(tool), _one_line(tool.description)) if part)
        for number, tool in enumerate(tools, start=1)
    ]
    width = max(budget // max(len(lines), 1) - 1, len(ELLIPSIS))  # 1 for the end of the line
    return "\n".join(line if len(line) <= width else line[: width - len(ELLIPSIS)] + ELLIPSIS for line in lines)


def _parameters(tool: Tool, *, defaults: bool = False) -> str:
    required = set(tool.required)
    return "\n".join(_parameter(name, schema, name in required, defaults) for name, schema in tool.properties.items())


def _parameter(name: str, schema: Any, required: bool, defaults: bool) -> str:
    default = _default(schema) if defaults else ""
    fields = [part for part in (_type(schema), "required" if required else "", _choices(schema), default) if part]
    head = f"- {name} ({', '.join(fields)})" if fields else f"- {name}"
    description = _one_line(str(schema.get("description") or "")) if isinstance(schema, Mapping) else ""
    return f"{head}: {description}" if description else head


def _type(schema: Any) -> str:
    """`string`, `array of number`, `object {size, milk}`, `string or integer`, `any`."""
    if not isinstance(schema, Mapping):
        return "any"
    if alternatives := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(dict.fromkeys(_type(alternative) for alternative in alternatives))
    if parts := schema.get("allOf"):
        return " and ".join(dict.fromkeys(_type(part) for part in parts))
    if reference := schema.get("$ref"):
        return str(reference).rpartition("/")[2] or "any"
    declared = schema.get("type", "any")
    name = " or ".join(map(str, declared)) if isinstance(declared, (list, tuple)) else str(declared)
    if name == "array" and schema.get("items"):
        return f"array of {_type(schema['items'])}"
    if name == "object" and schema.get("properties"):
        return f"object {{{', '.join(schema['properties'])}}}"
    return name


def _choices(schema: Any) -> str:
    if not isinstance(schema, Mapping):
        return ""
    values = schema.get("enum") or (schema["items"].get("enum") if isinstance(schema.get("items"), Mapping) else None)
    if not values:
        return ""
    shown = [value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in values]
    return "one of " + " | ".join(shown[:MAX_CHOICES]) + (" | ..." if len(shown) > MAX_CHOICES else "")


def _default(schema: Any) -> str:
    """`default metric`; nothing where the description tells it or there is nothing to tell."""
    if not isinstance(schema, Mapping) or schema.get("default") in (None, "", [], {}):
        return ""
    value, description = schema["default"], str(schema.get("description") or "").lower()
    text = _one_line(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    if "default" in description and text.lower() in description:
        return ""
    return f"default {text if len(text) <= MAX_DEFAULT else text[:MAX_DEFAULT] + ELLIPSIS}"


def _one_line(text: str) -> str:
    return " ".join(text.split())
