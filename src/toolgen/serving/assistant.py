"""Assistant: the next step of a conversation, for many clients at once. Knows no wire format.

One loaded checkpoint, one engine: conversations share its passes. What cannot be begun soon is refused, not kept waiting
without end, and what nobody waits for any more is cancelled.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from toolgen.agent import GenerativePolicy, acting_policy
from toolgen.checkpoint import Checkpoint
from toolgen.errors import UsageError
from toolgen.inference.engine import Engine, Handle, Request
from toolgen.inference.machine import release_freed
from toolgen.retrieval.generative import GenerativeRetriever
from toolgen.serving.errors import BusyError
from toolgen.serving.request_tools import RequestTools
from toolgen.serving.steps import CountWork, Reply, Step, StepWork

T = TypeVar("T")
RELEASE_SECONDS = 10.0
"""How often the memory that conversations have left goes back to the kernel."""


class Assistant:
    """Takes steps with a checkpoint: `running` at once, `waiting` more in a queue, each for at most `seconds`. Where a step
    does not say which tools it may call, these are `tools` (None: the whole catalog). The `policy` is the checkpoint's, by
    default `acting_policy`."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        tools: tuple[str, ...] | None = None,
        policy: GenerativePolicy | None = None,
        running: int = 32,
        waiting: int = 64,
        seconds: float = 120.0,
    ) -> None:
        if min(running, waiting, seconds) <= 0:
            raise UsageError(f"running, waiting and seconds are above 0; got {running}, {waiting} and {seconds}")
        self.checkpoint = checkpoint
        self.engine = Engine(checkpoint.model, concurrency=running)
        self._policy = policy or acting_policy(checkpoint)
        self._own = RequestTools(self._policy)
        self._tools = None if tools == checkpoint.catalog.ids else tools
        self._most, self._seconds = running + waiting, seconds
        self._lock = threading.Lock()
        self._open: set[Handle[Any]] = set()
        self._closed = threading.Event()
        self._releasing = threading.Thread(target=self._release, name="toolgen-memory", daemon=True)
        self._releasing.start()

    @property
    def load(self) -> int:
        """How many steps run or wait."""
        with self._lock:
            self._open = {handle for handle in self._open if not handle.done}
            return len(self._open)

    def submit(self, step: Step) -> Handle[Reply]:
        """Begins a step. BusyError at once if too many wait; see `StepWork` for the handle's events and errors."""
        tools = step.tools
        if tools is None and self._tools is not None:
            tools = (*self._tools, *(tool.id for tool in step.own))
        return self._begin(StepWork(replace(step, tools=tools), self._checked(step)))

    def count(self, step: Step) -> Handle[int]:
        """How many tokens the model would read for a step, under the same limits."""
        return self._begin(CountWork(step, self._checked(step)))

    def begin(self, make: Callable[[GenerativePolicy], Request[T]]) -> Handle[T]:
        """Begins what `make` makes of the model's policy, under the same limits."""
        return self._begin(make(self._policy))

    def _checked(self, step: Step) -> RequestTools:
        if step.own:
            self._own.check(step.own)
        return self._own

    def _begin(self, work: Request[T]) -> Handle[T]:
        if self.load >= self._most:
            raise BusyError(f"{self._most} requests are being answered or wait already; try again in a second")
        handle = self.engine.submit(work, deadline=self._seconds)
        with self._lock:
            self._open.add(handle)
        return handle

    def retriever(self) -> GenerativeRetriever:
        """Searches whose passes are shared with conversations."""
        return GenerativeRetriever(self.checkpoint, engine=self.engine)

    def close(self) -> None:
        """Cancels what runs and frees the threads."""
        self._closed.set()
        self._own.close()
        self.engine.close()
        self._releasing.join()

    def _release(self) -> None:
        while not self._closed.wait(RELEASE_SECONDS):
            release_freed()
