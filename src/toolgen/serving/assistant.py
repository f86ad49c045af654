"""Assistant: the next step of a conversation, for many clients at once. Knows no wire format.

One loaded checkpoint, one engine: conversations share its passes. What cannot be begun soon is refused, not kept waiting
without end, and what nobody waits for any more is cancelled.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

from toolgen.agent import Action, GenerativePolicy
from toolgen.checkpoint import Checkpoint
from toolgen.datasets.trajectory import Message
from toolgen.decoding import DecodingOptions
from toolgen.errors import ToolgenError, UsageError
from toolgen.inference.engine import Engine, Handle, Work
from toolgen.inference.sampling import Sampling
from toolgen.retrieval.generative import GenerativeRetriever


class BusyError(ToolgenError):
    """As many requests wait already as may."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """What is asked for: the assistant's next action after `messages`.

    `tools` are those that it may call (None: the whole catalog); with `required` it has to call one of them. `tokens` bounds
    what is written.
    """

    messages: Sequence[Message]
    tools: tuple[str, ...] | None = None
    required: bool = False
    tokens: int = 1024
    temperature: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class Written:
    """An event while an action is made: the action that was chosen, and the text of its arguments so far."""

    tool: str
    arguments: str


class Assistant:
    """Takes steps with a checkpoint: `running` at once, `waiting` more in a queue, each for at most `seconds`. Where a step
    does not say which tools it may call, these are `tools` (None: the whole catalog)."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        tools: tuple[str, ...] | None = None,
        running: int = 32,
        waiting: int = 64,
        seconds: float = 120.0,
    ) -> None:
        if min(running, waiting, seconds) <= 0:
            raise UsageError(f"running, waiting and seconds are above 0; got {running}, {waiting} and {seconds}")
        self.checkpoint = checkpoint
        self.engine = Engine(checkpoint.model, concurrency=running)
        self._policy = GenerativePolicy(checkpoint)
        self._tools = None if tools == checkpoint.catalog.ids else tools
        self._most, self._seconds = running + waiting, seconds
        self._lock = threading.Lock()
        self._open: set[Handle[Action]] = set()

    @property
    def load(self) -> int:
        """How many steps run or wait."""
        with self._lock:
            self._open = {handle for handle in self._open if not handle.done}
            return len(self._open)

    def submit(self, step: Step) -> Handle[Action]:
        """Begins a step. BusyError at once if too many wait; the handle's events are `Written`."""
        if self.load >= self._most:
            raise BusyError(f"{self._most} requests are being answered or wait already; try again in a second")
        whole = step if step.tools is not None else replace(step, tools=self._tools)
        handle = self.engine.submit(_StepWork(self._policy, whole), deadline=self._seconds)
        with self._lock:
            self._open.add(handle)
        return handle

    def retriever(self) -> GenerativeRetriever:
        """Searches whose passes are shared with conversations."""
        return GenerativeRetriever(self.checkpoint, engine=self.engine)

    def prompt_tokens(self, messages: Sequence[Message]) -> int:
        """How many tokens the model reads before it decides."""
        return len(self.checkpoint.protocol.prompt(messages))

    def close(self) -> None:
        """Cancels what runs and frees the engine's threads."""
        self.engine.close()


@dataclass(frozen=True)
class _StepWork:
    policy: GenerativePolicy
    step: Step

    def run(self, work: Work) -> Action:
        step = self.step
        options = DecodingOptions(sampling=Sampling(temperature=step.temperature, seed=step.seed))
        policy = self.policy.for_task("", work, options)
        return policy.act(
            step.messages,
            step.tools,
            tokens=step.tokens,
            required=step.required,
            on_text=lambda tool, arguments: work.emit(Written(tool, arguments)),
        )
