"""A server of a tiny checkpoint in a thread of this process, for the clients that people use."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from toolgen.agent import Action
from toolgen.catalog.naming import wire_name
from toolgen.checkpoint import Checkpoint
from toolgen.checkpoint.layout import StageRecord
from toolgen.datasets.messages import FINISH
from toolgen.datasets.trajectory import Message
from toolgen.decoding.decoder import ToolChoice
from toolgen.testing import tiny_checkpoint

ALERTS = "weather&&get_alerts"
LETTER = 'Grüße 🚕 "quoted" \\ and\nlines'


@contextmanager
def served(app: Any, close: Callable[[], None] = lambda: None) -> Iterator[str]:
    """The address of an app that is served meanwhile, and what is closed afterwards."""
    import uvicorn

    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", timeout_graceful_shutdown=10)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 20
    while not server.started and time.monotonic() < until:
        time.sleep(0.01)
    assert server.started
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(20)
        close()


@pytest.fixture(scope="session")
def checkpoint() -> Checkpoint:
    return tiny_checkpoint(max_position_embeddings=2048, spare=4)


@pytest.fixture(scope="module")
def script(checkpoint: Checkpoint) -> Script:
    return Script(checkpoint)


@pytest.fixture(scope="module")
def address(checkpoint: Checkpoint, script: Script) -> Iterator[str]:
    from toolgen.serving.app import make_app
    from toolgen.serving.assistant import Assistant
    from toolgen.serving.request_tools import RequestTools
    from toolgen.serving.service import Service

    assistant = Assistant(checkpoint, running=2, waiting=1, seconds=20)
    service = Service("tiny", checkpoint.catalog, assistant.retriever(), assistant)
    assistant._policy = script  # type: ignore[assignment]
    assistant._own = RequestTools(script)  # type: ignore[arg-type]
    with served(make_app(service), assistant.close) as url:
        yield url


@pytest.fixture(scope="session")
def trained() -> Checkpoint:
    """As `checkpoint`, and its history says that it has learned to act."""
    made = tiny_checkpoint(max_position_embeddings=2048)
    made.stages = (StageRecord(stage="agent"),)
    return made


class Script:
    """Stands where the policy does: gives the next of its actions, letter by letter, and remembers what it was asked."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.decoder = SimpleNamespace(protocol=checkpoint.protocol)
        self.actions: list[Action] = []
        self.asked: list[dict[str, Any]] = []
        self.hold = threading.Event()
        self.hold.set()
        self.cancelled = threading.Event()

    def conversation(self, work: Any, options: Any = None, **_how: Any) -> Script:
        self.work, self.options = work, options
        return self

    def extended(self, checkpoint: Checkpoint) -> Script:
        self.decoder.protocol = self.checkpoint.protocol.extended(checkpoint.vocabulary, checkpoint.catalog)
        return self

    def act(
        self,
        messages: Sequence[Message],
        tools: Sequence[str] | None = None,
        *,
        prompt: Sequence[int] | None = None,
        tokens: int | None = None,
        required: bool = False,
        parallel: bool = True,
        on_choice: Callable[[ToolChoice], None] | None = None,
        on_text: Callable[[int, str, str], bool | None],
        verbatim: bool = False,
    ) -> Action:
        how = {"tokens": tokens, "required": required, "parallel": parallel, "options": self.options}
        self.asked.append({"messages": messages, "tools": tools, **how})
        while not self.hold.wait(0.02):
            try:
                self.work.check()
            except BaseException:
                self.cancelled.set()
                raise
        action = self.actions.pop(0)
        for place, one in enumerate((action, *action.parallel)):
            if on_choice:
                on_choice(chosen(one.tool))
            if one.stuck == "context_full":
                break
            on_text(place, one.tool, "")
            text = json.dumps(dict(one.arguments))
            for end in (len(text),) if one.is_call and not verbatim else (*range(0, len(text) + 1, 3), len(text)):
                if on_text(place, one.tool, text[:end]):
                    return Action(tool=one.tool, stuck="arguments_cut", fault="stopped", tokens=one.tokens)
        return action


def chosen(tool: str) -> ToolChoice:
    """A choice that was sure by 75%."""
    others = [(other, 0.05) for other in ("mail&&send", "clock&&now") if other != tool]
    candidates = ((tool, 0.75), *others)
    return ToolChoice(tool=tool, probability=0.75, tool_exists=True, tool_allowed=True, candidates=candidates)


def calls(*regions: str) -> Action:
    """Independent calls, one for each region."""
    first, *others = (call(region=region) for region in regions)
    return replace(first, parallel=tuple(others))


def call(tool: str = ALERTS, **arguments: Any) -> Action:
    return Action(tool=tool, arguments=arguments or {"region": "Oslo"}, tokens=7)


def answer(text: str = LETTER) -> Action:
    return Action(tool=FINISH, arguments={"answer": text}, tokens=5)


def wire(checkpoint: Checkpoint, tool: str = ALERTS) -> str:
    return wire_name(checkpoint.catalog.get(tool))


def said(messages: Iterable[Mapping[str, Any]]) -> list[tuple[str, Any]]:
    """Role and text of each message, or tool and arguments of each call in it."""
    told: list[tuple[str, Any]] = []
    for message in messages:
        made = [call["function"] for call in message.get("tool_calls") or ()]
        told += [(one["name"], json.loads(one["arguments"])) for one in made] or [(message["role"], message["content"])]
    return told
