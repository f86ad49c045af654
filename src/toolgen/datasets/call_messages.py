"""Messages of conversations with calls, in the forms in which they are published, as what each says or does.

Roles, keys and marks of the forms stand in the tables below; the calls of a text are read by its marks, or where it is nothing
but calls. Calls with other marks are not read, and never taken for an answer. Knows no record and no file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from toolgen.catalog.loaders.openai_functions import WRAPPERS
from toolgen.datasets.call_text import literal, parse_calls
from toolgen.foreign.data import clean

Json = dict[str, Any]
NamedCall = tuple[str, Json]
Role = Literal["system", "user", "assistant", "call", "result"]

_ROLES: Mapping[str, Role] = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("gpt", "assistant", "model", "ai"), "assistant"),
    **dict.fromkeys(("function_call", "tool_call"), "call"),
    **dict.fromkeys(("observation", "tool", "tool_response", "function", "ipython"), "result"),
}
# Where a message says by whom it is: chats, ShareGPT, LangChain.
_ROLE_KEYS = ("role", "from", "type")
# What stands between two marks holds the first one no second time: else many without an end would cost their square.
_CALL = re.compile(
    r"<tool_call>(.*?)(?:</tool_call>|\Z)"
    r"|(?:<\|python_tag\|>|\[TOOL_CALLS\]|<functioncall>|<\|tool_call\|>|<TOOLCALL>)(.*?)"
    r"(?:<\|/?\w+\|>|</functioncall>|</TOOLCALL>|\Z)",
    re.DOTALL,
)
# Marks of calls in other forms: tags with these words (Llama's `<function=f>`, DeepSeek, Kimi, Cohere), gpt-oss, ReAct.
_OTHER_CALL = re.compile(
    r"<[|｜/]?\w*(?:tool|function|action|call)[\w▁=.:-]*[|｜]?>|<\|channel\|>|^Action Input:",
    re.MULTILINE | re.IGNORECASE,
)
_RESULT = re.compile(r"<tool_response>((?:(?!<tool_response>).)*?)</tool_response>", re.DOTALL)
# A template may have written the first tag, so that a text has the last one alone.
_THOUGHT = re.compile(
    r"<(think|thinking|thought|reasoning|scratch_pad)>(?:(?!<\1>).)*?</\1>|\A(?:(?!<think>).)*?</think>", re.DOTALL
)
_END = re.compile(r"(?:\s*(?:<\|\w+\|>|</s>|<eos>|<end_of_turn>))+\s*\Z")  # of a turn, as templates mark it
_FENCE = re.compile(r"```\w*\n(.*)\n```", re.DOTALL)
# Types of parts of messages, or of items between them: Anthropic's, OpenAI's Responses, LangChain's.
_CALL_TYPES = frozenset({"tool_use", "function_call", "tool_call"})
_RESULT_TYPES = frozenset({"tool_result", "function_call_output"})
# Keys of parts of messages: Bedrock's, and Gemini's over HTTP and in Python.
_CALL_PARTS = ("toolUse", "functionCall", "function_call")
_RESULT_PARTS = ("toolResult", "functionResponse", "function_response")
_ARGUMENTS = ("arguments", "parameters", "input", "args")
_NO_ARGUMENTS: tuple[Any, ...] = (None, "", [], {})
_RESULTS = ("content", "response", "output")
# What ties a result to its call; in Responses `id` is the item's own.
_CALL_KEYS = ("call_id", "id", "toolUseId", "name")
_RESULT_KEYS = ("call_id", "tool_use_id", "toolUseId", "id", "name")
# Parts of messages that neither ask, call nor answer.
_ASIDE = frozenset({"thinking", "redacted_thinking", "reasoning", "reasoningContent", "cachePoint"})
# What parts of results hold that is no text: Anthropic's, OpenAI's and Bedrock's words.
_MEDIA = ("image", "image_url", "input_image", "document", "video", "audio", "input_audio", "file")


class Unreadable(Exception):
    """Why a record cannot be read, in a few words."""


@dataclass(frozen=True)
class Event:
    """What one message says or does: a text of the user or the assistant, a call, or a result. `key` is what ties a result to
    its call, empty if nothing does."""

    kind: Literal["user", "assistant", "call", "result"]
    text: str = ""
    call: NamedCall = ("", {})
    key: str = ""


def plain_message(message: Any) -> Json:
    """A message without what LangChain's ways to write one down put around it. Unreadable if it is none."""
    if not isinstance(message, dict):
        raise Unreadable(f"a message of it is no object: {str(message)[:60]!r}")
    if "lc" in message and isinstance(message.get("kwargs"), dict):
        return dict(message["kwargs"])
    if "role" not in message and isinstance(message.get("data"), dict):
        return {**message["data"], "type": message.get("type")}
    return message


def role_of(message: Json) -> Role | None:
    """By whom a message is; None for what is known by no name."""
    return _ROLES.get(_named_role(message).lower())


def _named_role(message: Json) -> str:
    return next((str(message[key]) for key in _ROLE_KEYS if message.get(key) is not None), "")


def content_of(message: Json) -> Any:
    """What a message holds: a text or parts, None if nothing."""
    return next((message[key] for key in ("content", "value", "parts") if message.get(key) is not None), None)


def events_of(message: Json, names: Sequence[str]) -> Iterator[Event]:
    """What a message says and does, one after another. `names` are those of the functions on offer."""
    if not {"role", "from"} & message.keys() and message.get("type") in _CALL_TYPES | _RESULT_TYPES | _ASIDE:
        yield from _part(message)  # an item of OpenAI's Responses
        return
    role, content = role_of(message), content_of(message)
    if role is None:
        raise Unreadable(
            f"a message of it is by {_named_role(message)!r:.60}; expected system, user, assistant or tool"
        )
    if role == "system":
        return
    if role == "result" and not _holds_results(content):
        yield from _results(plain_text(content), str(message.get("tool_call_id") or message.get("name") or ""))
        return
    parts = content if isinstance(content, list) else [] if content is None else [content]
    parts = [{"text": part} if isinstance(part, str) else part for part in parts]
    texts = [part["text"] for part in parts if "text" in part and part.get("thought") is not True]  # Gemini's thoughts
    others = [event for part in parts if "text" not in part for event in _part(part)]
    said = _said(role, "\n".join(texts).strip(), names)
    yield from (*others, *said) if role == "user" else (*said, *others)  # results come before what is asked next
    yield from _listed_calls(message, {event.key for event in others})


def _listed_calls(message: Json, made: set[str]) -> Iterator[Event]:
    """The calls beside a message's content but those that its parts have made: LangChain keeps Anthropic's in both places."""
    if message.get("invalid_tool_calls"):
        raise Unreadable("a call of it was already unreadable where it was written down (invalid_tool_calls)")
    called = [message["function_call"]] if message.get("function_call") else []
    for call in decoded(message.get("tool_calls") or called, "tool_calls"):
        if not call.get("id") or call["id"] not in made:
            yield _call(call.get("function", call), call.get("id"))


def _holds_results(content: Any) -> bool:
    """Whether the parts of a message say themselves that they are results."""
    return isinstance(content, list) and any(isinstance(one, dict) and _result_of(one) for one in content)


def _said(role: str, text: str, names: Sequence[str]) -> Iterator[Event]:
    """What a text of the user, the assistant, or a role of its own for calls says."""
    text = _END.sub("", text)
    if role == "call":
        yield from (Event("call", call=call) for call in _tagged_calls(text))
    elif "<tool_response>" in text and not _RESULT.sub("", text).strip():
        yield from _results(text, "")
    elif role == "user" and text:
        yield Event("user", text)
    elif role == "assistant":
        text = _THOUGHT.sub("", text).strip()
        marked = [call for found in _CALL.findall(text) for call in _tagged_calls("".join(found).strip())]
        bare = [] if marked else _bare_calls(text, names)
        rest = "" if bare else _CALL.sub("", text).strip()
        if other := _OTHER_CALL.search(rest):
            raise Unreadable(
                f"a call in its text is written in a form that is not read: {rest[other.start() :][:60]!r}"
            )
        if rest:
            yield Event("assistant", rest)
        yield from (Event("call", call=call) for call in marked or bare)


def _tagged_calls(text: str) -> list[NamedCall]:
    try:
        calls = tagged(text)
    except ValueError:
        raise Unreadable(f"a call in its text is no JSON: {text[:60]!r}") from None
    return [named_call(call) for call in calls]


def _bare_calls(text: str, names: Sequence[str]) -> list[NamedCall]:
    """The calls of a text that is nothing but calls, as JSON or, of functions on offer, as `name(key=value)`."""
    fenced = _FENCE.fullmatch(text)
    text = fenced[1].strip() if fenced else text
    try:
        values = tagged(text) if text[:1] in ("{", "[") else []
    except ValueError:
        values = []
    if values and all_named(values) and all({"arguments", "parameters"} & one.keys() for one in values):
        return [named_call(one) for one in values]
    return [(name, clean(arguments)) for name, arguments in parse_calls(text, names)]


def _results(text: str, key: str) -> Iterator[Event]:
    for one in _RESULT.findall(text) or [text]:
        yield Event("result", one.strip(), key=key)


# --- parts and values -------------------------------------------------------------------------------------------------


def _part(part: Json) -> Iterator[Event]:
    """The call or result that a part of a message, or an item between messages, holds."""
    call = part if part.get("type") in _CALL_TYPES else _first(part, _CALL_PARTS)
    if call is not None:
        yield _call(call, _first(call, _CALL_KEYS))
    elif result := _result_of(part):
        held = next((result[key] for key in _RESULTS if key in result), None)
        yield Event("result", plain_text(held), key=str(_first(result, _RESULT_KEYS) or ""))
    elif part.get("type") not in _ASIDE and not _ASIDE & part.keys():
        raise Unreadable(f"a part of its messages is no text, call or result: {', '.join(part)[:60]!r}")


def _result_of(part: Json) -> Any:
    return part if part.get("type") in _RESULT_TYPES else _first(part, _RESULT_PARTS)


def _first(part: Json, keys: Sequence[str]) -> Any:
    return next((part[key] for key in keys if part.get(key)), None)


def plain_text(value: Any) -> str:
    """A text, the texts of a list of parts, or the JSON of what is neither."""
    if value is None or isinstance(value, str):
        return (value or "").strip()
    if isinstance(value, dict) and isinstance(value.get("parts"), list):  # Gemini's systemInstruction
        value = value["parts"]
    if isinstance(value, list):
        return "\n".join(map(_text_of_part, value))
    return json.dumps(
        value["json"] if isinstance(value, dict) and value.keys() == {"json"} else value, ensure_ascii=False
    )


def _text_of_part(part: Any) -> str:
    if not isinstance(part, dict):
        return plain_text(part)
    for medium in _MEDIA:
        if part.get("type") == medium or part.keys() == {medium}:
            raise Unreadable(f"a part of a result is no text: {medium}")
    return plain_text(part.get("text", part))


def _call(value: Any, key: Any = None) -> Event:
    return Event("call", call=named_call(value), key=str(key or ""))


def named_call(value: Any) -> NamedCall:
    """Name and arguments of a call. Unreadable if it is none."""
    value = literal(value) if isinstance(value, str) else value
    given: Any = next((value[key] for key in _ARGUMENTS if value.get(key) not in _NO_ARGUMENTS), {})
    arguments = literal(given) if isinstance(given, str) else given
    if not isinstance(value.get("name"), str) or not isinstance(arguments, dict):
        raise Unreadable(f"expected a call with name and arguments, got {str(value)[:60]!r}")
    return value["name"], arguments


def decoded(value: Any, what: str) -> list[Any]:
    """A list, or the list that a text holds as JSON. Unreadable if it is none."""
    try:
        content = literal(value) if isinstance(value, str) else value
    except ValueError as error:
        raise Unreadable(f"its {what} are no JSON: {error}") from None
    if not isinstance(content, list):
        raise Unreadable(f"its {what} are a {type(content).__name__} instead of a list")
    return content


def all_named(values: Sequence[Any]) -> bool:
    """Whether these are functions or calls: objects with a name, or with what wraps one."""
    return all(isinstance(one, dict) and {"name", *WRAPPERS} & one.keys() for one in values)


def tagged(text: str) -> list[Any]:
    """The values of a text: a list, one a line, or JSON one after another. ValueError if it holds anything else."""
    try:
        value = literal(text)
        return value if isinstance(value, list) else [value]
    except ValueError:
        pass
    try:
        return [literal(line) for line in text.split("\n") if line.strip()]
    except ValueError:
        return list(_one_after_another(text))


def _one_after_another(text: str) -> Iterator[Any]:
    place = 0
    while rest := text[place:].lstrip(" \t\r\n;,"):
        try:
            value, end = json.JSONDecoder().raw_decode(rest)
        except RecursionError:
            raise ValueError("nested too deeply") from None
        yield clean(value)
        place = len(text) - len(rest) + end
