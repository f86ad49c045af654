"""Between OpenAI's wire format and the product's messages: Chat Completions and the items of Responses.

On the wire a tool has its wire name (at most 64 legal characters); inside, its id. Source: OpenAI's API reference, as the
types of its SDK 3.54 give it. Knows no server and no model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toolgen.catalog import Catalog
from toolgen.catalog.naming import wire_name, wire_names
from toolgen.datasets.messages import FINISH, call_message, result_message, user_message
from toolgen.datasets.trajectory import Message
from toolgen.errors import InputError
from toolgen.foreign.data import parse_json

DECLINED = "No tool of the catalog fits this request."
"""What a client reads when the model declines."""
_ANSWER = re.compile(r'^\s*\{\s*"answer"\s*:\s*"((?:[^"\\]|\\.)*)', re.S)
_HALF_PAIR = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}(?:\\u?[0-9a-fA-F]{0,3}|\\)?$|\\u[0-9a-fA-F]{0,3}$")


class FormatError(InputError):
    """A request that does not fit; `param` says where."""

    def __init__(self, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.param, self.code = param, code


@dataclass(frozen=True)
class Choice:
    """Which tools may be called (None: all), and whether one has to be."""

    tools: tuple[str, ...] | None = None
    required: bool = False


class Names:
    """Ids and wire names of a catalog's tools."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self._ids = wire_names(catalog)

    def id_of(self, name: Any, param: str) -> str:
        """The tool of a wire name, or of an id. FormatError for one that the catalog does not have."""
        known = self._ids.get(str(name), str(name))
        if known not in self.catalog:
            raise FormatError(
                f"the catalog has no tool {str(name)[:100]!r}; its tools need not be listed, and others are not known here",
                param,
            )
        return known

    def definition(self, tool_id: str) -> dict[str, Any]:
        """A tool as the Responses API writes it."""
        tool = self.catalog.get(tool_id)
        return {
            "type": "function",
            "name": wire_name(tool),
            "description": tool.description,
            "parameters": dict(tool.parameters),
            "strict": False,
        }

    def wire(self, tool_id: str) -> str:
        """The wire name of a tool."""
        return wire_name(self.catalog.get(tool_id))


def chat_messages(given: Sequence[Mapping[str, Any]], names: Names) -> list[Message]:
    """The messages of a chat request. An answer in its middle becomes the call of `finish` that it was; several calls of one
    message are put before their results, one at a time."""
    messages: list[Message] = []
    results = _results(given)
    for place, one in enumerate(given):
        where, role = f"messages[{place}]", one.get("role")
        if role in ("system", "developer"):
            messages.append({"role": "system", "content": _text(one.get("content"), where)})
        elif role == "user":
            messages.append(user_message(_text(one.get("content"), where)))
        elif role == "assistant":
            messages += _assistant(one, where, names, results)
        elif role != "tool":
            raise FormatError(f"{where} has the role {role!r}; known are system, user, assistant and tool", where)
    if not messages or messages[-1]["role"] == "assistant":
        raise FormatError("the messages end with the assistant's own; end with a user's or a tool's", "messages")
    return messages


def chat_choice(tools: Sequence[Any] | None, choice: Any, names: Names) -> Choice:
    """What `tools` and `tool_choice` of a request allow. Without tools the whole catalog may be called."""
    listed = None if tools is None else tuple(names.id_of(_name(one, i), f"tools[{i}]") for i, one in enumerate(tools))
    if choice in (None, "auto"):
        return Choice(listed)
    if choice == "none":
        return Choice(())
    if choice == "required":
        return Choice(listed, required=True)
    if isinstance(choice, Mapping):
        kind = choice.get("type")
        inner = choice.get(str(kind)) or choice
        if kind == "function" and isinstance(inner, Mapping):
            return Choice((names.id_of(inner.get("name"), "tool_choice"),), required=True)
        listed = inner.get("tools") if isinstance(inner, Mapping) else None
        if kind == "allowed_tools" and isinstance(listed, list):
            allowed = [names.id_of(_name(one, i), "tool_choice") for i, one in enumerate(listed)]
            return Choice(tuple(allowed), required=inner.get("mode") == "required")
    raise FormatError(
        "tool_choice is none, auto, required, a function by name or allowed_tools; "
        f"got {json.dumps(choice, default=str)[:100]}",
        "tool_choice",
    )


def response_messages(given: Any, instructions: str | None, names: Names) -> list[Message]:
    """The messages of a Responses request: a text, or items. Items of tool search say nothing that the model does not know."""
    items: Sequence[Mapping[str, Any]] = [{"role": "user", "content": given}] if isinstance(given, str) else given
    chat: list[dict[str, Any]] = [{"role": "system", "content": instructions}] if instructions else []
    for place, item in enumerate(items):
        kind = item.get("type") or "message"
        if kind == "message":
            chat.append({"role": item.get("role"), "content": item.get("content")})
        elif kind == "function_call":
            function = {"name": item.get("name"), "arguments": item.get("arguments")}
            chat.append({"role": "assistant", "tool_calls": [{"id": item.get("call_id"), "function": function}]})
        elif kind == "function_call_output":
            output = item.get("output")
            chat.append({"role": "tool", "tool_call_id": item.get("call_id"), "content": output})
        elif kind not in ("tool_search_call", "tool_search_output", "reasoning"):
            raise FormatError(
                f"input[{place}] is an item of the type {str(kind)[:60]!r}, which is not known here", "input"
            )
    return chat_messages(chat, names)


def answer_so_far(arguments: str) -> str:
    """The answer's text in the arguments of `finish`, as far as they are written."""
    found = _ANSWER.match(arguments)
    if not found:
        return ""
    text = _HALF_PAIR.sub("", found[1])
    while text:
        try:
            return str(json.loads(f'"{text}"'))
        except ValueError:
            text = text[:-1]
    return ""


def _results(given: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    results = {}
    for place, one in enumerate(given):
        if one.get("role") == "tool":
            results[str(one.get("tool_call_id"))] = _text(one.get("content"), f"messages[{place}]")
    return results


def _assistant(one: Mapping[str, Any], where: str, names: Names, results: Mapping[str, str]) -> Iterable[Message]:
    calls = one.get("tool_calls") or ()
    if not isinstance(calls, list | tuple):
        raise FormatError(f"{where}.tool_calls is no list", where)
    if not calls:
        yield call_message(FINISH, {"answer": _text(one.get("content"), where)}, f"answer_{where}")
    for call in calls:
        function = call.get("function") if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping):
            raise FormatError(f"{where}.tool_calls holds what is no call of a function", where)
        try:
            arguments = parse_json(function.get("arguments") or "{}", where)
        except (TypeError, ValueError, InputError):
            arguments = None
        if not isinstance(arguments, dict):
            raise FormatError(f"{where}.tool_calls has arguments that are no JSON object", where)
        call_id = str(call.get("id"))
        if call_id not in results:
            raise FormatError(f"{where}.tool_calls has the call {call_id[:60]!r} without a tool message for it", where)
        yield call_message(names.id_of(function.get("name"), where), arguments, call_id)
        yield result_message(call_id, results[call_id])


def _text(content: Any, where: str) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence):
        parts = [part.get("text") if isinstance(part, Mapping) else None for part in content]
        if all(isinstance(part, str) for part in parts):
            return "".join(str(part) for part in parts)
    if content is None:
        return ""
    raise FormatError(f"{where}.content is a text or a list of text parts", where)


def _name(tool: Any, place: int) -> Any:
    """The name of a function in either API's form."""
    function = (tool.get("function") or tool) if isinstance(tool, Mapping) and tool.get("type") == "function" else None
    if not isinstance(function, Mapping):
        raise FormatError(f"tools[{place}] is no function", f"tools[{place}]")
    return function.get("name")
