"""What the loaders of the training sets share: their result, compressed files, tools from foreign descriptions."""

from __future__ import annotations

import ast
import csv
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from toolgen.catalog.flat_schema import flat_schema
from toolgen.catalog.loaders.report import LoadReport, Loss, lines_lost
from toolgen.catalog.merging import merge_schemas
from toolgen.catalog.naming import tool_id
from toolgen.catalog.normalization import normalize_schema
from toolgen.catalog.tool import Tool
from toolgen.datasets.training_sets.conversation import Conversation, Step
from toolgen.errors import DatasetError, ToolgenError
from toolgen.foreign.data import decode, line_values, read_gzip

Json = Any
Result = TypeVar("Result")

RARE = 50
"""A parameter that fewer than one call in RARE gives is not among those of an undescribed tool."""
SURE = 10
"""Calls that must all give a parameter before it counts as required."""


@dataclass(frozen=True, kw_only=True)
class LoadedSet:
    """A training set as it was read. `tools` are all that the set describes, whether a conversation offers them or not."""

    conversations: tuple[Conversation, ...] = ()
    tools: tuple[Tool, ...] = ()
    report: LoadReport


NOT_IN_FORM = (ToolgenError, LookupError, TypeError, AttributeError, ValueError, SyntaxError, RecursionError, csv.Error)
"""What reading a record raises that is not as its publisher's others are."""


class Unusable(Exception):
    """Why a record cannot be taken, in a few words."""


@dataclass
class Intake:
    """Takes the records of one set; each becomes a conversation or a loss with its reason."""

    name: str
    conversations: list[Conversation] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def records(self, path: Path) -> Iterator[tuple[str, Json]]:
        """An id (file and line) and the JSON value of each line of a `.jsonl.gz` file. A line that is none is a loss;
        DatasetError if the file is missing, InputError if it is damaged."""
        stem = path.name.removesuffix(".jsonl.gz")
        losses = lines_lost(path.name, self.losses)
        for number, value in line_values(_unpacked(path), str(path), losses):
            yield f"{stem}-{number}", value

    def take(self, records: Iterable[tuple[str, Json]], read: Callable[[str, Json], Conversation]) -> None:
        """Reads each record (its id, its content) with `read`; one that is damaged does not cost the others."""
        for identifier, record in records:
            conversation = self.attempt(identifier, _read_checked, read, identifier, record)
            if conversation is not None:
                self.conversations.append(conversation)

    def take_undescribed(
        self,
        records: Iterable[tuple[str, Json]],
        read: Callable[[str, Json], Conversation],
        describe: Callable[[str, Json], Tool],
        fewest: int = 1,
    ) -> tuple[Tool, ...]:
        """The same for a set that calls tools which it does not describe: `read` leaves their names in the calls.

        The tools are those that are called `fewest` times or more; `describe` makes each of its name and the schema that
        admits its calls. Every conversation offers all of them.
        """
        found = [(i, one) for i, record in records if (one := self.attempt(i, read, i, record)) is not None]
        examples: dict[str, list[Mapping[str, Json]]] = {}
        for _, conversation in found:
            for action in conversation.actions:
                examples.setdefault(action.tool, []).append(action.arguments)
        tools = {
            name: describe(name, observed_schema(given)) for name, given in examples.items() if len(given) >= fewest
        }
        self.take(found, lambda _, conversation: _with_tools(conversation, tools, fewest))
        return tuple(tools.values())

    def attempt(self, identifier: str, read: Callable[..., Result], *what: Json) -> Result | None:
        """What `read` makes of `what`, or None and a loss if the record is not as its publisher's others are."""
        try:
            return read(*what)
        except Unusable as error:
            reason = str(error)
        except NOT_IN_FORM as error:
            reason = f"not in the publisher's form ({type(error).__name__}: {str(error)[:80]})"
        self.losses.append(Loss(identifier, reason))
        return None

    def relax(self) -> None:
        """Requires of each tool only what every call of it gives: for sets whose files require every parameter."""
        given: dict[str, set[str]] = {}
        for action in (action for conversation in self.conversations for action in conversation.actions):
            given[action.tool] = given.get(action.tool, set(action.arguments)) & set(action.arguments)
        relaxed = {}
        for conversation in self.conversations:
            for tool in conversation.tools:
                if id(tool) not in relaxed:
                    required = [name for name in tool.required if name in given.get(tool.id, tool.required)]
                    changed = replace(tool, parameters={**tool.parameters, "required": required})
                    relaxed[id(tool)] = changed if required != list(tool.required) else tool
        count = len({tool.id for tool in relaxed.values() if tool.id in given})
        self.notes.append(
            f"parameters that a call leaves out are not required, whatever the file says ({count} tools called)"
        )
        self.conversations = [
            replace(one, tools=tuple(relaxed[id(tool)] for tool in one.tools)) for one in self.conversations
        ]

    def loaded(self, tools: Iterable[Tool] = ()) -> LoadedSet:
        """The result."""
        offered = {tool.id: tool for conversation in self.conversations for tool in conversation.tools}
        described = tuple(offered.get(tool.id, tool) for tool in tools)
        report = LoadReport(
            source=self.name,
            loaded=len(described),
            losses=tuple(self.losses),
            notes=tuple(self.notes),
            counts={"conversations": len(self.conversations)},
        )
        return LoadedSet(conversations=tuple(self.conversations), tools=described, report=report)


def checked(conversation: Conversation) -> Conversation:
    """The conversation with its arguments in their schema's types and words before a call in the call's message.

    Unusable if it calls what it does not offer, or nobody asks for anything.
    """
    if not conversation.turns or not conversation.turns[0].text:
        raise Unusable("nobody asks for anything in it")
    schemas = {tool.id: tool.parameters for tool in conversation.tools}
    for name in (*conversation.relevant, *(action.tool for action in conversation.actions)):
        if name not in schemas:
            raise Unusable(f"it calls {name!r}, which it does not offer")
    turns = (replace(turn, steps=tuple(_joined(turn.steps, schemas))) for turn in conversation.turns)
    return replace(conversation, turns=tuple(turns))


def _read_checked(read: Callable[[str, Json], Conversation], identifier: str, record: Json) -> Conversation:
    return checked(read(identifier, record))


def _joined(steps: Sequence[Step], schemas: Mapping[str, Json]) -> Iterator[Step]:
    said = ""
    for step in steps:
        said = f"{said}\n{step.text}".strip()
        if step.actions:
            actions = (replace(one, arguments=fitted(one.arguments, schemas[one.tool])) for one in step.actions)
            yield Step(text=said, actions=tuple(actions))
            said = ""
    if said:
        yield Step(text=said)


def _with_tools(conversation: Conversation, tools: Mapping[str, Tool], fewest: int) -> Conversation:
    for action in conversation.actions:
        if action.tool not in tools:
            raise Unusable(f"it calls {action.tool!r}, a name that occurs fewer than {fewest} times")
    return conversation.with_tools(tools)


# --- files ------------------------------------------------------------------------------------------------------------


def read_set_text(path: Path) -> str:
    """The text of a gzip file; DatasetError if it is missing, InputError if it is damaged or no text."""
    return decode(_unpacked(path), str(path))


def _unpacked(path: Path) -> bytes:
    if not path.exists():
        raise DatasetError(f"{path.parent} has no {path.name}; is it the folder of another set?")
    return read_gzip(path)


# --- tools ------------------------------------------------------------------------------------------------------------


def function_tool(function: Mapping[str, Json], set_name: str, provider: str = "") -> Tool:
    """The tool of a function description: name, description, and parameters as JSON Schema or in xLAM's flat form."""
    function = function.get("function", function)
    declared = function.get("parameters") or {}
    properties = declared.get("properties")
    if declared.get("type") in ("dict", "object") and isinstance(properties, Mapping):
        if any(", optional" in str(one.get("type")) for one in properties.values()):
            declared = flat_schema(properties)
    else:
        declared = flat_schema(declared)
    return make_tool(str(function["name"]), provider, str(function.get("description") or ""), declared, set_name)


def make_tool(name: str, provider: str, description: str, parameters: Json, set_name: str) -> Tool:
    """A tool of a set, its parameters as JSON Schema 2020-12."""
    return Tool(
        id=tool_id(provider, name),
        provider=provider,
        name=name,
        description=" ".join(description.split()),
        parameters=normalize_schema(parameters),
        source={"dataset": set_name, "name": name},
    )


def observed_schema(examples: Sequence[Mapping[str, Json]]) -> Json:
    """A schema that admits all examples of arguments. It names the parameters that at least one call in RARE gives, and
    requires those that all of SURE or more calls give."""
    found: dict[str, list[Json]] = {}
    for example in examples:
        for name, value in example.items():
            found.setdefault(name, []).append(_schema_of(value))
    properties = {name: merge_schemas(seen) for name, seen in found.items() if len(seen) * RARE >= len(examples)}
    required = [name for name in properties if len(found[name]) == len(examples) >= SURE]
    return {"type": "object", "properties": properties} | ({"required": required} if required else {})


_NAMES = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}


def _schema_of(value: Json) -> Json:
    if isinstance(value, Mapping):
        return {"type": "object"}
    if isinstance(value, list):
        return {"type": "array"} | ({"items": merge_schemas([_schema_of(item) for item in value])} if value else {})
    return {"type": _NAMES[type(value)]}


def words_of(name: str) -> str:
    """A name as words: `AddToPlaylist` and `add_to_playlist` are "Add to playlist"."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    return " ".join(re.split(r"[\W_]+", spaced)).strip().lower().capitalize()


# --- arguments --------------------------------------------------------------------------------------------------------

_WRITTEN: Mapping[str, tuple[type, ...]] = {
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}


def fitted(value: Json, schema: Json) -> Json:
    """The value in its schema's type where only the way of writing differs: "3" for 3, 3.0 for 3, a list as its text."""
    schema = schema if isinstance(schema, Mapping) else {}
    kind = schema.get("type")
    if isinstance(value, Mapping):
        properties = schema.get("properties") or {}
        return {name: fitted(member, properties.get(name)) for name, member in value.items()}
    if isinstance(value, list):
        return [fitted(item, schema.get("items")) for item in value]
    if kind == "string" and isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    if kind == "integer" and isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(kind, str) and kind in _WRITTEN and isinstance(value, str):
        return _read_as(kind, value)
    return value


def _read_as(kind: str, text: str) -> Json:
    """The value that `text` writes as a Python or JSON literal, or `text` if it is none of this type."""
    try:
        value = ast.literal_eval({"true": "True", "false": "False"}.get(text.strip(), text.strip()))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    if kind == "integer" and isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) in _WRITTEN[kind] else text
