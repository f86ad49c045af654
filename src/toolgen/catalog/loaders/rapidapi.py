"""Reads one API record as ToolBench writes it: a RapidAPI endpoint with parameter lists and an example response.

    {"category_name", "tool_name", "api_name", "api_description", "required_parameters": [...], "optional_parameters": [...],
     "method", "template_response"}

A tool of ToolBench is a provider here, an API of it a tool. Corpora also hold the record as one line of text, see
`parse_api_text`. Knows no file layout. Source: ToolLLM, arXiv 2307.16789.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from toolgen.catalog.naming import tool_id
from toolgen.catalog.normalization import normalize_schema
from toolgen.catalog.schema import Note, Schema
from toolgen.catalog.tool import Tool
from toolgen.errors import CatalogError, InputError
from toolgen.foreign.data import clean, parse_json

# RapidAPI's types beside those that every JSON Schema dialect knows.
_TEXT_TYPES = (
    *("date", "time", "datetime", "datepicker"),
    *("enum", "select", "binary", "file", "geopoint", "credentials"),
)
_RESPONSE_TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "NoneType": "null"}
_LIST_OF = re.compile(r"(?:empty list|list of (?P<kind>\w+))")
_MAX_RESPONSE_DEPTH = 24

_API_TEXT = re.compile(
    r"category_name:(?P<category_name>.*?), tool_name:(?P<tool_name>.*?), api_name:(?P<api_name>.*?), "
    r"api_description:(?P<api_description>.*?), required_params: (?P<required_parameters>\[.*?\]), "
    r"optional_params: (?P<optional_parameters>\[.*?\]), return_schema: (?P<template_response>.*)",
    re.DOTALL,
)
_JSON_FIELDS = ("required_parameters", "optional_parameters", "template_response")


def api_tool(record: Any, *, dataset: str, on_note: Note | None = None) -> Tool:
    """The tool of one record. CatalogError if it has no name; what cannot be expressed is left out and told to
    `on_note`, one line each, that begins with the tool's id."""
    record = clean(record)
    if not isinstance(record, dict):
        raise CatalogError(f"expected an API record, got {type(record).__name__}")
    provider, name = (_text(record.get(key)) for key in ("tool_name", "api_name"))
    if not name:
        raise CatalogError(f"expected an API record with an 'api_name', got {str(record)[:80]!r}")
    identifier = tool_id(provider, name)

    def note(line: str) -> None:
        if on_note:
            on_note(f"{identifier}: {line}")

    return Tool(
        id=identifier,
        provider=provider,
        name=name,
        category=_text(record.get("category_name")),
        description=_text(record.get("api_description")),
        parameters=parameter_schema(record, note),
        returns=response_schema(record.get("template_response")),
        source={"dataset": dataset, "format": "rapidapi", "name": name},
    )


def parse_api_text(text: str) -> dict[str, Any] | None:
    """The record behind a document such as `category_name:Food, tool_name:Recipes, api_name:Search, ...,
    return_schema: {...}` of ToolBench's retrieval corpus; None for any other text."""
    if not (match := _API_TEXT.fullmatch(text.strip())):
        return None
    record: dict[str, Any] = match.groupdict()
    try:
        return record | {key: parse_json(record[key] or "null", key) for key in _JSON_FIELDS}
    except InputError:
        return None


def parameter_schema(record: Mapping[str, Any], note: Note) -> Schema:
    """The argument schema of the two parameter lists. A default of RapidAPI is the value that its page tries, so it
    becomes an example."""
    properties: dict[str, Any] = {}
    required = []
    for key in ("required_parameters", "optional_parameters"):
        for name, schema in _parameters(record.get(key), note):
            if name in properties:
                note(f"parameter {name!r} is declared again; the first declaration was kept")
                continue
            properties[name] = schema
            required += [name] if key == "required_parameters" else []
    return normalize_schema({"type": "object", "properties": properties, "required": required}, on_note=note)


def response_schema(template: Any, depth: int = 0) -> Schema | None:
    """The JSON Schema of a response template (`{"id": "int", "tags": ["str"]}`); None where it says nothing."""
    if depth > _MAX_RESPONSE_DEPTH:
        return {}
    if isinstance(template, dict) and template:
        members = {str(k): response_schema(v, depth + 1) or {} for k, v in template.items() if k != "_list_length"}
        return {"type": "object", "properties": members}
    if isinstance(template, list) and template:
        if isinstance(template[0], str) and template[0].startswith("list of "):
            return response_schema(template[0], depth)  # written as ["list of str with length 3"]
        items = response_schema(template[0], depth + 1)
        return {"type": "array", "items": items} if items else {"type": "array"}
    if not isinstance(template, str) or not template:
        return None
    if listed := _LIST_OF.match(template):
        kind = _RESPONSE_TYPES.get(listed["kind"] or "")
        return {"type": "array", "items": {"type": kind}} if kind else {"type": "array"}
    return {"type": _RESPONSE_TYPES[template]} if template in _RESPONSE_TYPES else {}


def _parameters(declared: Any, note: Note) -> Iterator[tuple[str, Schema]]:
    if declared is None:
        return
    if not isinstance(declared, list):
        note(f"a parameter list is a {type(declared).__name__} and was left out")
        return
    for parameter in declared:
        name = _text(parameter.get("name")) if isinstance(parameter, dict) else ""
        if not name:
            note(f"a parameter without a name was left out: {str(parameter)[:60]!r}")
            continue
        yield name, _parameter(parameter)


def _parameter(parameter: Mapping[str, Any]) -> Schema:
    foreign = _text(parameter.get("type"))
    word = foreign.lower().split(" ")[0]
    schema: Schema = {"type": "string" if word in _TEXT_TYPES else word}
    if description := _text(parameter.get("description")):
        schema["description"] = description
    if word in ("date", "time") and " " in foreign:
        schema["description"] = f"{description} {foreign.partition(' ')[2]}".strip()  # the layout, as in (YYYY-MM-DD)
    if (example := _example(parameter.get("default"), word)) is not None:
        schema["examples"] = [example]
    return schema


def _example(default: Any, word: str) -> Any:
    """The value in the parameter's own type: ToolBench writes every default as text."""
    if default in (None, ""):
        return None
    if isinstance(default, str) and word in ("number", "integer"):
        try:
            value = float(default)
            return int(value) if value == int(value) else value
        except (ValueError, OverflowError):
            return None
    if isinstance(default, str) and word == "boolean":
        return {"true": True, "false": False}.get(default.lower())
    return default


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""
