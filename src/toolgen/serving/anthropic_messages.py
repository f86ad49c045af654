"""Anthropic's Messages: its requests as those of a chat, its answers whole and as the events of a stream. Source: Anthropic's
API reference, as the types of its SDK 2.14 give it. Knows no server and no model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from toolgen.datasets.trajectory import Message
from toolgen.serving.errors import FormatError
from toolgen.serving.offers import Names
from toolgen.serving.openai_messages import chat_messages
from toolgen.serving.steps import Begun, Piece, Reply
from toolgen.serving.wire import Json, new_id

SEARCH_TOOLS = {"tool_search_tool_bm25": "query", "tool_search_tool_regex": "pattern"}
"""Anthropic's tools that search, and what their only argument is called. Their types may end in a date."""
PASSED_OVER = frozenset({"server_tool_use", "tool_search_tool_result", "thinking", "redacted_thinking"})
"""Blocks of the assistant that say nothing that the model has to know."""
CHOICES = {"auto": "auto", "any": "required", "none": "none"}


def anthropic_messages(given: Sequence[Mapping[str, Any]], system: Any, names: Names) -> list[Message]:
    """The messages of a request."""
    turns: list[tuple[str, Json]] = [("system", {"role": "system", "content": system})] if system else []
    for place, one in enumerate(given):
        where = f"messages[{place}]"
        turns += [(where, turn) for turn in _turns(one.get("role"), _blocks(one.get("content"), where), where)]
    return chat_messages([turn for _, turn in turns], names, [where for where, _ in turns])


def openai_tools(tools: Sequence[Mapping[str, Any]] | None) -> list[Json]:
    """Tools as OpenAI writes them."""
    return [_function(tool) for tool in tools or ()]


def openai_choice(choice: Mapping[str, Any] | None) -> Any:
    """`tool_choice` as OpenAI writes it."""
    kind = str(choice.get("type")) if choice else "auto"
    if choice and kind == "tool":
        return {"type": "function", "name": choice.get("name")}
    if kind not in CHOICES:
        raise FormatError(f"tool_choice is auto, any, tool or none; got {kind[:60]!r}", "tool_choice")
    return CHOICES[kind]


def search_tool(tools: Sequence[Mapping[str, Any]]) -> str | None:
    """The name of the tool of a request that searches the catalog."""
    kinds = [str(tool.get("type")) for tool in tools]
    return next((name for kind in kinds for name in SEARCH_TOOLS if kind.startswith(name)), None)


@dataclass
class MessageAnswer:
    """One answer of the Messages API. `search` is the tool that a call of a tool that is not `listed` is found with, for the
    request `query`."""

    model: str
    names: Names
    query: str
    search: str | None = None
    listed: frozenset[str] = frozenset()
    id: str = field(default_factory=lambda: new_id("msg"))
    content: list[Json] = field(default_factory=list)
    _begun: int = 0

    def whole(self, reply: Reply) -> Json:
        """`message`."""
        inputs = iter([json.loads(text) for _, text in reply.calls])
        content = [
            {**block, "input": next(inputs)} if block["type"] == "tool_use" else block
            for block in (self.content if reply.tool is None or reply.calls else self.content[:-1])
        ]
        return self._message(content, reply.prompt_tokens, reply.tokens) | _stopped(reply)

    def events(self, event: Begun | Piece) -> Iterator[Json]:
        """Blocks begin, and their texts grow."""
        if isinstance(event, Begun):
            yield {"type": "message_start", "message": self._message([], event.prompt_tokens, 0)}
            return
        if event.place == self._begun:
            if self._begun:
                yield self._stop()
            self._begun += 1
            if event.tool is None:
                yield self._start({"type": "text", "text": "", "citations": None})
            else:
                yield from self._call(event.tool)
        if event.text:
            yield self._delta("text_delta" if event.tool is None else "input_json_delta", event.text)

    def end(self, reply: Reply) -> Iterator[Json]:
        """The last block ends, and the message."""
        if reply.tool is None:
            self.content[-1]["text"] = reply.text
        yield self._stop()
        usage = {"input_tokens": reply.prompt_tokens, "output_tokens": reply.tokens}
        yield {"type": "message_delta", "delta": _stopped(reply), "usage": usage}
        yield {"type": "message_stop"}

    def _call(self, tool: str) -> Iterator[Json]:
        name = self.names.wire(tool)
        if self.search and tool not in self.listed:
            key = SEARCH_TOOLS[self.search]
            given = {key: self.query if key == "query" else name}
            search = {"type": "server_tool_use", "id": new_id("srvtoolu"), "name": self.search}
            yield self._start({**search, "input": {}})
            yield self._delta("input_json_delta", json.dumps(given, ensure_ascii=False))
            yield self._stop()
            self.content[-1]["input"] = given
            references = [{"type": "tool_reference", "tool_name": name}]
            found = {"type": "tool_search_tool_search_result", "tool_references": references}
            yield self._start({"type": "tool_search_tool_result", "tool_use_id": search["id"], "content": found})
            yield self._stop()
        yield self._start({"type": "tool_use", "id": new_id("toolu"), "name": name, "input": {}})

    def _start(self, block: Json) -> Json:
        self.content.append(block)
        return {"type": "content_block_start", "index": len(self.content) - 1, "content_block": dict(block)}

    def _delta(self, kind: str, text: str) -> Json:
        delta = {"type": kind, "text" if kind == "text_delta" else "partial_json": text}
        return {"type": "content_block_delta", "index": len(self.content) - 1, "delta": delta}

    def _stop(self) -> Json:
        return {"type": "content_block_stop", "index": len(self.content) - 1}

    def _message(self, content: Sequence[Json], read: int, written: int) -> Json:
        return {
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": [*content],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": read, "output_tokens": written},
        }


def _stopped(reply: Reply) -> Json:
    reasons = {"call": "tool_use", "answer": "end_turn", "stop": "stop_sequence", "length": "max_tokens"}
    return {"stop_reason": reasons[reply.end], "stop_sequence": reply.stop}


def _function(tool: Mapping[str, Any]) -> Json:
    """A tool as a chat request has it."""
    kind = str(tool.get("type") or "custom")
    if kind == "custom":
        described = {"description": tool.get("description"), "parameters": tool.get("input_schema")}
        return {"type": "function", "function": {"name": tool.get("name"), **described}}
    return {"type": "tool_search" if kind.startswith(tuple(SEARCH_TOOLS)) else kind}


def _blocks(content: Any, where: str) -> list[Mapping[str, Any]]:
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(blocks, list) or not all(isinstance(block, Mapping) for block in blocks):
        raise FormatError(f"{where}.content is a text or a list of blocks", where)
    return blocks


def _turns(role: Any, blocks: Sequence[Mapping[str, Any]], where: str) -> Iterator[Json]:
    """One message as those of a chat: a user's results of calls are messages of their own."""
    texts: list[Mapping[str, Any]] = []
    calls: list[Json] = []
    for block in blocks:
        kind = str(block.get("type"))
        if kind == "text":
            texts.append(block)
        elif kind == "tool_use" and role == "assistant":
            arguments = json.dumps(block.get("input"), ensure_ascii=False)
            calls.append({"id": block.get("id"), "function": {"name": block.get("name"), "arguments": arguments}})
        elif kind == "tool_result" and role == "user":
            yield {"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": _result(block, where)}
        elif kind not in PASSED_OVER or role != "assistant":
            raise FormatError(f"{where}.content has a block of the type {kind[:60]!r}; not known here", where)
    if role != "user" or texts:
        yield {"role": role, "content": texts, **({"tool_calls": calls} if calls else {})}


def _result(block: Mapping[str, Any], where: str) -> list[Json] | str:
    """The text of a result. Of a tool that a search of the client's own has found, the model knows the rest."""
    content = block.get("content")
    if content is None or isinstance(content, str):
        return content or ""
    return [
        {"text": part.get("tool_name") if part.get("type") == "tool_reference" else part.get("text")}
        for part in _blocks(content, where)
    ]
