"""Texts in `Annotated` (a plain string, PEP 727's `Doc`) as descriptions in a JSON Schema, wherever they stand in a type."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, NotRequired, Required, Union, get_args, get_origin

import typing_extensions

from toolgen.catalog.schema import Schema

_WRAPPERS = (Required, NotRequired, typing_extensions.ReadOnly, typing.Final)
_UNIONS = (Union, types.UnionType)


def describe(schema: Schema, hint: Any) -> None:
    """Writes the texts of a type into the schema that pydantic made of it; what the schema describes already stays."""
    if text := text_of(hint):
        schema.setdefault("description", text)
    members = _members(hint)
    parts = [one for one in schema.get("anyOf", ()) if one != {"type": "null"}] or [schema]
    if len(members) == 1:
        _describe_inside(parts[0], members[0])
    elif len(members) == len(parts):
        for part, member in zip(parts, members, strict=True):
            describe(part, member)


def _describe_inside(schema: Schema, hint: Any) -> None:
    """The same for what a list or a map holds."""
    arguments = get_args(_bare(hint))
    for part, argument in zip(schema.get("prefixItems", ()), arguments, strict=False):
        describe(part, argument)
    for key, place in (("items", 0), ("additionalProperties", 1)):
        if isinstance(schema.get(key), Mapping) and len(arguments) > place:
            describe(schema[key], arguments[place])
    if "additionalProperties" in schema and len(arguments) == 2 and (text := text_of(arguments[0])):
        schema.setdefault("propertyNames", {}).setdefault("description", text)


def text_of(hint: Any) -> str:
    """The text of a value, also behind `| None` and `NotRequired`; empty if there is none."""
    origin = get_origin(hint)
    if origin is Annotated:
        for one in get_args(hint)[1:]:
            text = one if isinstance(one, str) else getattr(one, "documentation", None)
            if isinstance(text, str) and text.strip():
                return " ".join(text.split())
    if origin is Annotated or origin in _WRAPPERS:
        return text_of(get_args(hint)[0])
    if origin in _UNIONS and len(members := _members(hint)) == 1:
        return text_of(members[0])
    return ""


def _members(hint: Any) -> list[Any]:
    """The types that a value may have beside null."""
    bare = _bare(hint)
    return [one for one in get_args(bare) if one is not types.NoneType] if get_origin(bare) in _UNIONS else [bare]


def _bare(hint: Any) -> Any:
    """The type itself."""
    while get_origin(hint) is Annotated or get_origin(hint) in _WRAPPERS:
        hint = get_args(hint)[0]
    return hint
