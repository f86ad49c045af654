"""Sets of function-calling records: xLAM's sample, Glaive's samples and ToolRL's sample with thoughts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from toolgen.catalog.tool import Tool
from toolgen.datasets.training_sets.conversation import Action, Conversation, Ending, Step, Turn
from toolgen.datasets.training_sets.reading import Intake, LoadedSet, Unusable, function_tool
from toolgen.foreign.data import parse_json

# --- xLAM -------------------------------------------------------------------------------------------------------------


def load_xlam(folder: Path) -> LoadedSet:
    """`messages.jsonl.gz`: one request a record with its calls and candidate functions."""
    intake = Intake("xlam-sample-qwenstar")
    intake.take(intake.records(folder / "messages.jsonl.gz"), _xlam)
    return intake.loaded()


def _xlam(identifier: str, record: Any) -> Conversation:
    request, answer = record["messages"]
    calls = tuple(Action(tool=call["name"], arguments=call["arguments"]) for call in answer["tool_calls"])
    if not calls:
        raise Unusable("it calls nothing")
    tools = _functions(record["tools"], "xlam-sample-qwenstar")
    return Conversation(
        id=record["id"], tools=tools, turns=(Turn(text=request["content"], steps=(Step(actions=calls),)),)
    )


# --- Glaive -----------------------------------------------------------------------------------------------------------

_DECLINE = re.compile(
    r"\b(?:can(?:no|')t|can not|unable|not able|do(?:es)?(?:n't| not) have|don't currently|beyond my|limit)"
)
_GLAIVE_ROLES = {"human": "user", "gpt": "assistant", "function_call": "tool_call", "observation": "tool_response"}


def load_glaive(folder: Path) -> LoadedSet:
    """The ms-swift sample (`glaive-1000`) and LLaMA-Factory's demo: conversations with calls, results and declines."""
    intake = Intake("glaive-v2-sample")
    for name in ("glaive-1000", "llamafactory_glaive_toolcall_en_demo"):
        intake.take(intake.records(folder / f"{name}.jsonl.gz"), _glaive)
    return intake.loaded()


def _glaive(identifier: str, record: Any) -> Conversation:
    messages = [(m["role"], m["content"]) for m in record.get("messages", ())]
    messages += [(_GLAIVE_ROLES[m["from"]], m["value"]) for m in record.get("conversations", ())]
    tools = _functions(parse_json(record.get("tools") or "[]", "tools"), "glaive-v2-sample")
    if not tools:
        raise Unusable("it offers no tool: small talk or knowledge alone")
    turns: list[tuple[str, list[Step]]] = []
    for role, content in messages:
        if role == "user":
            turns.append((content.strip(), []))
        elif not turns:
            continue  # a greeting before the first request
        elif role == "tool_call":
            turns[-1][1].append(Step(actions=(_glaive_call(content),)))
        elif role == "tool_response":
            turns[-1][1][-1] = _with_results(turns[-1][1][-1], content)
        elif content.strip():
            turns[-1][1].append(Step(text=content.strip()))
    return Conversation(
        id=identifier, tools=tools, turns=tuple(Turn(text=text, steps=tuple(s), ending=_ending(s)) for text, s in turns)
    )


def _glaive_call(content: str) -> Action:
    call = parse_json(content, "call")
    arguments = call["arguments"]
    return Action(
        tool=call["name"], arguments=parse_json(arguments, "arguments") if isinstance(arguments, str) else arguments
    )


def _with_results(step: Step, result: str) -> Step:
    actions = tuple(Action(tool=action.tool, arguments=action.arguments, result=result) for action in step.actions)
    if not actions:
        raise Unusable("a result follows no call")
    return Step(text=step.text, actions=actions)


def _ending(steps: Sequence[Step]) -> Ending:
    """What a turn's last text does, by its words: Glaive labels nothing."""
    text = steps[-1].text if steps else ""
    if not any(step.actions for step in steps):
        if "sorry" in text.lower() and _DECLINE.search(text.lower()):
            return "declined"
        if "?" in text or "please" in text.lower():
            return "asked"
    return "answered"


# --- ToolRL -----------------------------------------------------------------------------------------------------------

_LISTED = re.compile(r"^\d+\. Name: (.*)\nDescription: ([\s\S]*?)\nParameters: (\{.*\})$", re.MULTILINE)
_DIALOGUE = re.compile(r"<(user|tool_call|response|obs)>([\s\S]*?)</\1>")
_THOUGHT = re.compile(r"<think>[\s\S]*</think>")  # thoughts mention the other tags


def load_toolrl(folder: Path) -> LoadedSet:
    """`rlla_sft.jsonl.gz`: dialogues whose last answer holds a thought, calls or a response; half of the names are
    random letters (Hammer's masking). The records of `rlla_test.parquet` are a test and are not read."""
    intake = Intake("toolrl-rlla-sft")
    intake.take(intake.records(folder / "rlla_sft.jsonl.gz"), _toolrl)
    return intake.loaded()


def _toolrl(identifier: str, record: Any) -> Conversation:
    listed = [
        {"name": name.strip(), "description": description, "parameters": parse_json(parameters, "parameters")}
        for name, description, parameters in _LISTED.findall(record["instruction"])
    ]
    if not listed:
        raise Unusable("its instruction lists no tool")
    turns: list[tuple[str, list[Step]]] = []
    for kind, content in _DIALOGUE.findall(_THOUGHT.sub("", record["input"] + "\n" + record["output"])):
        text = content.strip()
        if kind == "user":
            turns.append((text, []))
        elif kind == "tool_call":
            turns[-1][1].append(Step(actions=tuple(_lines_of_calls(text))))
        elif kind == "obs":
            turns[-1][1][-1] = _with_results(turns[-1][1][-1], text)
        elif text:
            turns[-1][1].append(Step(text=text))
    found = tuple(Turn(text=text, steps=tuple(steps), ending=_ending(steps)) for text, steps in turns)
    return Conversation(id=identifier, tools=_functions(listed, "toolrl-rlla-sft"), turns=found)


def _lines_of_calls(text: str) -> Iterator[Action]:
    for line in text.split("\n"):
        if line.strip():
            call = parse_json(line, "call")
            yield Action(tool=call["name"], arguments=call["parameters"])


# --- all --------------------------------------------------------------------------------------------------------------


def _functions(functions: Sequence[Any], set_name: str) -> tuple[Tool, ...]:
    tools = {tool.id: tool for tool in (function_tool(function, set_name) for function in functions)}
    return tuple(tools.values())
