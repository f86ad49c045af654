"""Several tasks at once whose passes through the model are one, so that its weights are read once for all of them.

Each task has a thread and a session of its own, and reads as if it were alone. Its new tokens wait until every live task waits;
then all of them go through the model one after another in one row, without padding, as in training (`attention.py`).
Only attention sees several sequences: each attends to its own key-value cache. The next pass is made when no task can go on
without it, and its tokens stand in the order of the tasks. So which passes are made depends on the tasks alone, not on the
timing of threads, and results are repeatable. Knows a Hugging Face causal language model and integers; no tool, grammar or
message.
Shapes: T new tokens of all sequences, N those of one, C tokens of its cache, K scores that are kept, V rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate, chain, islice
from threading import Condition
from typing import Generic, TypeVar

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from toolgen.inference.attention import Cached, share_passes
from toolgen.inference.heads import Head
from toolgen.inference.passes import row_states
from toolgen.inference.session import Forward

T = TypeVar("T")
Task = Callable[[Forward], T]


@dataclass(frozen=True, eq=False)
class _Part:
    """What one sequence adds to a pass, and what it waits for."""

    ids: Sequence[int]
    cache: DynamicCache
    keep: int
    logits_KV: Future[Tensor] = field(default_factory=Future)


def run_together(
    model: PreTrainedModel,
    tasks: Sequence[Task[T]],
    together: int,
    on_result: Callable[[int, T], None] = lambda _place, _result: None,
) -> list[T]:
    """The results of `tasks`, begun in order, at most `together` at once; each makes the passes of its sessions with the
    `Forward` that it is given.

    The calling thread makes the passes and, while no task runs, hands each result with its place to `on_result`. An exception
    of a task, a pass or `on_result` stops the other tasks and is raised; of several tasks' that of the first one.
    CheckpointError if the model's sequences cannot share a pass.
    """
    share_passes(model)
    with ThreadPoolExecutor(together) as pool:
        return _Together(model, tasks, on_result).run(pool, together)


class _Together(Generic[T]):
    """The tasks while they run. One that is live computes, has an open part, or has ended and was not collected yet."""

    def __init__(self, model: PreTrainedModel, tasks: Sequence[Task[T]], on_result: Callable[[int, T], None]) -> None:
        self._model = model
        self._tasks = tasks
        self._on_result = on_result
        self._changed = Condition()
        self._parts: dict[int, _Part] = {}
        self._ended: dict[int, Future[T]] = {}
        self._live = 0
        self._stopped = False

    def run(self, pool: ThreadPoolExecutor, together: int) -> list[T]:
        results: dict[int, T] = {}
        upcoming = enumerate(self._tasks)
        try:
            while len(results) < len(self._tasks):
                for place, task in islice(upcoming, together - self._live):
                    self._live += 1
                    pool.submit(task, partial(self._forward, place)).add_done_callback(partial(self._end, place))
                with self._changed:
                    self._changed.wait_for(lambda: len(self._open()) + len(self._ended) == self._live)
                ended = sorted(self._ended)
                for place in ended:
                    self._live -= 1
                    results[place] = self._ended.pop(place).result()
                    self._on_result(place, results[place])
                if not ended:
                    self._pass(self._open())
        finally:
            self._stop()
        return [results[place] for place in range(len(results))]

    def _forward(self, place: int, ids: Sequence[int], cache: DynamicCache, keep: int) -> Tensor:
        """Called by the thread of a task; CancelledError if the tasks are stopped meanwhile."""
        part = _Part(ids, cache, keep)
        with self._changed:
            if self._stopped:
                raise CancelledError
            self._parts[place] = part
            self._changed.notify()
        return part.logits_KV.result()

    def _end(self, place: int, outcome: Future[T]) -> None:
        with self._changed:
            self._parts.pop(place, None)
            self._ended[place] = outcome
            self._changed.notify()

    def _open(self) -> list[_Part]:
        """The parts that wait for a pass, in the order of their tasks."""
        return [part for _, part in sorted(self._parts.items()) if not part.logits_KV.done()]

    def _pass(self, parts: Sequence[_Part]) -> None:
        for part, logits_KV in zip(parts, batched_pass(self._model, parts), strict=True):
            part.logits_KV.set_result(logits_KV)

    def _stop(self) -> None:
        """Whoever waits for a pass, or asks for one from now on, gets a CancelledError."""
        with self._changed:
            self._stopped = True
            for part in self._parts.values():
                part.logits_KV.cancel()


@torch.inference_mode()
def batched_pass(model: PreTrainedModel, parts: Sequence[_Part]) -> Sequence[Tensor]:
    """The scores [K, V] after the last `keep` tokens of each part; the parts' caches grow by their tokens."""
    lengths = [len(part.ids) for part in parts]
    ends = [*accumulate(lengths)]
    kept = [*chain.from_iterable(range(end - part.keep, end) for part, end in zip(parts, ends, strict=True))]
    starts = [part.cache.get_seq_length() for part in parts]
    places = chain.from_iterable(range(at, at + length) for at, length in zip(starts, lengths, strict=True))
    ids = chain.from_iterable(part.ids for part in parts)
    hidden_TD = row_states(
        model.base_model,
        Cached([part.cache for part in parts], lengths),
        torch.tensor([*places], device=model.device),
        ids_T=torch.tensor([*ids], device=model.device),
    )
    return torch.split(Head.of(model).scores(hidden_TD[kept]).float(), [part.keep for part in parts])
