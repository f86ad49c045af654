"""The chat messages of a trajectory, in the one form that importers, loop, recording and training share.

OpenAI chat messages; `function.name` is the tool id, "finish" or "no_tool". The calls of one message do not depend on each
other, and their results follow in the same order. Knows no model.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from toolgen.datasets.query import Call
from toolgen.datasets.task import Task
from toolgen.datasets.trajectory import Message
from toolgen.foreign.data import clean, clean_text, parse_json

FINISH = "finish"
"""Action that ends the task; its arguments are the answer, or that the model gave up."""
FINISH_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {"answer": {"type": "string"}, "gave_up": {"type": "boolean"}},
    "required": ["answer"],
    "additionalProperties": False,
}
"""JSON Schema of the arguments of `finish`."""
NO_TOOL = "no_tool"
"""Action that declines: no tool of the catalog fits. It takes no arguments."""
DOCUMENTATION = "documentation"
"""The role of a turn that shows a tool's documentation; no conversation of a dataset has it."""

# Characters of a tool result that the model gets to read; about 400 tokens.
RESULT_LIMIT = 1200


def opening(task: Task) -> list[Message]:
    """What precedes the first user turn: the system message that some tasks have, or nothing."""
    return [{"role": "system", "content": task.system.strip()}] if task.system else []


def user_message(text: str) -> Message:
    """A turn of the user."""
    return {"role": "user", "content": clean_text(text)}


def call_message(action: str, arguments: Mapping[str, Any], call_id: str, thought: str = "") -> Message:
    """The assistant's message with one call; `action` is a tool id, "finish" or "no_tool"."""
    return calls_message([(action, arguments, call_id)], thought)


def calls_message(calls: Iterable[tuple[str, Mapping[str, Any], str]], thought: str = "") -> Message:
    """The assistant's message with calls that do not depend on each other: tool id, arguments and call id of each."""
    made = [
        {
            "id": call_id,
            "type": "function",
            "function": {"name": action, "arguments": json.dumps(clean(dict(arguments)), ensure_ascii=False)},
        }
        for action, arguments, call_id in calls
    ]
    return {"role": "assistant", "content": thought, "tool_calls": made}


def notice_message(text: str) -> Message:
    """What the model is told between its actions that is no tool's result: why a call was not carried out."""
    return {"role": "system", "content": clean_text(text)}


def result_message(call_id: str, content: str, limit: int = RESULT_LIMIT) -> Message:
    """What a call came back with, cut to `limit` characters."""
    return {"role": "tool", "tool_call_id": call_id, "content": cut_text(clean_text(content), limit)}


def calls_by_turn(messages: Sequence[Message]) -> list[list[Call]]:
    """The calls of tools in each turn of the user; "finish" and "no_tool" are none."""
    turns: list[list[Call]] = []
    for message in messages:
        if message["role"] == "user":
            turns.append([])
        for action, arguments in actions_of(message):
            if action not in (FINISH, NO_TOOL) and turns:
                turns[-1].append(Call(tool=action, arguments=arguments))
    return turns


def actions_of(message: Message) -> Iterator[tuple[str, dict[str, Any]]]:
    """The (tool id, "finish" or "no_tool"; arguments) of an assistant message."""
    for call in message.get("tool_calls") or ():
        yield call["function"]["name"], parse_json(call["function"]["arguments"], "arguments")


def cut_text(text: str, limit: int) -> str:
    """`text` with at most `limit` characters, and a note of how much is missing. A small model's context is short."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]}... [cut: {len(text) - limit:,} more characters]"
