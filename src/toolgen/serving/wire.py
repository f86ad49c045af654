"""The answers of the OpenAI-compatible API: whole, and as the chunks and events of a stream. Knows no server and no model."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from toolgen.agent import Action
from toolgen.datasets.messages import FINISH, NO_TOOL
from toolgen.serving.assistant import Written
from toolgen.serving.openai_messages import DECLINED, Names, answer_so_far

Json = dict[str, Any]


def new_id(prefix: str) -> str:
    """An identifier that nobody else has."""
    return f"{prefix}_{uuid.uuid4().hex}"


def arguments_text(action: Action) -> str:
    """The arguments of a call as the wire has them."""
    return json.dumps(dict(action.arguments), ensure_ascii=False)


def content_of(action: Action) -> str:
    """What the user reads of an action that is no call of a tool."""
    if action.is_finish:
        return str(action.arguments.get("answer", ""))
    return DECLINED if action.is_decline else ""


def is_call(action: Action) -> bool:
    """Whether a tool is called."""
    return not (action.stuck or action.is_finish or action.is_decline)


@dataclass
class Pieces:
    """What is new in each event of a step: the tool's name once, then pieces of its arguments, or pieces of the answer."""

    tool: str = ""
    sent: int = 0

    def of(self, event: Written) -> tuple[bool, str]:
        """Whether the tool is new, and the piece of text that is."""
        is_new, self.tool = event.tool != self.tool, event.tool
        text = answer_so_far(event.arguments) if event.tool == FINISH else event.arguments
        if event.tool == NO_TOOL:
            text = DECLINED
        piece, self.sent = text[self.sent :], max(self.sent, len(text))
        return is_new, piece


@dataclass(frozen=True)
class ChatAnswer:
    """One answer of Chat Completions."""

    model: str
    names: Names
    prompt_tokens: int
    id: str = field(default_factory=lambda: new_id("chatcmpl"))
    call_id: str = field(default_factory=lambda: new_id("call"))
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, action: Action) -> Json:
        """`chat.completion`."""
        message: Json = {"role": "assistant", "content": None, "refusal": None}
        if is_call(action):
            function = {"name": self.names.wire(action.tool), "arguments": arguments_text(action)}
            message["tool_calls"] = [{"id": self.call_id, "type": "function", "function": function}]
        else:
            message["content"] = content_of(action)
        choice = {"index": 0, "message": message, "finish_reason": finish_reason(action), "logprobs": None}
        return self._head("chat.completion") | {"choices": [choice], "usage": self.usage(action)}

    def first(self) -> Json:
        """The chunk that opens a stream."""
        return self._chunk({"role": "assistant", "content": None})

    def piece(self, pieces: Pieces, event: Written) -> Iterator[Json]:
        """The chunks of an event."""
        is_new, text = pieces.of(event)
        if event.tool in (FINISH, NO_TOOL):
            if text:
                yield self._chunk({"content": text})
            return
        if is_new:
            function = {"name": self.names.wire(event.tool), "arguments": ""}
            yield self._chunk(
                {"tool_calls": [{"index": 0, "id": self.call_id, "type": "function", "function": function}]}
            )
        if text:
            yield self._chunk({"tool_calls": [{"index": 0, "function": {"arguments": text}}]})

    def last(self, action: Action, usage: bool) -> Iterator[Json]:
        """The chunks that close a stream."""
        yield self._chunk({}, finish_reason(action))
        if usage:
            yield self._head("chat.completion.chunk") | {"choices": [], "usage": self.usage(action)}

    def usage(self, action: Action) -> Json:
        """Tokens read and written."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": action.tokens,
            "total_tokens": self.prompt_tokens + action.tokens,
        }

    def _head(self, kind: str) -> Json:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}

    def _chunk(self, delta: Json, finish: str | None = None) -> Json:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        return self._head("chat.completion.chunk") | {"choices": [choice]}


def finish_reason(action: Action) -> str:
    """Why an answer ends."""
    if is_call(action):
        return "tool_calls"
    return "length" if action.stuck == "arguments_cut" else "stop"


@dataclass
class ResponseAnswer:
    """One answer of the Responses API. `searches`: the request asked for tool search, so a call shows what was found.

    Items are built as the events of a stream come; `whole` puts them together.
    """

    model: str
    names: Names
    prompt_tokens: int
    query: str
    searches: bool = False
    listed: frozenset[str] = frozenset()
    echo: Json = field(default_factory=dict)
    id: str = field(default_factory=lambda: new_id("resp"))
    created: int = field(default_factory=lambda: int(time.time()))
    output: list[Json] = field(default_factory=list)
    _number: int = 0

    def whole(self, action: Action) -> Json:
        """`response`, after all events of it."""
        cut = action.stuck == "arguments_cut"
        return self._response("incomplete" if cut else "completed") | {
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "usage": {
                "input_tokens": self.prompt_tokens,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": action.tokens,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": self.prompt_tokens + action.tokens,
            },
        }

    def first(self) -> Iterator[Json]:
        """The events that open a stream."""
        yield self._event("response.created", response=self._response("in_progress"))
        yield self._event("response.in_progress", response=self._response("in_progress"))

    def piece(self, pieces: Pieces, event: Written) -> Iterator[Json]:
        """The events of one step's event."""
        is_new, text = pieces.of(event)
        answers = event.tool in (FINISH, NO_TOOL)
        if is_new:
            yield from self._open_message() if answers else self._open_call(event.tool)
        if text:
            yield self._delta(text, answers)

    def last(self, action: Action) -> Iterator[Json]:
        """The events that close a stream."""
        if self.output and self.output[-1].get("status") == "in_progress":
            yield from self._close(action)
        whole = self.whole(action)
        yield self._event(f"response.{whole['status']}", response=whole)

    def _open_call(self, tool: str) -> Iterator[Json]:
        if self.searches and tool not in self.listed:
            found = [self.names.definition(tool)]
            both = {"call_id": None, "execution": "server", "status": "completed"}
            search = {"type": "tool_search_call", "id": new_id("tsc"), "arguments": {"query": self.query}, **both}
            for item in (search, {"type": "tool_search_output", "id": new_id("tso"), "tools": found, **both}):
                yield from self._added(item)
                yield self._event("response.output_item.done", output_index=len(self.output) - 1, item=item)
        call = {"type": "function_call", "id": new_id("fc"), "call_id": new_id("call"), "name": self.names.wire(tool)}
        yield from self._added({**call, "arguments": "", "status": "in_progress"})

    def _open_message(self) -> Iterator[Json]:
        message = {"type": "message", "id": new_id("msg"), "role": "assistant", "status": "in_progress", "content": []}
        yield from self._added(message)
        part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        yield self._event("response.content_part.added", **self._place(content=True), part=dict(part))
        self.output[-1]["content"] = [part]

    def _delta(self, text: str, answers: bool) -> Json:
        if answers:
            self.output[-1]["content"][0]["text"] += text
            return self._event("response.output_text.delta", **self._place(content=True), delta=text, logprobs=[])
        self.output[-1]["arguments"] += text
        return self._event("response.function_call_arguments.delta", **self._place(), delta=text)

    def _close(self, action: Action) -> Iterator[Json]:
        item = self.output[-1]
        item["status"] = "incomplete" if action.stuck else "completed"
        if item["type"] == "message":
            (part,) = item["content"]
            place = self._place(content=True)
            yield self._event("response.output_text.done", **place, text=part["text"], logprobs=[])
            yield self._event("response.content_part.done", **place, part=part)
        else:
            done = {"arguments": item["arguments"], "name": item["name"]}
            yield self._event("response.function_call_arguments.done", **self._place(), **done)
        yield self._event("response.output_item.done", output_index=len(self.output) - 1, item=item)

    def _added(self, item: Json) -> Iterator[Json]:
        self.output.append(item)
        yield self._event("response.output_item.added", output_index=len(self.output) - 1, item=dict(item))

    def _place(self, *, content: bool = False) -> Json:
        place = {"item_id": self.output[-1]["id"], "output_index": len(self.output) - 1}
        return place | ({"content_index": 0} if content else {})

    def _event(self, kind: str, **fields: Any) -> Json:
        self._number += 1
        return {"type": kind, "sequence_number": self._number - 1, **fields}

    def _response(self, status: str) -> Json:
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "model": self.model,
            "status": status,
            "output": [dict(item) for item in self.output],
            "error": None,
            "incomplete_details": None,
            "parallel_tool_calls": False,
            "instructions": None,
            "metadata": {},
            "temperature": None,
            "top_p": None,
            "tools": [],
            "tool_choice": "auto",
            **self.echo,
        }
