"""Conversations whose documentation and arguments use random names, so that a model reads instead of remembering.

After Hammer's function masking (arXiv 2410.04587). The tool tokens stay: they are what the model calls a tool by. What gets
another name is what the documentation explains: the tool and the described parameters of its argument object. Names inside a
nested object stay, since the model is shown no description of them. Knows no tokenizer and no model.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from random import Random
from string import ascii_lowercase
from typing import Any, NamedTuple

from toolgen.catalog.catalog import Catalog
from toolgen.catalog.schema import SCHEMA_KEYWORDS, SCHEMA_LISTS, SCHEMA_MAPS, Schema, values_of
from toolgen.catalog.tool import Tool
from toolgen.datasets.messages import actions_of
from toolgen.datasets.trajectory import Message

LENGTH = (4, 7)
"""Fewest and most letters of a random name."""

# Keywords whose schemas hold for the same object as the schema that they stand in.
_IN_PLACE = frozenset({"allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas"})
# Keywords that say more of an object's names than which there are.
_ABOUT_NAMES = frozenset({"patternProperties", "propertyNames", "enum", "const"})
_DEFINITIONS = ("#/$defs/", "#/definitions/")
_IDENTIFIER = re.compile(r"_|\d|[a-z][A-Z]")  # what has it is no word of prose

_Reword = Callable[[str], str]


class Renamed(NamedTuple):
    """A tool under random names, and the new name of each parameter that has one."""

    tool: Tool
    names: Mapping[str, str]

    def arguments(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments of the tool under the new names; valid if they were."""
        return {self.names.get(name, name): value for name, value in arguments.items()}


def renamed(tool: Tool, random: Random) -> Renamed:
    """The tool under random names. A parameter keeps its name if it has no description or a nested object has the name too, and
    all keep theirs if the schema says more of names than which there are, or refers to another place than its definitions."""
    everywhere = Counter(name for schema in _schemas(tool.parameters) for name in _names(schema))
    at_the_top = Counter(name for schema in _schemas(tool.parameters, _IN_PLACE) for name in _names(schema))
    free = _free_names(random, {*everywhere, tool.name})
    other = replace(tool, provider="", name=next(free))
    if not _is_renamable(tool.parameters):
        return Renamed(other, {})
    names = {
        name: next(free)
        for name, schema in tool.properties.items()
        if isinstance(schema, Mapping) and schema.get("description") and at_the_top[name] == everywhere[name]
    }
    reword = _rewording(names, tool.parameters)
    parameters = _with_names(tool.parameters, names, reword)
    return Renamed(replace(other, description=reword(tool.description), parameters=parameters), names)


def renamed_conversation(
    messages: Sequence[Message], catalog: Catalog, seed: str
) -> tuple[list[Message], dict[str, Renamed]]:
    """The messages with the arguments of every call under random names, the same for the same seed, and the tools by id."""
    tools: dict[str, Renamed] = {}
    for message in messages:
        for action, _ in actions_of(message):
            if action in catalog and action not in tools:
                tools[action] = renamed(catalog.get(action), Random(f"{seed}/{action}"))
    return [_renamed_message(message, tools) for message in messages], tools


def _renamed_message(message: Message, tools: Mapping[str, Renamed]) -> Message:
    if not message.get("tool_calls"):
        return message
    calls = []
    for call, (action, arguments) in zip(message["tool_calls"], actions_of(message), strict=True):
        if action in tools:
            text = json.dumps(tools[action].arguments(arguments), ensure_ascii=False)
            call = {**call, "function": {**call["function"], "arguments": text}}
        calls.append(call)
    return {**message, "tool_calls": calls}


def _free_names(random: Random, taken: set[str]) -> Iterator[str]:
    while True:
        name = "".join(random.choices(ascii_lowercase, k=random.randint(*LENGTH)))
        if name not in taken:
            taken.add(name)
            yield name


def _schemas(schema: Any, keywords: frozenset[str] = SCHEMA_KEYWORDS | SCHEMA_LISTS | SCHEMA_MAPS) -> Iterator[Schema]:
    """A schema and those in it, as far as these keywords lead."""
    if not isinstance(schema, Mapping):
        return
    yield dict(schema)
    for key in schema.keys() & keywords:
        value = schema[key]
        inner = value.values() if key in SCHEMA_MAPS else value if key in SCHEMA_LISTS else (value,)
        for one in inner:
            yield from _schemas(one, keywords)


def _names(schema: Schema) -> Iterator[str]:
    """The names of its own object that a schema speaks of, with repetitions."""
    yield from schema.get("properties", ())
    yield from schema.get("required", ())
    yield from schema.get("dependentSchemas", ())
    for name, others in schema.get("dependentRequired", {}).items():
        yield from (name, *others)


def _is_renamable(schema: Mapping[str, Any]) -> bool:
    references = [*values_of(schema, "$ref"), *values_of(schema, "$dynamicRef")]
    inside = all(isinstance(one, str) and one.startswith(_DEFINITIONS) for one in references)
    return inside and not any(part.keys() & _ABOUT_NAMES for part in _schemas(schema, _IN_PLACE))


def _with_names(schema: Any, names: Mapping[str, str], reword: _Reword) -> Any:
    """The schema of the argument object under other names."""
    if not isinstance(schema, Mapping):
        return schema
    result: Schema = {}
    for key, value in schema.items():
        if key == "properties":
            value = {names.get(name, name): _reworded(one, reword) for name, one in value.items()}
        elif key == "required":
            value = [names.get(name, name) for name in value]
        elif key == "dependentRequired":
            value = {names.get(name, name): [names.get(one, one) for one in others] for name, others in value.items()}
        elif key == "dependentSchemas":
            value = {names.get(name, name): _with_names(one, names, reword) for name, one in value.items()}
        elif key in _IN_PLACE:
            value = (
                [_with_names(one, names, reword) for one in value]
                if key in SCHEMA_LISTS
                else _with_names(value, names, reword)
            )
        result[key] = value
    return result


def _reworded(schema: Any, reword: _Reword) -> Any:
    if not isinstance(schema, Mapping) or not isinstance(schema.get("description"), str):
        return schema
    return {**schema, "description": reword(schema["description"])}


def _rewording(names: Mapping[str, str], schema: Mapping[str, Any]) -> _Reword:
    """Puts the new names into a text that speaks of parameters: where an old one is no word of prose, or stands in backticks.
    One that is also a value may be meant as the value."""
    values = {one for part in _schemas(schema) for one in _values(part) if isinstance(one, str)}
    patterns = [
        rf"(?<![\w-]){re.escape(name)}(?![\w-])" if _IDENTIFIER.search(name) else rf"(?<=`){re.escape(name)}(?=`)"
        for name in names
        if name not in values
    ]
    if not patterns:
        return str
    pattern = re.compile("|".join(patterns))
    return lambda text: pattern.sub(lambda found: names[found[0]], text)


def _values(schema: Schema) -> list[Any]:
    """The values that a schema itself names."""
    return [*schema.get("enum", ()), *schema.get("examples", ()), schema.get("default"), schema.get("const")]
