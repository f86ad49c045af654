"""Examples to packed tensors, cut into micro-batches that the caches like. Knows no model.

Shapes: T tokens of all examples one after another, P supervised positions, K targets of a position.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Sized
from dataclasses import dataclass, fields, replace
from itertools import accumulate
from typing import Any, NamedTuple, Self, TypeVar

import torch
from torch import Tensor

from toolgen.training.examples import TrainingExample


@dataclass(frozen=True, kw_only=True)
class PackedRow:
    """Sequences in one row without padding, shortest first. `places_T` counts from 0 in each, `lengths` are theirs."""

    ids_T: Tensor
    places_T: Tensor
    lengths: tuple[int, ...]

    def to(self, device: torch.device) -> Self:
        """The same on another device."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        moved: Any = {name: value.to(device) for name, value in values.items() if isinstance(value, Tensor)}
        return replace(self, **moved)


@dataclass(frozen=True, kw_only=True)
class MicroBatch(PackedRow):
    """Examples in one row, and what should follow where in it.

    `positions_P` index the row; `targets_PK` holds token ids,
    -1 where a position has fewer than K, `weights_PK` their target probabilities times what the position weighs, 0 there;
    `is_choice_P` tells tool choices from text, `is_replayed_P` text with distributions as targets from other text,
    `among_asked_P` choices that leave unasked tools out.
    """

    positions_P: Tensor
    targets_PK: Tensor
    weights_PK: Tensor
    is_choice_P: Tensor
    is_replayed_P: Tensor
    among_asked_P: Tensor


Example = TypeVar("Example", bound=Sized)


def micro_batches(examples: Sequence[Example], budget: int) -> list[list[Example]]:
    """Splits a batch, sorted by length, into parts of nearly equal size that do not exceed `budget` tokens; an
    example longer than that is a part of its own."""
    ordered = sorted(examples, key=len)
    total = sum(map(len, ordered))
    share = total / -(-total // budget)
    parts: list[list[Example]] = []
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


class _Supervised(NamedTuple):
    """A position of the row, and what should follow there."""

    position: int
    tokens: tuple[int, ...]
    weights: tuple[float, ...]
    is_choice: bool = False
    is_replayed: bool = False
    among_asked: bool = False


def collate(examples: Sequence[TrainingExample]) -> MicroBatch:
    """Packs the examples, the shortest first: equal lengths attend together."""
    examples = sorted(examples, key=len)
    lengths = tuple(map(len, examples))
    starts = accumulate(lengths, initial=0)
    supervised = [one for example, start in zip(examples, starts, strict=False) for one in _supervised(example, start)]
    most = max((len(one.tokens) for one in supervised), default=1)
    targets = [(*one.tokens, *[-1] * (most - len(one.tokens))) for one in supervised]
    weights = [(*one.weights, *[0.0] * (most - len(one.weights))) for one in supervised]
    return MicroBatch(
        ids_T=torch.tensor([token for example in examples for token in example.ids], dtype=torch.long),
        places_T=torch.cat([torch.arange(length) for length in lengths]),
        lengths=lengths,
        positions_P=torch.tensor([one.position for one in supervised], dtype=torch.long),
        targets_PK=torch.tensor(targets, dtype=torch.long).view(-1, most),
        weights_PK=torch.tensor(weights, dtype=torch.float32).view(-1, most),
        is_choice_P=torch.tensor([one.is_choice for one in supervised], dtype=torch.bool),
        is_replayed_P=torch.tensor([one.is_replayed for one in supervised], dtype=torch.bool),
        among_asked_P=torch.tensor([one.among_asked for one in supervised], dtype=torch.bool),
    )


def _supervised(example: TrainingExample, start: int) -> Iterator[_Supervised]:
    """The positions of an example that begins at `start`."""
    given = example.weights or (_uniform(tokens) for _, tokens in example.choices)
    for (position, tokens), weights in zip(example.choices, given, strict=True):
        yield _Supervised(start + position, tokens, weights, is_choice=True, among_asked=example.among_asked)
    text_weights = example.text_weights or (1.0,) * len(example.text)
    targets = example.text_targets or (((example.ids[position + 1],), (1.0,)) for position in example.text)
    for position, weight, (tokens, weights) in zip(example.text, text_weights, targets, strict=True):
        weighted = tuple(weight * one for one in weights)
        yield _Supervised(start + position, tokens, weighted, is_replayed=bool(example.text_targets))


def _uniform(tokens: Sequence[int]) -> tuple[float, ...]:
    return (1 / len(tokens),) * len(tokens)
