"""STAR (Rasa's copy): dialogues between people, one of whom plays the assistant, with calls of 24 APIs and results."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from toolgen.catalog.tool import Tool
from toolgen.datasets.training_sets import descriptions
from toolgen.datasets.training_sets.conversation import Action, Conversation, Ending, Step, Turn
from toolgen.datasets.training_sets.reading import Intake, LoadedSet, Unusable, make_tool, words_of
from toolgen.foreign.data import read_json

NAME = "rasa-star"
_TYPES = {"Integer": "integer", "Boolean": "boolean", "CategoricalMultiple": "array"}
_CONSTRAINT = re.compile(r"api\.(\w+)\((.*)\)", re.DOTALL)
_LITERALS = {"True": True, "False": False, "null": None}


def load(folder: Path) -> LoadedSet:
    """The set of the folder: `dialogues.jsonl.gz` and `apis.json`."""
    described = read_json(folder / "apis.json")
    tools = {name: _tool(name, api) for name, api in described.items()}
    intake = Intake(NAME)
    intake.take(
        intake.records(folder / "dialogues.jsonl.gz"), lambda identifier, record: _read(identifier, record, tools)
    )
    return intake.loaded(tools.values())


def _tool(name: str, api: Any) -> Tool:
    properties = {parameter["Name"]: _parameter(parameter) for parameter in api["input"]}
    schema = {
        "type": "object",
        "properties": properties,
        "required": [one for one in api["required"] if one in properties],
    }
    provider, _, _ = name.partition("_")
    return make_tool(name, provider, descriptions.STAR.get(name) or f"{words_of(name)}.", schema, NAME)


def _parameter(parameter: Any) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": _TYPES.get(parameter["Type"], "string"), "description": parameter["ReadableName"]}
    if categories := parameter.get("Categories"):
        if schema["type"] == "array":
            schema["items"] = {"type": "string", "enum": categories}
        else:
            schema["enum"] = categories
    limits = {"minimum": parameter.get("Min"), "maximum": parameter.get("Max")}
    return schema | {key: value for key, value in limits.items() if value is not None}


def _read(identifier: str, record: Any, tools: Mapping[str, Tool]) -> Conversation:
    turns: list[tuple[str, list[Step], list[str]]] = []
    for event in record["Events"]:
        what = (event["Agent"], event["Action"])
        if what == ("User", "utter"):
            if turns and not turns[-1][1]:  # the user went on before any answer
                turns[-1] = (f"{turns[-1][0]}\n{event['Text'].strip()}", turns[-1][1], turns[-1][2])
            else:
                turns.append((event["Text"].strip(), [], []))
        elif not turns:
            continue  # a greeting before the first words of the user
        elif what == ("Wizard", "query"):
            turns[-1][1].append(Step(actions=(_action(event, tools),)))
        elif what == ("KnowledgeBase", "return_item"):
            last = turns[-1][1][-1].actions[0]
            item = {key: value for key, value in (event.get("Item") or {}).items() if key != "APIName"}
            result = json.dumps(item, ensure_ascii=False)
            turns[-1][1][-1] = Step(actions=(Action(tool=last.tool, arguments=last.arguments, result=result),))
        elif event["Agent"] == "Wizard" and event.get("Text"):
            turns[-1][1].append(Step(text=event["Text"].strip()))
            turns[-1][2].append(event.get("ActionLabel", ""))
    found = tuple(Turn(text=text, steps=tuple(steps), ending=_ending(labels)) for text, steps, labels in turns)
    named = {one["Domain"] for one in record["Scenario"]["WizardCapabilities"]}
    used = {event["APIName"] for event in record["Events"] if event["Action"] == "query"}
    offered = [tool for name, tool in tools.items() if tool.provider in named or name in used]
    return Conversation(id=identifier, tools=tuple(offered), turns=found)


def _ending(labels: list[str]) -> Ending:
    if "out_of_scope" in labels:
        return "declined"
    return "asked" if labels and "_ask_" in f"_{labels[-1]}" and labels[-1] != "anything_else" else "answered"


def _action(event: Any, tools: Mapping[str, Tool]) -> Action:
    values = {name: _value(text) for constraint in event["Constraints"] for name, text in constraint.items()}
    arguments = {name: value for name, value in values.items() if value is not None}
    return Action(tool=tools[event["APIName"]].id, arguments=arguments)


def _value(text: Any) -> Any:
    """A constraint's value: a literal, or one that must be equal to it; other conditions are no arguments."""
    written = str(text).strip()
    if match := _CONSTRAINT.fullmatch(written):
        value = ast.literal_eval(match[2])
        if match[1] not in ("is_equal_to", "is_one_of") or (match[1] == "is_one_of" and len(value) > 1):
            raise Unusable(f"a call asks for a condition ({match[1]}) instead of a value")
        return value[0] if isinstance(value, list) and len(value) == 1 else value
    return _LITERALS[written] if written in _LITERALS else _literal(written)


def _literal(written: str) -> Any:
    if re.fullmatch(r"0\d+", written):  # a number with leading zeros is a code
        return written
    value = ast.literal_eval(written)
    return value.strip() if isinstance(value, str) else value
