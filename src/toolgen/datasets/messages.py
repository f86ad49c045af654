"""The chat messages of a trajectory, in the one form that importers, loop, recording and training share.

OpenAI chat messages; `function.name` is the tool id, "finish" or "no_tool"; one call a message. Knows no model.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from toolgen.datasets.query import Call, Query
from toolgen.datasets.trajectory import Message

FINISH = "finish"
"""Action that ends the task; its arguments are the answer, or that the model gave up."""
NO_TOOL = "no_tool"
"""Action that declines: no tool of the catalog fits. It takes no arguments."""

# What BFCL says for the user in the turn in which functions that it held back become available.
MORE_FUNCTIONS = "I have updated some more functions you can choose from. What about now?"

# Characters of a tool result that the model gets to read; about 400 tokens.
RESULT_LIMIT = 1200


def opening(query: Query) -> list[Message]:
    """What stands before the first turn of the user: the system message that some requests bring along, or nothing."""
    system = query.meta.get("system")
    return [{"role": "system", "content": str(system).strip()}] if system else []


def user_turns(query: Query) -> tuple[str, ...]:
    """The texts of the user, one a turn; a request without `meta["turns"]` is one turn."""
    return tuple(text or MORE_FUNCTIONS for text in query.meta.get("turns") or (query.text,))


def user_message(text: str) -> Message:
    """A turn of the user."""
    return {"role": "user", "content": text}


def call_message(action: str, arguments: Mapping[str, Any], call_id: str, thought: str = "") -> Message:
    """The assistant's message with one call; `action` is a tool id, "finish" or "no_tool"."""
    function = {"name": action, "arguments": json.dumps(arguments, ensure_ascii=False)}
    return {
        "role": "assistant",
        "content": thought,
        "tool_calls": [{"id": call_id, "type": "function", "function": function}],
    }


def result_message(call_id: str, content: str, limit: int = RESULT_LIMIT) -> Message:
    """What a call came back with, cut to `limit` characters."""
    return {"role": "tool", "tool_call_id": call_id, "content": cut_text(content, limit)}


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
        yield call["function"]["name"], json.loads(call["function"]["arguments"])


def cut_text(text: str, limit: int) -> str:
    """`text` with at most `limit` characters, and a note of how much is missing. A small model's context is short."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]}... [cut: {len(text) - limit:,} more characters]"
