"""Between OpenAI's wire format and the product's messages: Chat Completions and the items of Responses.

Source: OpenAI's API reference, as the types of its SDK 3.54 give it. Knows no server and no model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from toolgen.datasets.messages import FINISH, call_message, calls_message, result_message, user_message
from toolgen.datasets.trajectory import Message
from toolgen.errors import InputError
from toolgen.foreign.data import parse_json
from toolgen.serving.errors import FormatError
from toolgen.serving.offers import Names


def chat_messages(given: Sequence[Mapping[str, Any]], names: Names, places: Sequence[str] = ()) -> list[Message]:
    """The messages of a chat request. An answer in its middle becomes the call of `finish` that it was; several calls of one
    message are put before their results, one at a time. `places` are what errors call the messages."""
    messages: list[Message] = []
    labelled = [*zip(places or [f"messages[{place}]" for place in range(len(given))], given, strict=True)]
    results = _results(labelled)
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
    if not messages or messages[-1]["role"] == "assistant":
        raise FormatError("the messages end with the assistant's own; end with a user's or a tool's", "messages")
    return messages


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


def _results(labelled: Iterable[tuple[str, Mapping[str, Any]]]) -> dict[tuple[str, str], str]:
    """The text of each result, by the message and the id of its call. Ids may come again: the last call before is meant."""
    made: dict[str, str] = {}
    results = {}
    for where, one in labelled:
        if one.get("role") == "assistant" and isinstance(one.get("tool_calls"), list | tuple):
            made |= {str(call.get("id")): where for call in one["tool_calls"] if isinstance(call, Mapping)}
        elif one.get("role") == "tool":
            call_id = str(one.get("tool_call_id"))
            if call_id not in made:
                raise FormatError(f"{where} answers the call {call_id[:60]!r}, which no message before it makes", where)
            results[made[call_id], call_id] = _text(one.get("content"), where)
    return results


def _assistant(
    one: Mapping[str, Any], where: str, names: Names, results: Mapping[tuple[str, str], str]
) -> Iterable[Message]:
    """The calls of a message, then their `results`; or its answer."""
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
        if (where, call_id) not in results:
            raise FormatError(f"{where}.tool_calls has the call {call_id[:60]!r} without a tool message for it", where)
        made.append((names.id_of(function.get("name"), where), arguments, call_id))
        contents.append(results[where, call_id])
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
