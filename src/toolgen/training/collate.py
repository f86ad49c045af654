"""Examples to packed tensors, cut into micro-batches that the caches like. Knows no model.

Shapes: T tokens of all examples one after another, P supervised positions, K targets of a position.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from toolgen.training.examples import TrainingExample


@dataclass(frozen=True)
class MicroBatch:
    """Examples packed into one row without padding, shortest first; see `packing.py`.

    `places_T` counts from 0 in each example, `lengths` are theirs. `positions_P` index the row; `targets_PK` holds token ids,
    -1 where a position has fewer than K; `is_choice_P` tells tool choices from text, `spares_P` those that leave unasked
    tools out.
    """

    ids_T: Tensor
    places_T: Tensor
    lengths: tuple[int, ...]
    positions_P: Tensor
    targets_PK: Tensor
    is_choice_P: Tensor
    spares_P: Tensor

    def to(self, device: torch.device) -> MicroBatch:
        """The same on another device."""
        return MicroBatch(
            self.ids_T.to(device),
            self.places_T.to(device),
            self.lengths,
            self.positions_P.to(device),
            self.targets_PK.to(device),
            self.is_choice_P.to(device),
            self.spares_P.to(device),
        )


def micro_batches(examples: Sequence[TrainingExample], budget: int) -> list[list[TrainingExample]]:
    """Splits a batch, sorted by length, into parts of nearly equal size that do not exceed `budget` tokens; an
    example longer than that is a part of its own."""
    ordered = sorted(examples, key=len)
    total = sum(map(len, ordered))
    share = total / -(-total // budget)
    parts: list[list[TrainingExample]] = []
    size = done = 0
    for example in ordered:
        width = len(example)
        if parts and size + width <= budget and done + width / 2 <= share * len(parts):
            parts[-1].append(example)
            size += width
        else:
            parts.append([example])
            size = width
        done += width
    return parts


def collate(examples: Sequence[TrainingExample]) -> MicroBatch:
    """Packs the examples, the shortest first: equal lengths attend together."""
    examples = sorted(examples, key=len)
    lengths = tuple(map(len, examples))
    supervised: list[tuple[int, tuple[int, ...], bool]] = []
    spares: list[bool] = []
    for example, start in zip(examples, accumulate(lengths, initial=0), strict=False):
        supervised.extend((start + position, tokens, True) for position, tokens in example.choices)
        supervised.extend((start + position, (example.ids[position + 1],), False) for position in example.text)
        spares.extend([example.spares] * len(example.choices) + [False] * len(example.text))
    most = max((len(tokens) for _, tokens, _ in supervised), default=1)
    return MicroBatch(
        ids_T=torch.tensor([token for example in examples for token in example.ids], dtype=torch.long),
        places_T=torch.cat([torch.arange(length) for length in lengths]),
        lengths=lengths,
        positions_P=torch.tensor([position for position, _, _ in supervised], dtype=torch.long),
        targets_PK=torch.tensor(
            [(*tokens, *[-1] * (most - len(tokens))) for _, tokens, _ in supervised], dtype=torch.long
        ).view(-1, most),
        is_choice_P=torch.tensor([choice for _, _, choice in supervised], dtype=torch.bool),
        spares_P=torch.tensor(spares, dtype=torch.bool),
    )
