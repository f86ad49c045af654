"""Attention for examples packed one after another into one row, so that no token is computed for padding.

Only attention sees that there are several examples: equal lengths attend as one batch, each example to itself. All other
layers of a transformer look at one token at a time and run over the whole row. The idea is that of variable-length
FlashAttention (arXiv 2205.14135); here it needs nothing but PyTorch's own attention. Knows no loss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from toolgen.errors import CheckpointError

PACKED = "toolgen_packed"


def packed_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """Causal attention within each of `packed_lengths`, a keyword of the model's forward; they add up to the row.

    Shapes as everywhere in transformers: in (1, heads, T, size), out (1, T, heads, size).
    """
    runs = [(length, sum(1 for _ in same)) for length, same in groupby(kwargs.pop("packed_lengths"))]
    sizes = [length * count for length, count in runs]
    parts = []
    for (length, _), *states in zip(
        runs, *(torch.split(each, sizes, dim=2) for each in (query, key, value)), strict=True
    ):
        # (1, heads, examples * length, size) to (examples, heads, length, size), without a copy
        one = (each[0].unflatten(1, (-1, length)).transpose(0, 1) for each in states)
        attended, _ = sdpa_attention_forward(module, *one, None, **{**kwargs, "is_causal": True})
        parts.append(attended.flatten(0, 1))
    return torch.cat(parts)[None], None


def packing(model: PreTrainedModel) -> AbstractContextManager[None]:
    """The model's attention takes packed rows; CheckpointError if the architecture's attention cannot be exchanged."""
    return attending(model, PACKED, packed_attention)


@contextmanager
def attending(model: PreTrainedModel, name: str, attention: Callable[..., tuple[Tensor, None]]) -> Iterator[None]:
    """The model attends by `attention`, known to transformers as `name`; CheckpointError if it cannot be exchanged."""
    AttentionInterface.register(name, attention)
    before = model.config._attn_implementation
    model.set_attn_implementation(name)
    try:
        if model.config._attn_implementation != name:
            raise CheckpointError(
                f"{model.config.model_type} models bring their own attention; sequences can be packed for those whose "
                "attention transformers can exchange (Llama, Qwen, SmolLM, GPT-2, ...)"
            )
        yield
    finally:
        model.set_attn_implementation(before)
