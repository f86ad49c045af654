"""What the frozen lower layers make of an example, kept for the next epoch: the example then skips these layers.

Without dropout, and as long as no input row changes, these states depend on the example's ids alone. `FrozenStates.hold` proves
that on one batch; `TrainableModel` does without where it fails. A state computed beside other examples can differ in its last
bits (matrix products of another height add in another order); `TOLERANCE` bounds that, the tests more tightly.
Knows no loss. Shapes: T tokens of packed examples, D hidden size.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import compress
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

TOLERANCE = 1e-4
"""Largest difference of a hidden state, relative to the largest, that the proof at the start accepts."""

Trunk = Callable[[Tensor, Tensor, Sequence[int]], Tensor]
"""Ids (T,), their places in their examples (T,) and the examples' lengths to last hidden states (T, D)."""


class FrozenStates:
    """States (length, D) of at most `budget` bytes of examples above `lower`, the frozen layers; those used longest ago go
    first. Examples with an id in `changing` are computed anew each time: training moves the input rows of these ids."""

    def __init__(self, layers: Iterable[nn.Module], frozen: int, *, budget: int, changing: range = range(0)) -> None:
        layers = tuple(layers)
        self._lower, self._upper = layers[:frozen], layers[frozen:]
        self._budget, self._changing = budget, changing
        self._kept: OrderedDict[bytes, Tensor] = OrderedDict()
        self._size = 0
        self.found = self.computed = 0
        """Tokens whose states were there, and tokens whose states had to be computed."""

    def through(self, trunk: Trunk) -> Trunk:
        """The same trunk, whose lower layers run only for examples whose states are not kept."""
        return partial(self._hidden, trunk)

    def _hidden(self, trunk: Trunk, ids_T: Tensor, places_T: Tensor, lengths: Sequence[int]) -> Tensor:
        examples = torch.split(ids_T, list(lengths))
        known = [ids.numpy() for ids in torch.split(ids_T.cpu(), list(lengths))]
        keys = [ids.tobytes() for ids in known]
        states = [self._take(key) for key in keys]
        missing = [state is None for state in states]
        if any(missing):
            new, places = (
                torch.cat(list(compress(each, missing))) for each in (examples, torch.split(places_T, list(lengths)))
            )
            widths = list(compress(lengths, missing))
            with _only(self._lower, skipped=self._upper) as outputs:
                trunk(new, places, widths)
            made = iter(torch.split(outputs[0].detach()[0], widths))
            for i in compress(range(len(states)), missing):
                states[i] = self._keep(keys[i], next(made), self._changes(known[i]))
        self.computed += sum(compress(lengths, missing))
        self.found += sum(lengths) - sum(compress(lengths, missing))
        with _replaced(self._lower, torch.cat([state for state in states if state is not None])[None]):
            return trunk(ids_T, places_T, lengths)

    def hold(self, ids_T: Tensor, places_T: Tensor, lengths: Sequence[int], trunk: Trunk) -> bool:
        """Whether the states of a batch, computed now and then found, give what the whole trunk gives (see `TOLERANCE`).
        False as well where the layers hand on more than a tensor. Random numbers and kept states are left as they were."""
        with torch.random.fork_rng(), torch.no_grad():
            expected = trunk(ids_T, places_T, lengths)
            try:
                both = [self.through(trunk)(ids_T, places_T, lengths) for _ in range(2)]
            except _UnknownOutputError:
                return False
        self._kept.clear()
        self._size = self.found = self.computed = 0
        bound = TOLERANCE * float(expected.abs().max())
        return all(torch.allclose(found, expected, rtol=0, atol=bound) for found in both)

    def _changes(self, ids: NDArray[np.int64]) -> bool:
        return bool(((ids >= self._changing.start) & (ids < self._changing.stop)).any())

    def _take(self, key: bytes) -> Tensor | None:
        if key not in self._kept:
            return None
        self._kept.move_to_end(key)
        return self._kept[key]

    def _keep(self, key: bytes, state: Tensor, changes: bool) -> Tensor:
        """The state itself, from now on kept unless it changes."""
        if not changes and key not in self._kept:
            self._kept[key] = state.clone()  # a view would keep the whole micro-batch
            self._size += state.nbytes
        while self._size > self._budget:
            self._size -= self._kept.popitem(last=False)[1].nbytes
        return state


class _UnknownOutputError(TypeError):
    """A layer that returns more than its hidden states."""


@contextmanager
def _only(run: Sequence[nn.Module], *, skipped: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """The `skipped` layers pass on what they get; the list gets the output of the last of the others."""
    outputs: list[Tensor] = []

    def catch(_layer: nn.Module, _inputs: Any, output: Any) -> None:
        if not isinstance(output, Tensor):
            raise _UnknownOutputError(type(output).__name__)
        outputs.append(output)

    handle = run[-1].register_forward_hook(catch)
    try:
        with _forwards(skipped, lambda states, *_args, **_kwargs: states):
            yield outputs
    finally:
        handle.remove()


@contextmanager
def _replaced(layers: Sequence[nn.Module], states: Tensor) -> Iterator[None]:
    """The layers compute nothing; what leaves them is `states` (1, T, D)."""
    with _forwards(layers, lambda *_args, **_kwargs: states):
        yield


@contextmanager
def _forwards(layers: Sequence[nn.Module], forward: Callable[..., Tensor]) -> Iterator[None]:
    """Another forward of these layers for a while; hooks of their own (FSDP's, for instance) still run."""
    before = [layer.__dict__.get("forward") for layer in layers]
    for layer in layers:
        layer.__dict__["forward"] = forward
    try:
        yield
    finally:
        for layer, own in zip(layers, before, strict=True):
            if own is None:
                del layer.__dict__["forward"]
            else:
                layer.__dict__["forward"] = own
