"""API-Bank: dialogues with calls and results (levels 1 and 2) and chains of calls for one request (level 3).

Its own tool search (`ToolSearcher`) is left out of the calls: finding the tool is what is to be learned.
"""

from __future__ import annotations

import ast
import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from toolgen.catalog.tool import Tool
from toolgen.datasets.call_text import parse_calls
from toolgen.datasets.training_sets.conversation import Action, Conversation, Step, Turn
from toolgen.datasets.training_sets.reading import Intake, LoadedSet, Unusable, function_tool
from toolgen.foreign.data import clean, read_text

NAME = "api-bank"
_SEARCH = "ToolSearcher"
_UNQUOTED = re.compile(r"(?<=[\w]=)(?!True\b|False\b|None\b)[A-Za-z][^,()'\"]*(?=[,)])")
_REQUEST = re.compile(r"^API-Request: (\[.*?\])->(.*)$", re.MULTILINE)


def load(folder: Path) -> LoadedSet:
    """The set of the folder: `all_apis.csv`, the dialogues and the level-3 training records."""
    intake = Intake(NAME)
    tools = {tool.name: tool for tool in _tools(folder / "all_apis.csv", intake)}
    intake.take(
        intake.records(folder / "lv1-lv2-dialogues.jsonl.gz"),
        lambda identifier, record: _dialogue(identifier, record, tools),
    )
    intake.take(_longest(folder / "lv3-train.jsonl.gz", intake), _chain)
    intake.relax()
    return intake.loaded(tools.values())


def _tools(path: Path, intake: Intake) -> Iterator[Tool]:
    for row in csv.DictReader(io.StringIO(read_text(path))):
        try:
            parts = {
                statement.targets[0].id: ast.literal_eval(statement.value)
                for statement in ast.parse(row["api_info"].strip()).body
                if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)
            }
            if not isinstance(parts["input_parameters"], dict):
                raise ValueError("its parameters are no dictionary")
            yield _tool(row["类名"], parts["description"], parts["input_parameters"])
        except (KeyError, ValueError, SyntaxError) as error:
            intake.notes.append(f"{row['类名']}: its description cannot be read ({type(error).__name__})")


def _tool(name: str, description: str, parameters: Any) -> Tool:
    return function_tool({"name": name, "description": description, "parameters": parameters}, NAME)


def _dialogue(identifier: str, record: Any, described: dict[str, Tool]) -> Conversation:
    named = record["file"].rpartition("/")[2].split("-level-")[0].split("-")
    turns: list[tuple[str, list[Step]]] = []
    tools = {name: described[name] for name in named if name in described}
    for turn in record["turns"]:
        if turn["role"] == "User":
            turns.append((turn["text"].strip(), []))
        elif turn["role"] == "AI":
            turns[-1][1].append(Step(text=turn["text"].strip()))
        elif turn["api_name"] != _SEARCH:
            name, result = turn["api_name"], turn["result"]
            if name not in described:
                raise Unusable(f"it calls {name!r}, which is not described")
            tools[name] = described[name]
            answer = result["exception"] or result["output"]
            action = Action(tool=described[name].id, arguments=turn["param_dict"], result=_text(answer))
            turns[-1][1].append(Step(actions=(action,)))
    return Conversation(id=identifier, tools=tuple(tools.values()), turns=tuple(_turn(text, s) for text, s in turns))


def _turn(text: str, steps: list[Step]) -> Turn:
    asked = bool(steps) and "?" in steps[-1].text and not any(step.actions for step in steps)
    return Turn(text=text, steps=tuple(steps), ending="asked" if asked else "answered")


def _longest(path: Path, intake: Intake) -> Iterator[tuple[str, Any]]:
    """The records of level 3 are prefixes of chains, one a call; the longest of each request holds all of it."""
    found: dict[str, tuple[str, Any]] = {}
    count = 0
    for identifier, record in intake.records(path):
        count += 1
        user = record["input"].partition("\nUser: ")[2].partition("\n")[0]
        if user not in found or len(record["input"]) >= len(found[user][1]["input"]):
            found[user] = (identifier, record)
    intake.notes.append(f"lv3-train: {count - len(found)} records are beginnings of others and were read with them")
    yield from found.values()


def _chain(identifier: str, record: Any) -> Conversation:
    content = record["input"].partition("\nUser: ")[2]
    text = re.split(r"\s*TIME: |\n", content)[0].strip()
    time = re.search(r"TIME: (\S+ \S+)", content)
    tools: dict[str, Tool] = {}
    steps: list[Step] = []
    for written, result in _REQUEST.findall(content):
        if written.startswith(f"[{_SEARCH}("):
            found = clean(ast.literal_eval(result))
            for one in found if isinstance(found, list) else [found]:
                tools[one["name"]] = _tool(one["name"], one["description"], one["input_parameters"])
            continue
        steps.append(Step(actions=tuple(_actions(written, tools, result.strip()))))
    output = record["output"].strip()
    if output.startswith("AI: "):
        steps.append(Step(text=output.removeprefix("AI: ")))
    elif f"[{_SEARCH}(" not in output:
        steps.append(Step(actions=tuple(_actions(output.removeprefix("API-Request: "), tools, None))))
    if not any(step.actions for step in steps):
        raise Unusable("it calls no tool but the search")
    system = f"The current time is {time[1]}." if time else ""
    return Conversation(
        id=identifier, tools=tuple(tools.values()), turns=(Turn(text=text, steps=tuple(steps)),), system=system
    )


def _actions(written: str, tools: dict[str, Tool], result: str | None) -> Iterator[Action]:
    calls = parse_calls(_UNQUOTED.sub(_quoted, written), list(tools))
    if not calls:
        raise Unusable(f"a call of a tool that its search did not find: {written[:60]!r}")
    for name, arguments in calls:
        yield Action(tool=tools[name].id, arguments=arguments, result=result)


def _quoted(match: re.Match[str]) -> str:
    """Some values are written without quotes: `location=New York`."""
    return repr(match[0].strip())


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
