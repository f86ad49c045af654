"""Several tasks at once whose passes through the model are one, so that its weights are read once for all of them.

Each task has a thread and a session of its own, and reads as if it were alone. Its new tokens wait until every live task waits;
then all of them go through the model one after another in one row, without padding, as in training (`training/packing.py`).
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
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from toolgen.decoding.session import Forward
from toolgen.errors import CheckpointError
from toolgen.training.packing import attending

BATCHED = "toolgen_batched"

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
    if not can_share_passes(model):
        raise CheckpointError(
            f"several sequences cannot share a pass of {model.config.model_type} models, which keep more than keys and "
            "values or attend in a way of their own; carry out one task at a time"
        )
    with attending(model, BATCHED, batched_attention), ThreadPoolExecutor(together) as pool:
        return _Together(model, tasks, on_result).run(pool, together)


def can_share_passes(model: PreTrainedModel) -> bool:
    """Whether the model's layers see other tokens only by plain attention to cached keys and values."""
    layers = {type(layer) for layer in DynamicCache(config=model.config).layers}
    return bool(model._supports_sdpa) and layers <= {DynamicLayer, DynamicSlidingWindowLayer}


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
    ends = [*accumulate(len(part.ids) for part in parts)]
    kept = [*chain.from_iterable(range(end - part.keep, end) for part, end in zip(parts, ends, strict=True))]
    starts = [part.cache.get_seq_length() for part in parts]
    places = chain.from_iterable(range(at, at + len(part.ids)) for part, at in zip(parts, starts, strict=True))
    ids = chain.from_iterable(part.ids for part in parts)
    logits_TV = model(
        input_ids=torch.tensor([[*ids]], device=model.device),
        position_ids=torch.tensor([[*places]], device=model.device),
        use_cache=False,
        logits_to_keep=torch.tensor(kept, device=model.device),
        batched_parts=parts,
    ).logits[0]
    # `logits_to_keep` is an optimization that a model may ignore; then all T positions come back.
    kept_logits = logits_TV if len(logits_TV) == len(kept) else logits_TV[kept]
    return torch.split(kept_logits.float(), [part.keep for part in parts])


def batched_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """Causal attention of each of `batched_parts`, a keyword of the model's forward, to its own cache and new tokens.

    Shapes as everywhere in transformers: in (1, heads, T, size), out (1, T, heads, size).
    """
    parts: Sequence[_Part] = kwargs.pop("batched_parts")
    lengths = [len(part.ids) for part in parts]
    attended = []
    for part, *new in zip(parts, *(torch.split(each, lengths, dim=2) for each in (query, key, value)), strict=True):
        keys, values = part.cache.update(new[1], new[2], module.layer_idx)
        mask = _mask(len(part.ids), keys.shape[2], kwargs.get("sliding_window"), query.device)
        one, _ = sdpa_attention_forward(module, new[0], keys, values, mask, **{**kwargs, "is_causal": True})
        attended.append(one)
    return torch.cat(attended, dim=1), None


def _mask(new: int, cached: int, window: int | None, device: torch.device) -> Tensor | None:
    """Which of a sequence's C tokens each of the N newest may see (1, 1, N, C); None where attention knows without it."""
    window = window or cached
    if new in (1, cached) and cached <= window:
        return None
    every_NC = torch.ones(new, cached, dtype=torch.bool, device=device)
    return every_NC.tril(cached - new).triu(cached - new - window + 1)[None, None]
