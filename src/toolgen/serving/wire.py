"""The answers of the OpenAI-compatible API: whole, and as the chunks and events of a stream. Knows no server and no model."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from toolgen.datasets.messages import FINISH, NO_TOOL
from toolgen.serving.likelihoods import Likelihood
from toolgen.serving.offers import Names
from toolgen.serving.steps import Begun, Piece, Reply

Json = dict[str, Any]


class Answer(Protocol):
    """A step's answer in the form of one protocol. Every event is to be given to `events`, then the reply to `end`: what they
    yield are the events of a stream, and what is no stream is `whole`, afterwards."""

    def events(self, event: Begun | Piece) -> Iterator[Json]:
        """What a stream tells of an event."""

    def end(self, reply: Reply) -> Iterator[Json]:
        """What closes a stream."""

    def whole(self, reply: Reply) -> Json:
        """The answer at once."""


def new_id(prefix: str) -> str:
    """An identifier that nobody else has."""
    return f"{prefix}_{uuid.uuid4().hex}"


@dataclass
class ChatAnswer:
    """One answer of Chat Completions; `usage`: a stream ends with its tokens."""

    model: str
    names: Names
    usage: bool = False
    id: str = field(default_factory=lambda: new_id("chatcmpl"))
    created: int = field(default_factory=lambda: int(time.time()))
    _call_ids: list[str] = field(default_factory=list)

    def whole(self, reply: Reply) -> Json:
        """`chat.completion`."""
        message: Json = {"role": "assistant", "content": None, "refusal": None}
        if reply.calls:
            message["tool_calls"] = [
                {"id": call_id, "type": "function", "function": self._function(tool, text)}
                for call_id, (tool, text) in zip(self._call_ids, reply.calls, strict=True)
            ]
        elif reply.tool is None:
            message["content"] = reply.text
        logprobs = None if reply.likelihoods is None else self._logprobs(reply.likelihoods)
        choice = {"index": 0, "message": message, "finish_reason": _finish_reason(reply), "logprobs": logprobs}
        return self._head("chat.completion") | {"choices": [choice], "usage": _chat_usage(reply)}

    def events(self, event: Begun | Piece) -> Iterator[Json]:
        """Chunks."""
        if isinstance(event, Begun):
            yield self._chunk({"role": "assistant", "content": None})
            return
        logprobs = self._logprobs(event.likelihoods) if event.likelihoods else None
        if event.tool is None:
            if event.text or logprobs:
                yield self._chunk({"content": event.text}, logprobs=logprobs)
        elif event.place == len(self._call_ids):
            self._call_ids.append(new_id("call"))
            function = self._function(event.tool, event.text)
            yield self._call_chunk(event, logprobs, id=self._call_ids[-1], type="function", function=function)
        elif event.text or logprobs:
            yield self._call_chunk(event, logprobs, function={"arguments": event.text})

    def end(self, reply: Reply) -> Iterator[Json]:
        """The last chunks."""
        yield self._chunk({}, _finish_reason(reply))
        if self.usage:
            yield self._head("chat.completion.chunk") | {"choices": [], "usage": _chat_usage(reply)}

    def _head(self, kind: str) -> Json:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}

    def _function(self, tool: str, arguments: str) -> Json:
        return {"name": self.names.wire(tool), "arguments": arguments}

    def _call_chunk(self, piece: Piece, logprobs: Json | None, **call: Any) -> Json:
        return self._chunk({"tool_calls": [{"index": piece.place, **call}]}, logprobs=logprobs)

    def _logprobs(self, likelihoods: Sequence[Likelihood]) -> Json:
        return {"content": [self._token(one) for one in likelihoods], "refusal": None}

    def _token(self, one: Likelihood) -> Json:
        """A choice has the wire name of its tool; that of an answer, which adds nothing to it, is empty."""

        def told(name: str, log_probability: float) -> Json:
            return {"token": name, "bytes": [*name.encode()], "logprob": log_probability}

        def named(text: str) -> str:
            return self.names.wire(text) if one.is_choice and text not in (FINISH, NO_TOOL) else text

        text = "" if one.is_choice and one.text in (FINISH, NO_TOOL) else named(one.text)
        likeliest = [told(named(other), share) for other, share in one.likeliest]
        return told(text, one.log_probability) | {"top_logprobs": likeliest}

    def _chunk(self, delta: Json, finish: str | None = None, logprobs: Json | None = None) -> Json:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": logprobs}
        return self._head("chat.completion.chunk") | {"choices": [choice]}


def _finish_reason(reply: Reply) -> str:
    return {"call": "tool_calls", "length": "length"}.get(reply.end, "stop")


def _chat_usage(reply: Reply) -> Json:
    return {
        "prompt_tokens": reply.prompt_tokens,
        "completion_tokens": reply.tokens,
        "total_tokens": reply.prompt_tokens + reply.tokens,
    }


@dataclass
class ResponseAnswer:
    """One answer of the Responses API. `searches`: the request asked for tool search, so a call of a tool that is not `listed`
    shows what was found for the request `query`. `echo` is what a response repeats of its request."""

    model: str
    names: Names
    query: str
    searches: bool = False
    listed: frozenset[str] = frozenset()
    echo: Json = field(default_factory=dict)
    id: str = field(default_factory=lambda: new_id("resp"))
    created: int = field(default_factory=lambda: int(time.time()))
    output: list[Json] = field(default_factory=list)
    _number: int = 0
    _begun: int = 0

    def whole(self, reply: Reply) -> Json:
        """`response`."""
        cut = reply.end == "length"
        return self._response("incomplete" if cut else "completed") | {
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "usage": {
                "input_tokens": reply.prompt_tokens,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": reply.tokens,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": reply.prompt_tokens + reply.tokens,
            },
        }

    def events(self, event: Begun | Piece) -> Iterator[Json]:
        """Items begin, and their texts grow."""
        if isinstance(event, Begun):
            yield self._event("response.created", response=self._response("in_progress"))
            yield self._event("response.in_progress", response=self._response("in_progress"))
            return
        if event.place == self._begun:
            if self._begun:
                yield from self._close("completed")
            self._begun += 1
            yield from self._open_message() if event.tool is None else self._open_call(event.tool)
        if event.text:
            yield self._delta(event.text, event.tool is None)

    def end(self, reply: Reply) -> Iterator[Json]:
        """The item ends, and the response."""
        yield from self._close("incomplete" if reply.end == "length" else "completed")
        whole = self.whole(reply)
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

    def _close(self, status: str) -> Iterator[Json]:
        item = self.output[-1]
        item["status"] = status
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
            "parallel_tool_calls": True,
            "instructions": None,
            "metadata": {},
            "temperature": None,
            "top_p": None,
            "tools": [],
            "tool_choice": "auto",
            **self.echo,
        }
