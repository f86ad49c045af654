"""One record of function-calling data, in any published form, as turns of a user with what the assistant did in each.

    {"query", "tools", "answers"}                                     xLAM, APIGen (arXiv 2406.18518)
    {"conversations": [{"from", "value"}, ...], "tools"}              APIGen-MT (arXiv 2504.03601)
    {"system": "... [functions as JSON] ...", "conversations": [...]} ToolACE (arXiv 2409.00920)
    {"messages": [{"role", "content", "tool_calls"}, ...], "tools"}   fine-tuning data of OpenAI and TRL, Anthropic's blocks
    {"messages": [{"type": "human", "content"}, ...], "tools"}        LangChain
    {"prompt": [...], "completion": [...], "tools"}                   TRL
    {"input": [...], "output": [...], "tools"}                        OpenAI's Responses
    {"messages": [...], "toolConfig": {"tools": [...]}}               Bedrock
    {"contents": [{"role", "parts"}, ...], "tools"}                   Gemini

In texts, `<tools>`, `<tool_call>` and `<tool_response>` mean what Hermes and Qwen mean by them; Llama, Mistral, Glaive,
Granite and Nemotron begin calls with `<|python_tag|>`, `[TOOL_CALLS]`, `<functioncall>`, `<|tool_call|>` and `<TOOLCALL>`.
`tools`, `answers` and the messages are JSON or its text. `call_messages.py` reads the messages. Knows no file and no dataset.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from toolgen.catalog.loaders.json_records import listed_records
from toolgen.catalog.loaders.openai_functions import function_of
from toolgen.catalog.tool import canonical_json
from toolgen.datasets.call_messages import (
    Event,
    Json,
    NamedCall,
    Unreadable,
    all_named,
    content_of,
    decoded,
    events_of,
    named_call,
    plain_message,
    plain_text,
    role_of,
    tagged,
)
from toolgen.datasets.call_text import literal
from toolgen.errors import CatalogError
from toolgen.foreign.data import clean

_CHATS = ("conversations", "messages", "contents")
# What was asked and what came of it: messages, or the text of a single one.
_PARTED = {"prompt": "completion", "input": "output"}
# What stands between two marks holds the first one no second time: else many without an end would cost their square.
_TOOLS = re.compile(r"<tools>((?:(?!<tools>).)*?)</tools>", re.DOTALL)
_MAX_BROKEN = 100


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


def read_record(record: Any, name: str, parsed: dict[str, tuple[Json, ...]]) -> Record:
    """The record called `name`. `parsed` keeps lists of functions, which repeat from record to record. Unreadable, or one of
    the exceptions of a value that is not as expected."""
    if not isinstance(record, dict):
        raise Unreadable(f"expected an object, got {type(record).__name__}")
    if {"query", "tools", "answers"} <= record.keys() and record.keys().isdisjoint(_CHATS):
        step = Step()
        for answer in decoded(record["answers"], "answers"):
            step.calls.append(named_call(answer))
        if not isinstance(record["query"], str) or not (text := record["query"].strip()):
            raise Unreadable("its query is empty or no text")
        return Record(name, _functions(record["tools"], parsed), (Turn(text, [step]),))
    messages = [plain_message(one) for one in _messages(record)]
    functions = _offered(record, messages, parsed)
    names = [function["name"] for function in functions]
    events = (event for message in messages for event in events_of(message, names))
    return Record(name, functions, tuple(_turns(events)))


def _messages(record: Json) -> list[Any]:
    """The messages of a chat, whole or in two parts."""
    if chat := next((key for key in _CHATS if key in record), None):
        return decoded(record[chat], chat)
    if asked := next((key for key in _PARTED if key in record), None):
        return [*_said(record[asked], "user"), *_said(record.get(_PARTED[asked]), "assistant")]
    keys = ", ".join([*_CHATS, *(f"{asked} and {given}" for asked, given in _PARTED.items())])
    raise Unreadable(f"expected query, tools and answers, or tools with a chat ({keys})")


def _said(value: Any, role: str) -> list[Any]:
    """Messages as a list, as its JSON, or as one text of a role."""
    if isinstance(value, str):
        try:
            held = literal(value)
        except ValueError:
            held = None
        is_chat = isinstance(held, list) and all(isinstance(one, dict) for one in held)
        return held if is_chat else [{"role": role, "content": value}]
    return [] if value is None else [value] if isinstance(value, dict) else list(value)


def _turns(events: Iterable[Event]) -> list[Turn]:
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
    said = (one for one in messages if role_of(one) == "system")
    system = [plain_text(record.get(key)) for key in ("system", "systemInstruction", "system_instruction")]
    return _functions_in("\n".join([*system, *(plain_text(content_of(one)) for one in said)]), parsed)


def _functions(value: Any, parsed: dict[str, tuple[Json, ...]]) -> tuple[Json, ...]:
    key = value if isinstance(value, str) else canonical_json(value)
    if key not in parsed:
        try:
            given = tagged(value) if isinstance(value, str) else value
        except ValueError as error:
            raise Unreadable(f"its tools are no JSON: {error}") from None
        parsed[key] = tuple(_function(one) for one in listed_records(given))
    return parsed[key]


def _functions_in(system: str, parsed: dict[str, tuple[Json, ...]]) -> tuple[Json, ...]:
    """The functions in the tags of a text, else its first JSON list of objects with names, else all such objects."""
    if inside := [text.strip() for text in _TOOLS.findall(system) if text.strip()]:
        return _functions("\n".join(inside), parsed)
    if listed := next(filter(all_named, _json_in(system, r"\[\s*\{")), None):
        return _functions(listed, parsed)
    if alone := [one for one in _json_in(system, r"\{") if all_named([one])]:  # Glaive
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


def _function(value: Any) -> Json:
    try:
        function = function_of(value)
    except CatalogError as error:
        raise Unreadable(f"it offers what is no function: {error}") from None
    if not isinstance(function.get("name"), str) or not function["name"].strip():
        raise Unreadable(f"it offers a function without a name: {str(value)[:60]!r}")
    return function
