"""One record of function-calling data, in any published form, as turns of a user with what the assistant did in each.

    {"query", "tools", "answers"}                                     xLAM, APIGen (arXiv 2406.18518)
    {"conversations": [{"from", "value"}, ...], "tools"}              APIGen-MT (arXiv 2504.03601)
    {"system": "... [functions as JSON] ...", "conversations": [...]} ToolACE (arXiv 2409.00920)
    {"messages": [{"role", "content", "tool_calls"}, ...], "tools"}   fine-tuning data of OpenAI and TRL, Anthropic's blocks
    {"messages": [...], "toolConfig": {"tools": [...]}}               Bedrock
    {"contents": [{"role", "parts"}, ...], "tools"}                   Gemini

In texts, `<tools>`, `<tool_call>` and `<tool_response>` mean what Hermes and Qwen mean by them; Llama, Mistral, Glaive,
Granite and Nemotron begin calls with `<|python_tag|>`, `[TOOL_CALLS]`, `<functioncall>`, `<|tool_call|>` and `<TOOLCALL>`.
Calls with other marks are not read, and never taken for an answer. `tools`, `answers` and the messages are JSON or its
text. Knows no file and no dataset.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from toolgen.catalog.loaders.json_records import listed_records
from toolgen.catalog.loaders.openai_functions import WRAPPERS, function_of
from toolgen.catalog.tool import canonical_json
from toolgen.datasets.call_text import literal, parse_calls
from toolgen.errors import CatalogError
from toolgen.foreign.data import clean

Json = dict[str, Any]
NamedCall = tuple[str, Json]

_ROLES: Mapping[str, Literal["system", "user", "assistant", "call", "result"]] = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("gpt", "assistant", "model", "ai"), "assistant"),
    **dict.fromkeys(("function_call", "tool_call"), "call"),
    **dict.fromkeys(("observation", "tool", "tool_response", "function", "ipython"), "result"),
}
_CHATS = ("conversations", "messages", "contents")
# What stands between two marks holds the first one no second time: else many without an end would cost their square.
_TOOLS = re.compile(r"<tools>((?:(?!<tools>).)*?)</tools>", re.DOTALL)
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
# Keys of parts of messages: Bedrock's, and Gemini's over HTTP and in Python.
_CALL_PARTS = ("toolUse", "functionCall", "function_call")
_ARGUMENTS = ("arguments", "parameters", "input", "args")
_MAX_BROKEN = 100
_NO_ARGUMENTS: tuple[Any, ...] = (None, "", [], {})
_RESULT_PARTS = ("toolResult", "functionResponse", "function_response")
# Parts of messages that neither ask, call nor answer.
_ASIDE = frozenset({"thinking", "redacted_thinking", "reasoning", "reasoningContent", "cachePoint"})
# What parts of results hold that is no text: Anthropic's, OpenAI's and Bedrock's words.
_MEDIA = ("image", "image_url", "input_image", "document", "video", "audio", "input_audio", "file")


class Unreadable(Exception):
    """Why a record cannot be read, in a few words."""


@dataclass
class Step:
    """What the assistant did: calls with their keys and what came back to which key; or a text alone."""

    calls: list[NamedCall] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    answers: list[tuple[str, str]] = field(default_factory=list)
    text: str = ""

    @property
    def results(self) -> list[str] | None:
        """One result a call, in their order; None where one has none. A single text without a key answers all calls: if it
        is a JSON list of as many results, it is parted."""
        if len(self.answers) == 1 and len(self.calls) > 1 and not self.answers[0][0]:
            return _parted(self.answers[0][1], len(self.calls))
        found = dict(self.answers)
        if len(found) == len(self.answers) == len(self.calls) and set(found) == set(self.keys):
            return [found[key] for key in self.keys]
        return [text for _, text in self.answers] if len(self.answers) == len(self.calls) else None


@dataclass
class Turn:
    """What a user said, and the assistant's steps upon it."""

    text: str
    steps: list[Step] = field(default_factory=list)

    @property
    def calls(self) -> list[NamedCall]:
        """The calls of all steps."""
        return [call for step in self.steps for call in step.calls]


@dataclass(frozen=True)
class Record:
    """A record: the functions that it offers, and at least one turn."""

    id: str
    functions: tuple[Json, ...]
    turns: tuple[Turn, ...]


@dataclass(frozen=True)
class _Event:
    """What one message says or does: a text of the user or the assistant, a call, or a result. `key` is what ties a result to
    its call, empty if nothing does."""

    kind: Literal["user", "assistant", "call", "result"]
    text: str = ""
    call: NamedCall = ("", {})
    key: str = ""


def read_record(record: Any, name: str, parsed: dict[str, tuple[Json, ...]]) -> Record:
    """The record called `name`. `parsed` keeps lists of functions, which repeat from record to record. Unreadable, or one of
    the exceptions of a value that is not as expected."""
    if not isinstance(record, dict):
        raise Unreadable(f"expected an object, got {type(record).__name__}")
    chat = next((key for key in _CHATS if key in record), None)
    if chat is None and not {"query", "tools", "answers"} <= record.keys():
        raise Unreadable("expected query, tools and answers, or tools with conversations, messages or contents")
    if chat is None:
        step = Step()
        for answer in _decoded(record["answers"], "answers"):
            step.calls.append(_named_call(answer))
        if not isinstance(record["query"], str) or not (text := record["query"].strip()):
            raise Unreadable("its query is empty or no text")
        return Record(name, _functions(record["tools"], parsed), (Turn(text, [step]),))
    messages = _decoded(record[chat], chat)
    for one in messages:
        if not isinstance(one, dict):
            raise Unreadable(f"a message of it is no object: {str(one)[:60]!r}")
    functions = _offered(record, messages, parsed)
    names = [function["name"] for function in functions]
    events = (event for message in messages for event in _events(message, names))
    return Record(name, functions, tuple(_turns(events)))


def _turns(events: Iterable[_Event]) -> list[Turn]:
    turns: list[Turn] = []
    for event in events:
        steps = turns[-1].steps if turns else []
        if event.kind == "user" and turns and not steps:
            turns[-1].text += f"\n{event.text}"
        elif event.kind == "user":
            turns.append(Turn(event.text))
        elif event.kind == "assistant":
            steps.append(Step(text=event.text))
        elif event.kind == "call":
            if not steps or not steps[-1].calls or steps[-1].answers:
                steps.append(Step())
            steps[-1].calls.append(event.call)
            steps[-1].keys.append(event.key)
        elif steps and steps[-1].calls:
            steps[-1].answers.append((event.key, event.text))
    if not turns:
        raise Unreadable("nobody asks for anything in it")
    if not turns[0].steps:
        raise Unreadable("its first request has no answer")
    return turns


def _parted(text: str, count: int) -> list[str]:
    try:
        parts = json.loads(text)
    except (ValueError, RecursionError):
        parts = None
    if isinstance(parts, list) and len(parts) == count:
        return [json.dumps(part, ensure_ascii=False) for part in parts]
    return [text] * count


# --- functions --------------------------------------------------------------------------------------------------------


def _offered(record: Json, messages: Sequence[Any], parsed: dict[str, tuple[Json, ...]]) -> tuple[Json, ...]:
    configured = record.get("toolConfig")
    declared = [record.get("tools"), record.get("functions"), configured and configured["tools"]]
    given = next((one for one in declared if one), None)
    if given is not None:
        return _functions(given, parsed)
    said = (one for one in messages if _ROLES.get(_role(one)) == "system")
    system = [_plain_text(record.get(key)) for key in ("system", "systemInstruction", "system_instruction")]
    return _functions_in("\n".join([*system, *(_plain_text(_content(one)) for one in said)]), parsed)


def _functions(value: Any, parsed: dict[str, tuple[Json, ...]]) -> tuple[Json, ...]:
    key = value if isinstance(value, str) else canonical_json(value)
    if key not in parsed:
        try:
            given = _tagged(value) if isinstance(value, str) else value
        except ValueError as error:
            raise Unreadable(f"its tools are no JSON: {error}") from None
        parsed[key] = tuple(_function(one) for one in listed_records(given))
    return parsed[key]


def _functions_in(system: str, parsed: dict[str, tuple[Json, ...]]) -> tuple[Json, ...]:
    """The functions in the tags of a text, else its first JSON list of objects with names, else all such objects."""
    if inside := [text.strip() for text in _TOOLS.findall(system) if text.strip()]:
        return _functions("\n".join(inside), parsed)
    if listed := next(filter(_all_named, _json_in(system, r"\[\s*\{")), None):
        return _functions(listed, parsed)
    if alone := [one for one in _json_in(system, r"\{") if _all_named([one])]:  # Glaive
        return _functions(alone, parsed)
    raise Unreadable("it offers no functions: neither 'tools' nor their JSON in 'system'")


def _json_in(text: str, begin: str) -> Iterator[Any]:
    """The JSON values in a text, one after another, that begin as `begin` says; no more than some broken ones are tried."""
    place = broken = 0
    while broken < _MAX_BROKEN and (start := re.compile(begin).search(text, place)):
        try:
            value, place = json.JSONDecoder().raw_decode(text, start.start())
            yield clean(value)
        except (ValueError, RecursionError):
            place, broken = start.start() + 1, broken + 1


def _all_named(values: Sequence[Any]) -> bool:
    return all(isinstance(one, dict) and {"name", *WRAPPERS} & one.keys() for one in values)


def _tagged(text: str) -> list[Any]:
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


def _function(value: Any) -> Json:
    try:
        function = function_of(value)
    except CatalogError as error:
        raise Unreadable(f"it offers what is no function: {error}") from None
    if not isinstance(function.get("name"), str) or not function["name"].strip():
        raise Unreadable(f"it offers a function without a name: {str(value)[:60]!r}")
    return function


# --- messages ---------------------------------------------------------------------------------------------------------


def _role(message: Json) -> str:
    return str(message.get("role", message.get("from"))).lower()


def _content(message: Json) -> Any:
    return next((message[key] for key in ("content", "value", "parts") if message.get(key) is not None), None)


def _events(message: Json, names: Sequence[str]) -> Iterator[_Event]:
    role, content = _ROLES.get(_role(message)), _content(message)
    if role is None:
        given = message.get("role", message.get("from", message.get("type")))
        raise Unreadable(f"a message of it is by {given!r:.60}; expected system, user, assistant or tool")
    if role == "system":
        return
    if role == "result" and not _holds_results(content):
        yield from _results(_plain_text(content), str(message.get("tool_call_id") or message.get("name") or ""))
        return
    parts = content if isinstance(content, list) else [] if content is None else [content]
    parts = [{"text": part} if isinstance(part, str) else part for part in parts]
    texts = [part["text"] for part in parts if "text" in part and part.get("thought") is not True]  # Gemini's thoughts
    others = [event for part in parts if "text" not in part for event in _part(part)]
    said = _said(role, "\n".join(texts).strip(), names)
    yield from (*others, *said) if role == "user" else (*said, *others)  # results come before what is asked next
    called = [message["function_call"]] if message.get("function_call") else []
    for call in _decoded(message.get("tool_calls") or called, "tool_calls"):
        yield _call(call.get("function", call), call.get("id"))


def _holds_results(content: Any) -> bool:
    """Whether the parts of a message say themselves that they are results."""
    return isinstance(content, list) and any(isinstance(one, dict) and _result_of(one) for one in content)


def _said(role: str, text: str, names: Sequence[str]) -> Iterator[_Event]:
    """What a text of the user, the assistant, or a role of its own for calls says."""
    text = _END.sub("", text)
    if role == "call":
        yield from (_Event("call", call=call) for call in _tagged_calls(text))
    elif "<tool_response>" in text and not _RESULT.sub("", text).strip():
        yield from _results(text, "")
    elif role == "user" and text:
        yield _Event("user", text)
    elif role == "assistant":
        text = _THOUGHT.sub("", text).strip()
        tagged = [call for found in _CALL.findall(text) for call in _tagged_calls("".join(found).strip())]
        bare = [] if tagged else _bare_calls(text, names)
        rest = "" if bare else _CALL.sub("", text).strip()
        if other := _OTHER_CALL.search(rest):
            raise Unreadable(
                f"a call in its text is written in a form that is not read: {rest[other.start() :][:60]!r}"
            )
        if rest:
            yield _Event("assistant", rest)
        yield from (_Event("call", call=call) for call in tagged or bare)


def _tagged_calls(text: str) -> list[NamedCall]:
    try:
        calls = _tagged(text)
    except ValueError:
        raise Unreadable(f"a call in its text is no JSON: {text[:60]!r}") from None
    return [_named_call(call) for call in calls]


def _bare_calls(text: str, names: Sequence[str]) -> list[NamedCall]:
    """The calls of a text that is nothing but calls, as JSON or, of functions on offer, as `name(key=value)`."""
    fenced = _FENCE.fullmatch(text)
    text = fenced[1].strip() if fenced else text
    try:
        values = _tagged(text) if text[:1] in ("{", "[") else []
    except ValueError:
        values = []
    if values and _all_named(values) and all({"arguments", "parameters"} & one.keys() for one in values):
        return [_named_call(one) for one in values]
    return [(name, clean(arguments)) for name, arguments in parse_calls(text, names)]


def _results(text: str, key: str) -> Iterator[_Event]:
    for one in _RESULT.findall(text) or [text]:
        yield _Event("result", one.strip(), key=key)


def _part(part: Json) -> Iterator[_Event]:
    """The call or result that a part of a message holds, as Anthropic, Bedrock and Gemini write them."""
    call = part if part.get("type") == "tool_use" else _first(part, _CALL_PARTS)
    if call is not None:
        yield _call(call, call.get("id") or call.get("toolUseId") or call.get("name"))
    elif result := _result_of(part):
        key = next((result[name] for name in ("tool_use_id", "toolUseId", "id", "name") if result.get(name)), "")
        yield _Event("result", _plain_text(result.get("content", result.get("response"))), key=str(key))
    elif part.get("type") not in _ASIDE and not _ASIDE & part.keys():
        raise Unreadable(f"a part of its messages is no text, call or result: {', '.join(part)[:60]!r}")


def _result_of(part: Json) -> Any:
    return part if part.get("type") == "tool_result" else _first(part, _RESULT_PARTS)


def _first(part: Json, keys: Sequence[str]) -> Any:
    return next((part[key] for key in keys if part.get(key)), None)


def _plain_text(value: Any) -> str:
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
        return _plain_text(part)
    for medium in _MEDIA:
        if part.get("type") == medium or part.keys() == {medium}:
            raise Unreadable(f"a part of a result is no text: {medium}")
    return _plain_text(part.get("text", part))


def _call(value: Any, key: Any = None) -> _Event:
    return _Event("call", call=_named_call(value), key=str(key or ""))


def _named_call(value: Any) -> NamedCall:
    value = literal(value) if isinstance(value, str) else value
    given: Any = next((value[key] for key in _ARGUMENTS if value.get(key) not in _NO_ARGUMENTS), {})
    arguments = literal(given) if isinstance(given, str) else given
    if not isinstance(value.get("name"), str) or not isinstance(arguments, dict):
        raise Unreadable(f"expected a call with name and arguments, got {str(value)[:60]!r}")
    return value["name"], arguments


def _decoded(value: Any, what: str) -> list[Any]:
    try:
        content = literal(value) if isinstance(value, str) else value
    except ValueError as error:
        raise Unreadable(f"its {what} are no JSON: {error}") from None
    if not isinstance(content, list):
        raise Unreadable(f"its {what} are a {type(content).__name__} instead of a list")
    return content
