"""HammerBench: dialogues with a phone's assistant in which details are missing, change, or no tool fits.

A call in the middle of a dialogue that the assistant answers by a question is not made: the question asks for what it
lacks. Records whose relevant tool is not among the candidates (`ir_...`) are requests that no tool fits.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from toolgen.catalog.tool import Tool
from toolgen.datasets.training_sets.conversation import Action, Conversation, Step, Turn
from toolgen.datasets.training_sets.reading import Intake, LoadedSet, Unusable, make_tool

NAME = "hammerbench"
_NO_TOOL = "no tool is suitable"


def load(folder: Path) -> LoadedSet:
    """The set of the folder: `en.jsonl.gz` and `tools.jsonl.gz`."""
    intake = Intake(NAME)
    tools = {record["name"]: _tool(record) for _, record in intake.records(folder / "tools.jsonl.gz")}
    intake.take(intake.records(folder / "en.jsonl.gz"), lambda identifier, record: _read(identifier, record, tools))
    intake.relax()
    return intake.loaded(tools.values())


def _tool(record: Any) -> Tool:
    provider, _, name = record["name"].rpartition(".")
    return make_tool(name, provider, record["description"], record["parameters"], NAME)


def _read(identifier: str, record: Any, tools: Mapping[str, Tool]) -> Conversation:
    messages = record["messages"]
    offered = {name: tools[name] for name in record["tools"]}
    if vague := _vague(messages, offered):
        turn = Turn(text=messages[0]["content"].strip())
        return Conversation(id=identifier, tools=tuple(offered.values()), turns=(turn,), relevant=(vague.id,))
    turns: list[Turn] = []
    text = ""
    for number, message in enumerate(messages):
        content = message["content"]
        following = messages[number + 1]["content"] if number + 1 < len(messages) else None
        if message["role"] == "user":
            text = content.strip()
            if following is None:
                raise Unusable("its last words have no answer")
        elif message["role"] == "function call":
            turns.append(_turn(text, content, following, offered))
        elif messages[number - 1]["role"] == "user":  # an answer without a call
            declines = _NO_TOOL in content
            turns.append(Turn(text=text, steps=(Step(text=content),), ending="declined" if declines else "asked"))
    return Conversation(id=identifier, tools=tuple(offered.values()), turns=tuple(turns))


def _vague(messages: Any, offered: Mapping[str, Tool]) -> Tool | None:
    """The tool of a single request that gives none of its details: which one is known, not what to call it with."""
    if len(messages) != 2 or messages[1]["role"] != "function call" or messages[1]["content"]["arguments"]:
        return None
    tool = offered.get(messages[1]["content"]["name"])
    return tool if tool and tool.required else None


def _turn(text: str, call: Any, following: str | None, offered: Mapping[str, Tool]) -> Turn:
    """One turn; `following` is what the assistant says after the call, None at the end of the dialogue."""
    tool = offered.get(call["name"])
    if tool is None:
        return Turn(text=text, ending="declined")
    if following not in (None, "success"):
        return Turn(text=text, steps=(Step(text=str(following)),), ending="asked")
    action = Action(tool=tool.id, arguments=call["arguments"], result=following)
    return Turn(text=text, steps=(Step(actions=(action,)),))
