"""Examples to padded tensors, cut into micro-batches that the caches like. Knows no model.

Shapes: B examples, T tokens, P supervised positions, K targets of a position.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from toolgen.training.examples import TrainingExample

PAD_MULTIPLE = 8


@dataclass(frozen=True)
class MicroBatch:
    """Right-padded examples. Padding needs no attention mask: attention is causal and no loss is taken there.

    `positions_P` index the flattened (B*T) hidden states; `targets_PK` holds token ids, -1 where a position has fewer than
    K; `is_choice_P` tells tool choices from text, `spares_P` those that leave unasked tools out. `tokens` counts real tokens.
    """

    ids_BT: Tensor
    positions_P: Tensor
    targets_PK: Tensor
    is_choice_P: Tensor
    spares_P: Tensor
    tokens: int

    def to(self, device: torch.device) -> MicroBatch:
        """The same on another device."""
        return MicroBatch(
            self.ids_BT.to(device),
            self.positions_P.to(device),
            self.targets_PK.to(device),
            self.is_choice_P.to(device),
            self.spares_P.to(device),
            self.tokens,
        )


def micro_batches(examples: Sequence[TrainingExample], budget: int) -> list[list[TrainingExample]]:
    """Splits a batch, sorted by length, so that no part exceeds `budget` tokens with its padding."""
    parts: list[list[TrainingExample]] = []
    for example in sorted(examples, key=len):
        width = _padded(len(example))
        if parts and (len(parts[-1]) + 1) * width <= budget:
            parts[-1].append(example)
        else:
            parts.append([example])
    return parts


def collate(examples: Sequence[TrainingExample], pad_id: int) -> MicroBatch:
    """Pads to a multiple of 8 tokens."""
    width = _padded(max(map(len, examples)))
    ids = torch.full((len(examples), width), pad_id)
    supervised: list[tuple[int, tuple[int, ...], bool]] = []
    spares: list[bool] = []
    for row, example in enumerate(examples):
        ids[row, : len(example)] = torch.tensor(example.ids)
        offset = row * width
        supervised.extend((offset + position, tokens, True) for position, tokens in example.choices)
        supervised.extend((offset + position, (example.ids[position + 1],), False) for position in example.text)
        spares.extend([example.spares] * len(example.choices) + [False] * len(example.text))
    most = max((len(tokens) for _, tokens, _ in supervised), default=1)
    return MicroBatch(
        ids_BT=ids,
        positions_P=torch.tensor([position for position, _, _ in supervised], dtype=torch.long),
        targets_PK=torch.tensor(
            [(*tokens, *[-1] * (most - len(tokens))) for _, tokens, _ in supervised], dtype=torch.long
        ).view(-1, most),
        is_choice_P=torch.tensor([choice for _, _, choice in supervised], dtype=torch.bool),
        spares_P=torch.tensor(spares, dtype=torch.bool),
        tokens=sum(map(len, examples)),
    )


def _padded(length: int) -> int:
    return -(-length // PAD_MULTIPLE) * PAD_MULTIPLE
