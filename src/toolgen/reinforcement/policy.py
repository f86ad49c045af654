"""The probabilities of drawn tokens, computed again for training: the same tokens behind the same conversations among the same
allowed ones, at the same temperature. Before the first update they are those of the draws.

Shapes: T tokens of packed passages, P drawn tokens, D hidden size, V rows of base and tools, B bytes of V bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as recomputed

from toolgen.reinforcement.rollouts import DrawnToken, Passage
from toolgen.training.budget import CHUNK_LOGITS
from toolgen.training.collate import PackedRow
from toolgen.training.model import TrainableModel


@dataclass(frozen=True)
class PolicyExample:
    """A passage and the advantage of its rollout."""

    passage: Passage
    advantage: float

    def __len__(self) -> int:
        return len(self.passage)


@dataclass(frozen=True, kw_only=True)
class PolicyBatch(PackedRow):
    """Passages in one row. Of each drawn token: the place of its example, the position behind which it was drawn, the token,
    what was allowed, its log probability at the draw, the advantage, and what `reference` weights would give it, where they are
    known."""

    examples_P: Tensor
    positions_P: Tensor
    tokens_P: Tensor
    allowed_PB: Tensor
    drawn_P: Tensor
    advantages_P: Tensor
    reference_P: Tensor | None = None


def policy_batch(examples: Sequence[PolicyExample]) -> PolicyBatch:
    """Packs examples, the shortest first: equal lengths attend together."""
    order = sorted(range(len(examples)), key=lambda place: len(examples[place]))
    lengths = tuple(len(examples[place]) for place in order)
    found: list[tuple[int, int, DrawnToken]] = [
        (place, start + one.place - 1, one)
        for place, start in zip(order, accumulate(lengths, initial=0), strict=False)
        for one in examples[place].passage.drawn
    ]
    bits = b"".join(one.allowed for _, _, one in found)
    advantages = [examples[place].advantage for place, _, _ in found]
    return PolicyBatch(
        ids_T=torch.tensor([token for place in order for token in examples[place].passage.ids], dtype=torch.long),
        places_T=torch.cat([torch.arange(length) for length in lengths]),
        lengths=lengths,
        examples_P=torch.tensor([place for place, _, _ in found], dtype=torch.long),
        positions_P=torch.tensor([position for _, position, _ in found], dtype=torch.long),
        tokens_P=torch.tensor([one.token for _, _, one in found], dtype=torch.long),
        allowed_PB=torch.from_numpy(np.frombuffer(bits, dtype=np.uint8).reshape(len(found), -1).copy()),
        drawn_P=torch.tensor([one.log_probability for _, _, one in found], dtype=torch.float32),
        advantages_P=torch.tensor(advantages, dtype=torch.float32),
    )


def log_probabilities(model: TrainableModel, batch: PolicyBatch, *, temperature: float) -> Tensor:
    """The log probability of each drawn token (P). Logits of all rows exist for one chunk of tokens at a time; they are
    computed again for the backward pass."""
    hidden_PD = model.hidden(batch)[batch.positions_P]
    size = max(1, CHUNK_LOGITS // model.stop)
    chunks = zip(*(torch.split(one, size) for one in (hidden_PD, batch.tokens_P, batch.allowed_PB)), strict=True)
    among = partial(_among_allowed, model, temperature)
    return torch.cat([recomputed(among, *chunk, use_reentrant=False) for chunk in chunks])


def _among_allowed(
    model: TrainableModel, temperature: float, hidden_PD: Tensor, tokens_P: Tensor, allowed_PB: Tensor
) -> Tensor:
    logits_PV = model.logits(hidden_PD).float() / temperature
    logits_PV = logits_PV.masked_fill(~unpacked(allowed_PB)[:, : model.stop], float("-inf"))
    return logits_PV.gather(1, tokens_P[:, None])[:, 0] - logits_PV.logsumexp(1)


def unpacked(bits_PB: Tensor) -> Tensor:
    """The bits of `numpy.packbits` as a mask (P, 8 B)."""
    places = torch.arange(7, -1, -1, device=bits_PB.device, dtype=torch.uint8)
    return (bits_PB[:, :, None] >> places & 1).flatten(1).bool()


@contextmanager
def holding(parameters: Mapping[str, nn.Parameter], values: Mapping[str, Tensor]) -> Iterator[None]:
    """The parameters have these values for a while."""
    kept = {name: parameter.data for name, parameter in parameters.items()}
    try:
        for name, parameter in parameters.items():
            parameter.data = values[name]
        yield
    finally:
        for name, parameter in parameters.items():
            parameter.data = kept[name]


@torch.no_grad()
def with_reference(
    batch: PolicyBatch,
    model: TrainableModel,
    parameters: Mapping[str, nn.Parameter],
    reference: Mapping[str, Tensor],
    temperature: float,
) -> PolicyBatch:
    """The batch with what the reference weights give its tokens."""
    with holding(parameters, reference):
        return replace(batch, reference_P=log_probabilities(model, batch, temperature=temperature))
