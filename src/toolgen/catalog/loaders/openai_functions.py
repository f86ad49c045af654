"""Reads tool lists in OpenAI's form: JSON or JSON lines.

Accepted records: `{"type": "function", "function": {"name", "description", "parameters"}}` (chat completions), the same
fields flat beside `"type": "function"` (responses), and bare function objects; in a list, under the key `tools` or
`functions`, or one a line. Their relatives, too: what MCP lists (`inputSchema`), Gemini's `functionDeclarations`, Bedrock's
`toolSpec`, LlamaIndex's `metadata`, the AI SDK's map of tools, and the flat maps of parameters of LangChain (`args`), Cohere
(`parameter_definitions`) and xLAM. A schema may be a text of JSON. Another key that could hold arguments is named in a
note. Only reads: nothing is called, no reference is followed.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from toolgen.catalog.flat_schema import flat_schema
from toolgen.catalog.loaders.common import LoadedTools
from toolgen.catalog.loaders.json_records import described_tool, load_tool_records
from toolgen.catalog.tool import Tool
from toolgen.errors import CatalogError, InputError
from toolgen.foreign.data import Note, parse_json


def load_openai_functions(path: Path, *, provider: str | None = None) -> LoadedTools:
    """The tools of one file; `provider` defaults to the file's name without its ending.

    A record that is no function, or has no name, is a loss with its reason. InputError if the file cannot be read or
    is neither JSON nor JSON lines.
    """
    return load_tool_records(path, "openai", _tool, provider)


SCHEMAS = (
    "parameters",
    "input_schema",
    "inputSchema",
    "parametersJsonSchema",
    "args_schema",
    "parameters_json_schema",
    "arguments",
    "fn_schema",
    "fn_schema_str",
)
"""Keys of an argument schema, the usual one first. It may be a text of JSON."""
INNER = ("json", "jsonSchema")
"""Keys of the schema in what Bedrock and the AI SDK put around it."""
MAPS = ("args", "parameter_definitions")
"""Keys of a map from names to parameters."""
WRAPPERS = ("function", "toolSpec", "metadata")
DESCRIPTIVE = frozenset(
    {"annotations", "_meta", "metadata", "outputSchema", "response", "returns", "execution", "cache_control"}
)
"""Keys with objects that are no arguments."""
_LIKE_ARGUMENTS = re.compile(r"schema|param|arg", re.IGNORECASE)


def _tool(record: Any, provider: str, notes: list[str]) -> Tool:
    function = function_of(record)
    return described_tool(function, parameters_of(function, notes.append), provider, "openai", notes)


def function_of(record: Any) -> dict[str, Any]:
    """The function in a record, without what wraps it; CatalogError if it is none."""
    if not isinstance(record, dict):
        raise CatalogError(f"expected a function object, got {type(record).__name__}")
    for key in WRAPPERS:
        if isinstance(record.get(key), dict) and not (key in DESCRIPTIVE and "name" in record):
            return dict(record[key])
    if record.get("type", "function") not in ("function", "custom"):
        raise CatalogError(f"type {record['type']!r} is not a function")
    return record


def parameters_of(function: dict[str, Any], on_note: Note) -> Any:
    """The argument schema of a function; None where it has none."""
    key = next((key for key in SCHEMAS if function.get(key) is not None), "")
    schema = function.get(key)
    if isinstance(schema, str):
        try:
            schema = parse_json(schema, key)
        except InputError:
            on_note(f"{function.get('name')}: {key!r} is a text that is not JSON; taken as no parameters")
            return None
    if isinstance(schema, dict):
        schema = next((schema[key] for key in INNER if isinstance(schema.get(key), dict)), schema)
    if schema is not None:
        return flat_schema(schema) if _is_flat(schema) else schema
    for key in MAPS:
        if _is_flat(function.get(key)):
            return flat_schema(function[key])
    for key, value in function.items():
        is_object = isinstance(value, dict) and value and key not in DESCRIPTIVE
        if is_object or (isinstance(value, str) and value.strip() and _LIKE_ARGUMENTS.search(key)):
            on_note(
                f"{function.get('name')}: {key!r} is not read; arguments stand under {', '.join(SCHEMAS[:3])} or {MAPS[0]}"
            )
    return None


def _is_flat(value: Any) -> bool:
    """Whether this maps names to parameters, and is no schema: every value describes one, and none is called `type`."""
    return (
        isinstance(value, dict)
        and bool(value)
        and not {"properties", "$ref", "allOf", "anyOf", "oneOf"} & value.keys()
        and all(
            isinstance(one, dict) and {"type", "description", "title", "default"} & one.keys() for one in value.values()
        )
    )
