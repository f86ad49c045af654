"""Between OpenAI's wire format and the product's messages: Chat Completions and the items of Responses.

On the wire a tool has its wire name (at most 64 legal characters); inside, its id. Source: OpenAI's API reference, as the
types of its SDK 3.54 give it. Knows no server and no model.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from toolgen.catalog import Catalog
from toolgen.catalog.naming import wire_name, wire_names
from toolgen.datasets.messages import FINISH, call_message, calls_message, result_message, user_message
from toolgen.datasets.trajectory import Message
from toolgen.errors import InputError
from toolgen.foreign.data import parse_json
from toolgen.serving.errors import FormatError


@dataclass(frozen=True)
class Choice:
    """Which tools may be called (None: all of the catalog), and whether one has to be. `listed` are those that the request
    lists; with `searches` the catalog's others are searched for it."""

    tools: tuple[str, ...] | None = None
    required: bool = False
    listed: tuple[str, ...] = ()
    searches: bool = False


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


def chat_messages(given: Sequence[Mapping[str, Any]], names: Names, places: Sequence[str] = ()) -> list[Message]:
    """The messages of a chat request. An answer in its middle becomes the call of `finish` that it was; several calls of one
    message are put before their results, one at a time. `places` are what errors call the messages."""
    messages: list[Message] = []
    labelled = [*zip(places or [f"messages[{place}]" for place in range(len(given))], given, strict=True)]
    results = {
        str(one.get("tool_call_id")): (_text(one.get("content"), where), where)
        for where, one in labelled
        if one.get("role") == "tool"
    }
    for where, one in labelled:
        role = one.get("role")
        if role in ("system", "developer"):
            messages.append({"role": "system", "content": _text(one.get("content"), where)})
        elif role == "user":
            messages.append(user_message(_text(one.get("content"), where)))
        elif role == "assistant":
            messages += _assistant(one, where, names, results)
        elif role != "tool":
            raise FormatError(f"{where} has the role {role!r}; known are system, user, assistant and tool", where)
    for call_id, (_, where) in results.items():
        raise FormatError(f"{where} answers the call {call_id[:60]!r}, which no message before it makes", where)
    if not messages or messages[-1]["role"] == "assistant":
        raise FormatError("the messages end with the assistant's own; end with a user's or a tool's", "messages")
    return messages


def chat_choice(tools: Sequence[Any] | None, choice: Any, names: Names) -> Choice:
    """What `tools` and `tool_choice` of a request allow. The whole catalog may be called without tools, and with a tool of the
    type `tool_search`."""
    searches = any(isinstance(tool, Mapping) and tool.get("type") == "tool_search" for tool in tools or ())
    functions = [tool for tool in tools or () if not (isinstance(tool, Mapping) and tool.get("type") == "tool_search")]
    listed = tuple(names.id_of(_name(one, i), f"tools[{i}]") for i, one in enumerate(functions))
    allowed = Choice(listed if functions and not searches else None, False, listed, searches)
    if choice in (None, "auto"):
        return allowed
    if choice == "none":
        return replace(allowed, tools=())
    if choice == "required":
        return replace(allowed, required=True)
    if isinstance(choice, Mapping):
        kind = choice.get("type")
        inner = choice.get(str(kind)) or choice
        if kind == "function" and isinstance(inner, Mapping):
            return replace(allowed, tools=(names.id_of(inner.get("name"), "tool_choice"),), required=True)
        some = inner.get("tools") if isinstance(inner, Mapping) else None
        if kind == "allowed_tools" and isinstance(some, list):
            ids = tuple(names.id_of(_name(one, i), "tool_choice") for i, one in enumerate(some))
            return replace(allowed, tools=ids, required=inner.get("mode") == "required")
    raise FormatError(
        "tool_choice is none, auto, required, a function by name or allowed_tools; "
        f"got {json.dumps(choice, default=str)[:100]}",
        "tool_choice",
    )


def response_messages(given: Any, instructions: str | None, names: Names) -> list[Message]:
    """The messages of a Responses request: a text, or items. Items of tool search say nothing that the model does not know."""
    items: Sequence[Mapping[str, Any]] = [{"role": "user", "content": given}] if isinstance(given, str) else given
    chat: list[tuple[str, dict[str, Any]]] = []
    if instructions:
        chat.append(("instructions", {"role": "system", "content": instructions}))
    for place, item in enumerate(items):
        kind, where = item.get("type") or "message", f"input[{place}]"
        if kind == "message":
            chat.append((where, {"role": item.get("role"), "content": item.get("content")}))
        elif kind == "function_call":
            function = {"name": item.get("name"), "arguments": item.get("arguments")}
            calls = [{"id": item.get("call_id"), "function": function}]
            chat.append((where, {"role": "assistant", "tool_calls": calls}))
        elif kind == "function_call_output":
            result = {"role": "tool", "tool_call_id": item.get("call_id"), "content": item.get("output")}
            chat.append((where, result))
        elif kind not in ("tool_search_call", "tool_search_output", "reasoning"):
            raise FormatError(f"{where} is an item of the type {str(kind)[:60]!r}, which is not known here", "input")
    return chat_messages([one for _, one in chat], names, [where for where, _ in chat])


def _assistant(
    one: Mapping[str, Any], where: str, names: Names, results: dict[str, tuple[str, str]]
) -> Iterable[Message]:
    """The calls of a message, then their results, which are taken out of `results`; or its answer."""
    calls = one.get("tool_calls") or ()
    if not isinstance(calls, list | tuple):
        raise FormatError(f"{where}.tool_calls is no list", where)
    if not calls:
        yield call_message(FINISH, {"answer": _text(one.get("content"), where)}, f"answer_{where}")
        return
    made, contents = [], []
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
        made.append((names.id_of(function.get("name"), where), arguments, call_id))
        contents.append(results.pop(call_id)[0])
    yield calls_message(made)
    yield from (result_message(call_id, text) for (_, _, call_id), text in zip(made, contents, strict=True))


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
    where = f"tools[{place}]"
    if not isinstance(tool, Mapping) or tool.get("type") != "function":
        kind = tool.get("type") if isinstance(tool, Mapping) else tool
        raise FormatError(f"{where} is of the type {str(kind)[:60]!r}; known are function and tool_search", where)
    function = tool.get("function") or tool
    if not isinstance(function, Mapping):
        raise FormatError(f"{where} is no function", where)
    return function.get("name")
