"""What the frozen lower layers make of an example, kept for the next epoch: the example then skips these layers.

Without dropout, and as long as no input row changes, these states depend on the example's ids alone. `FrozenStates.hold` proves
that on one batch; `TrainableModel` does without where it fails. A state computed beside other examples can differ in its last
bits (matrix products of another height add in another order); `TOLERANCE` bounds that, the tests more tightly.
Knows no loss. Shapes: T tokens of packed examples, D hidden size.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import compress

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from toolgen.inference.views import UnknownOutputError, from_states, watched

TOLERANCE = 1e-4
"""Largest difference of a hidden state, relative to the largest, that the proof at the start accepts."""

Run = Callable[[nn.Module, Tensor, Tensor, Sequence[int]], Tensor]
"""A trunk, ids (T,), their places in their examples (T,) and the examples' lengths to last hidden states (T, D)."""


class FrozenStates:
    """States (length, D) of at most `budget` bytes of examples above the `frozen` lower layers of a trunk; those used longest
    ago go first. Examples with an id in `changing` are computed again each time: training moves the input rows of these ids."""

    def __init__(self, trunk: nn.Module, frozen: int, *, budget: int, changing: range = range(0)) -> None:
        self._trunk, self._frozen = trunk, frozen
        self._budget, self._changing = budget, changing
        self._kept: OrderedDict[bytes, Tensor] = OrderedDict()
        self._size = 0
        self.found = self.computed = 0
        """Tokens whose states were there, and tokens whose states had to be computed."""

    def hidden(self, run: Run, ids_T: Tensor, places_T: Tensor, lengths: Sequence[int]) -> Tensor:
        """What `run` makes of the trunk, whose lower layers run only for examples whose states are not kept."""
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
            made = iter(torch.split(self._through_lower(run, new, places, widths), widths))
            for i in compress(range(len(states)), missing):
                states[i] = self._keep(keys[i], next(made), self._changes(known[i]))
        self.computed += sum(compress(lengths, missing))
        self.found += sum(lengths) - sum(compress(lengths, missing))
        given = torch.cat([state for state in states if state is not None])[None]
        return run(from_states(self._trunk, self._frozen, given), ids_T, places_T, lengths)

    def _through_lower(self, run: Run, ids_T: Tensor, places_T: Tensor, lengths: Sequence[int]) -> Tensor:
        """The states that leave the lower layers (T, D)."""
        lower, last = watched(self._trunk, self._frozen, above=False)
        run(lower, ids_T, places_T, lengths)
        return last.states.detach()[0]

    def hold(self, run: Run, ids_T: Tensor, places_T: Tensor, lengths: Sequence[int]) -> bool:
        """Whether the states of a batch, computed now and then found, give what the whole trunk gives (see `TOLERANCE`).
        False as well where the layers hand on more than a tensor. Random numbers and kept states are left as they were."""
        devices = [] if ids_T.device.type == "cpu" else [ids_T.device]  # of all, PyTorch warns of the time
        with torch.random.fork_rng(devices, device_type=ids_T.device.type), torch.no_grad():
            expected = run(self._trunk, ids_T, places_T, lengths)
            try:
                both = [self.hidden(run, ids_T, places_T, lengths) for _ in range(2)]
            except UnknownOutputError:
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
