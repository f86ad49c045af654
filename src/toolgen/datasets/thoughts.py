"""Thoughts by rules: before each action a sentence that says which details go where, and why the turn ends.

A model that learned them writes such a sentence before it chooses a tool, from the request alone. Knows no tokenizer and no
model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from toolgen.catalog.catalog import Catalog
from toolgen.datasets.messages import FINISH, NO_TOOL, actions_of
from toolgen.datasets.plausible import words_of
from toolgen.datasets.training_sets.evidence import is_evidenced
from toolgen.datasets.trajectory import Message

LONGEST = 40
"""Characters of a value that a thought repeats."""


def with_thoughts(messages: Sequence[Message], catalog: Catalog) -> list[Message]:
    """The messages, where each one of the assistant with calls begins with a thought; one that it had is replaced."""
    thoughtful: list[Message] = []
    for place, message in enumerate(messages):
        if message.get("tool_calls"):
            message = {**message, "content": _thought(message, messages[:place], catalog)}
        thoughtful.append(message)
    return thoughtful


def _thought(message: Message, before: Sequence[Message], catalog: Catalog) -> str:
    said = _texts(before, "user", "system")
    found = _texts(before, "tool")
    parts = [_of_call(action, arguments, catalog, said, found) for action, arguments in actions_of(message)]
    return "; then ".join(parts) + "."


def _of_call(action: str, arguments: Mapping[str, Any], catalog: Catalog, said: str, found: str) -> str:
    """What is done, and where each value comes from: from what was said, from a result, or from nowhere."""
    if action == NO_TOOL:
        return "No tool does this"
    if action == FINISH:
        return "Something is missing" if arguments.get("gave_up") else "All is done"
    tool = catalog.get(action)
    details = []
    for name, value in arguments.items():
        schema = {"properties": {name: tool.properties.get(name, {})}}
        is_said, is_found = (is_evidenced({name: value}, schema, text) for text in (said, found))
        origin = "" if is_said else " from the result" if found and is_found else " by choice"
        details.append(f"{words_of(name)} is {_short(value)}{origin}")
    return f"To {words_of(tool.name)}" + (f": {', '.join(details)}" if details else "")


def _texts(messages: Sequence[Message], *roles: str) -> str:
    return "\n".join(str(message.get("content") or "") for message in messages if message["role"] in roles)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST else f"{text[:LONGEST].rstrip()}..."
