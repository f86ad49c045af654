"""Engine: one loaded model that many callers use at once, by continuous batching (Orca, OSDI 2022).

One thread makes the passes. Each takes new tokens of all sequences that wait, one after another in one row without padding,
up to `pass_tokens`; every sequence attends to its own keys and values. Sequences come and go between passes. A long prompt
is read in parts of `shared_tokens` while others write, so that it does not hold them up. Beginnings that come again (a
system turn, a conversation that goes on) are copied from a cache of bounded size instead of being read again.

Guaranteed:
- What a sequence gets is what it gets alone, up to rounding: other tokens in the row change the order of sums in matrix
  products (relative differences of about 1e-6; with `int8` weights not even these). A greedy choice changes only where two
  scores are equal up to that.
- Of those that wait, a smaller `priority` goes first, then who writes, then who came first. More urgent work can hold up
  less urgent work as long as it fills the passes; nothing else can.
- A request that is slow, is cancelled, fails or misses its deadline holds up no other: nobody waits for it longer than a
  quarter of a pass (or 5 ms), and a pass that fails is made again for each sequence alone, so that the failure is that of
  its cause.

Knows token ids and scores; no tool, grammar or message.
"""

from __future__ import annotations

import atexit
import heapq
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from dataclasses import dataclass, field, replace
from itertools import count, islice
from queue import SimpleQueue
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor
from transformers import PreTrainedModel

from toolgen.errors import DeadlineError, UsageError
from toolgen.inference.cache import PrefixCache
from toolgen.inference.passes import Part, Runner
from toolgen.inference.session import Session
from toolgen.inference.weights import Weights

T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)

STEP = 32
"""A sequence that adds at most so many tokens to what it has is writing, not reading."""
PATIENCE, LEAST_PATIENCE = 0.25, 0.005
"""How long the next pass waits for sequences of the last one that have not come back: in passes, and at least in seconds."""
IDLE = 0.5
"""Seconds after which the thread ends if nobody asks."""


_STARTED: weakref.WeakSet[Engine] = weakref.WeakSet()
"""Engines that have made passes."""


@atexit.register
def _end_threads() -> None:
    """A thread that wakes while the interpreter ends would be cut off within PyTorch, which can abort the process."""
    for engine in [*_STARTED]:
        engine.end_thread()


class Request(Protocol[R_co]):
    """What can be submitted: a piece of work that makes its passes by the `work` that it is given."""

    def run(self, work: Work) -> R_co:
        """Carries it out; called in a thread of its own."""


@dataclass(frozen=True, eq=False)
class _Ticket:
    """On whose behalf passes are made."""

    priority: int = 0
    deadline: float | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)

    def check(self) -> None:
        """CancelledError or DeadlineError if nobody waits any more."""
        if self.cancelled.is_set():
            raise CancelledError("the request was cancelled")
        if self.deadline is not None and time.monotonic() >= self.deadline:
            raise DeadlineError("the request took longer than its deadline; give it more time, or ask for less")


@dataclass(eq=False)
class _Job:
    """A part on its way through one or several passes."""

    part: Part
    ticket: _Ticket
    number: int
    done: int = 0
    outputs: list[Tensor] = field(default_factory=list)
    future: Future[Tensor] = field(default_factory=Future)

    @property
    def left(self) -> int:
        return len(self.part.ids) - self.done

    @property
    def begins(self) -> bool:
        """Whether nothing stands in its cache but what the job itself has put there."""
        return len(self.part.cache) == self.done and self.part.seen_NC is None

    @property
    def writes(self) -> bool:
        return self.left <= STEP and self.done == 0 and len(self.part.cache) > 0

    @property
    def order(self) -> tuple[int, bool, int]:
        return self.ticket.priority, not self.writes, self.number

    def next(self, tokens: int) -> Part:
        """Its next tokens; what is kept of them is the end of what is kept of all."""
        stop = self.done + tokens
        kept = max(0, stop - max(self.done, len(self.part.ids) - self.part.keep))
        whole = tokens == len(self.part.ids)
        return self.part if whole else replace(self.part, ids=self.part.ids[self.done : stop], keep=kept)


class Handle(Generic[T]):
    """A submitted request. Iterating gives its events as they come; it ends when the request does."""

    def __init__(self, ticket: _Ticket, number: int) -> None:
        self._ticket = ticket
        self._number = number
        self._future: Future[T] = Future()
        self._events: SimpleQueue[Any] = SimpleQueue()
        self._begun = threading.Lock()
        self._timer: threading.Timer | None = None
        if ticket.deadline is not None:
            self._timer = threading.Timer(max(0.0, ticket.deadline - time.monotonic()), self._expire)
            self._timer.daemon = True
            self._timer.start()

    def result(self, timeout: float | None = None) -> T:
        """Waits for the result. Raises what the request raised, CancelledError, DeadlineError, or TimeoutError."""
        return self._future.result(timeout)

    @property
    def done(self) -> bool:
        """Whether there is a result, or an error."""
        return self._future.done()

    def cancel(self) -> None:
        """Ends the request, at its next pass if it has begun; one that has ended stays as it is."""
        self._ticket.cancelled.set()
        if self._timer:
            self._timer.cancel()
        if self._future.cancel():
            self._events.put(_END)

    def _begin(self) -> bool:
        """Whether the caller is the first to take this request up, and nobody has cancelled it."""
        first = self._begun.acquire(blocking=False)
        if self._timer:
            self._timer.cancel()
        return first and self._future.set_running_or_notify_cancel()

    def _expire(self) -> None:
        """The deadline of a request that still waits for its turn; one that runs hears of it at its next pass."""
        if self._begin():
            try:
                self._ticket.check()
            except (CancelledError, DeadlineError) as error:
                self._future.set_exception(error)
            self._events.put(_END)

    def __iter__(self) -> Iterator[Any]:
        while (event := self._events.get()) is not _END:
            yield event
        self._events.put(_END)  # for whoever iterates again

    def __lt__(self, other: Handle[Any]) -> bool:
        return (self._ticket.priority, self._number) < (other._ticket.priority, other._number)


_END = object()


class Work:
    """What a running request has: passes at its priority, until it is cancelled or its deadline is over. It is a `Passes`."""

    def __init__(self, engine: Engine, ticket: _Ticket, emit: Callable[[Any], None]) -> None:
        self.device, self.limit = engine.device, engine.limit
        self.emit = emit
        """Sends an event to whoever iterates over the handle."""
        self._engine, self._ticket = engine, ticket

    def check(self) -> None:
        """CancelledError or DeadlineError if nobody waits for it any more; passes ask it themselves."""
        self._ticket.check()

    def run(self, parts: Sequence[Part]) -> list[Tensor]:
        """See `Passes`."""
        return self._engine._run(parts, self._ticket)

    def session(self, *, seed: int = 0) -> Session:
        """An empty sequence."""
        return Session(self, seed=seed)


class Engine:
    """Makes the passes of one model for all who ask. It is a `Passes`, for sessions of the caller's own threads, and takes
    whole requests (`submit`), at most `concurrency` of which run at once. Threads are started when they are needed and end by
    themselves; `close`, or leaving the context, ends them now.

    `weights`: see `weights.py`. `prefix_mebibytes` bounds the cache of beginnings.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        weights: Weights = "auto",
        pass_tokens: int = 512,
        shared_tokens: int = 96,
        prefix_mebibytes: float = 256,
        concurrency: int = 64,
    ) -> None:
        if min(pass_tokens, shared_tokens, concurrency) < 1:
            raise UsageError(
                "an engine needs pass_tokens, shared_tokens and concurrency above 0; got "
                f"{pass_tokens}, {shared_tokens} and {concurrency}"
            )
        self._runner = Runner(model, weights=weights)
        self.device, self.limit, self.weights = self._runner.device, self._runner.limit, self._runner.weights
        self.prefixes = PrefixCache(int(prefix_mebibytes * 2**20))
        self.passes = 0
        """Passes made so far."""
        self._pass_tokens, self._shared_tokens, self._concurrency = pass_tokens, shared_tokens, concurrency
        self._changed = threading.Condition()
        self._numbers = count()
        self._jobs: list[_Job] = []
        self._expected: set[int] = set()
        self._wait_until = 0.0
        self._thread: threading.Thread | None = None
        self._version = self._runner.version
        self._waiting: list[tuple[Handle[Any], Request[Any]]] = []
        self._workers: set[threading.Thread] = set()
        self._running: set[Handle[Any]] = set()
        self._closed = False

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, parts: Sequence[Part]) -> list[Tensor]:
        """See `Passes`; an interrupt or error withdraws what was not done."""
        return self._run(parts, _Ticket())

    def session(self, *, seed: int = 0) -> Session:
        """An empty sequence, for one thread at a time."""
        return Session(self, seed=seed)

    def submit(self, request: Request[T], *, priority: int = 0, deadline: float | None = None) -> Handle[T]:
        """Begins a request as soon as fewer than `concurrency` run; of those that wait, a smaller `priority` first. After
        `deadline` seconds it ends with a DeadlineError."""
        until = None if deadline is None else time.monotonic() + deadline
        handle: Handle[T] = Handle(_Ticket(priority, until), next(self._numbers))
        with self._changed:
            self._check_open()
            heapq.heappush(self._waiting, (handle, request))
            if len(self._workers) < self._concurrency:
                worker = threading.Thread(target=self._serve, name="toolgen-request", daemon=True)
                self._workers.add(worker)
                worker.start()
        return handle

    def each(self, requests: Iterable[Request[T]], concurrency: int) -> Iterator[tuple[int, T]]:
        """The results of requests with their places, as they come; the requests are begun in order, at most `concurrency`
        at once. An error of one, or of the caller, cancels the others."""
        upcoming = enumerate(requests)
        running: dict[Future[T], tuple[int, Handle[T]]] = {}
        try:
            while True:
                for place, request in islice(upcoming, concurrency - len(running)):
                    handle = self.submit(request)
                    running[handle._future] = (place, handle)
                if not running:
                    return
                ended, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in sorted(ended, key=lambda future: running[future][0]):
                    place, _ = running.pop(future)
                    yield place, future.result()
        finally:
            for _, handle in running.values():
                handle.cancel()
            wait(running)

    def close(self) -> None:
        """Cancels everything and waits for the threads to end."""
        with self._changed:
            self._closed = True
            for handle in (*self._running, *(handle for handle, _ in self._waiting)):
                handle.cancel()
            threads = [*self._workers, *([self._thread] if self._thread else [])]
            self._changed.notify_all()
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join()

    def end_thread(self) -> None:
        """At the end of the process: no further passes. Waits for the present one, but not for long."""
        with self._changed:
            self._closed, thread = True, self._thread
            self._changed.notify_all()
        if thread is not None:
            thread.join(timeout=5)

    # --- requests ------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        """A worker: requests, one after another, until none waits."""
        while True:
            with self._changed:
                if not self._waiting:
                    self._workers.discard(threading.current_thread())
                    return
                handle, request = heapq.heappop(self._waiting)
                self._running.add(handle)
            self._carry_out(handle, request)
            with self._changed:
                self._running.discard(handle)

    def _carry_out(self, handle: Handle[T], request: Request[T]) -> None:
        if not handle._begin():
            return
        try:
            handle._ticket.check()
            handle._future.set_result(request.run(Work(self, handle._ticket, handle._events.put)))
        except BaseException as error:  # the handle raises it where somebody waits
            # It refers to the calls that it has ended, and they to it: their sequences would stay for long, in a circle.
            traceback.clear_frames(error.__traceback__)
            handle._future.set_exception(error)
        finally:
            handle._events.put(_END)

    # --- passes --------------------------------------------------------------------------------------------------

    def _run(self, parts: Sequence[Part], ticket: _Ticket) -> list[Tensor]:
        ticket.check()
        jobs = [_Job(part, ticket, next(self._numbers)) for part in parts]
        with self._changed:
            self._check_open()
            self._jobs += jobs
            self._expected.difference_update(id(job.part.cache) for job in jobs)
            if self._thread is None and jobs:
                self._thread = threading.Thread(target=self._schedule, name="toolgen-engine", daemon=True)
                self._thread.start()
                _STARTED.add(self)
            self._changed.notify_all()
        try:
            return [job.future.result() for job in jobs]
        except BaseException:
            self._withdraw(jobs)
            raise

    def _check_open(self) -> None:
        if self._closed:
            raise CancelledError("the engine was closed")

    def _withdraw(self, jobs: Sequence[_Job]) -> None:
        with self._changed:
            self._jobs = [job for job in self._jobs if job not in jobs]
            self._changed.notify_all()

    def _schedule(self) -> None:
        """The thread that makes the passes, until nobody has asked for some time."""
        while True:
            with self._changed:
                if not self._changed.wait_for(lambda: self._jobs or self._closed, IDLE) or self._closed:
                    self._stop()
                    return
                self._await_others()
                self._drop_ended()
            try:
                with self._changed, torch.inference_mode():  # known beginnings are written where passes write
                    chosen = self._chosen()
                if chosen:
                    self._pass(chosen)
            except BaseException as error:  # between passes, such as no memory for a block: whoever waits hears of it
                self._fail(error)

    def _stop(self) -> None:
        """Ends the thread; whoever still waits hears of it."""
        self._thread = None
        self._fail(CancelledError("the engine was closed"))

    def _fail(self, error: BaseException) -> None:
        """Ends all jobs with an error."""
        with self._changed:
            jobs, self._jobs = self._jobs, []
        for job in jobs:
            if not job.future.done():
                job.future.set_exception(error)

    def _await_others(self) -> None:
        """Sequences that were in the last pass will soon ask again; the weights are then read once for all of them."""
        while self._expected and not self._closed and (left := self._wait_until - time.monotonic()) > 0:
            self._changed.wait(left)
        self._expected.clear()

    def _drop_ended(self) -> None:
        """Takes out the jobs of requests that were cancelled or are late."""
        kept = []
        for job in self._jobs:
            try:
                job.ticket.check()
                kept.append(job)
            except (CancelledError, DeadlineError) as error:
                job.future.set_exception(error)
        self._jobs = kept

    def _chosen(self) -> list[tuple[_Job, int]]:
        """The jobs of the next pass, each with how many of its tokens."""
        if self._version != (version := self._runner.version):  # beginnings were read with other weights
            self._version = version
            self.prefixes.clear()
        room, shared = self._pass_tokens, self._shared_tokens
        someone_writes = any(job.writes for job in self._jobs)
        chosen: list[tuple[_Job, int]] = []
        reading: set[bytes | None] = set()
        for job in sorted(self._jobs, key=lambda job: job.order):
            if job.begins:
                job.done = self.prefixes.fill(job.part.cache, job.part.ids[: len(job.part.ids) - job.part.keep + 1])
                key = self.prefixes.next_key(job.part.cache, job.part.ids)
                if key is not None and key in reading:
                    continue  # another one reads the same beginning, and this one finds it after the pass
                reading.add(key)
            tokens = min(job.left, room)
            if someone_writes and not job.writes:
                tokens = min(tokens, shared)
                shared -= tokens
            if job.part.seen_NC is not None and tokens < job.left:  # a tree cannot be cut
                if chosen:
                    continue
                tokens = job.left
            if tokens > 0:
                chosen.append((job, tokens))
                room -= tokens
        return chosen

    def _pass(self, chosen: Sequence[tuple[_Job, int]]) -> None:
        started = time.monotonic()
        outcomes = self._made([job.next(tokens) for job, tokens in chosen])
        ended: list[_Job] = []
        for (job, tokens), outcome in zip(chosen, outcomes, strict=True):
            if isinstance(outcome, BaseException):
                ended.append(job)
                continue
            if len(outcome):
                job.outputs.append(outcome)
            job.done += tokens
            if job.part.seen_NC is None:
                self.prefixes.keep(job.part.cache)
            if not job.left:
                ended.append(job)
        with self._changed:
            self.passes += 1
            self._jobs = [job for job in self._jobs if job not in ended]
            self._expected = {id(job.part.cache) for job in ended if job.part.stays}
            self._wait_until = time.monotonic() + max(LEAST_PATIENCE, PATIENCE * (time.monotonic() - started))
        for (job, _), outcome in zip(chosen, outcomes, strict=True):
            if isinstance(outcome, BaseException):
                job.future.set_exception(outcome)
            elif job in ended:
                job.future.set_result(job.outputs[0] if len(job.outputs) == 1 else torch.cat(job.outputs))

    def _made(self, parts: Sequence[Part]) -> list[Tensor | BaseException]:
        """The result of each part, or why there is none: a pass that fails is made again for each part alone."""
        try:
            return [*self._runner.run(parts)]
        except BaseException as error:
            if len(parts) == 1:
                return [error]
        return [outcome for part in parts for outcome in self._made([part])]
