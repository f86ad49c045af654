"""Causal attention whose scores are written out, for training in bf16 on a CPU, where the backward pass of PyTorch's own is
slow (2 to 7 times, with 400 to 48 tokens on AMX).

The queries are taken in blocks, and each block scores only the keys up to its own end, so that little is computed that the mask
would throw away. Of a block only the shares are kept for the way back (the derivation: arXiv 2205.14135, appendix B.2, which
makes them again instead).
Shapes: S sequences of N tokens, G heads of keys, H heads of queries, a multiple of G, D their size. A block has B queries that
see C keys; Q = H / G * B of them share a head of keys.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from toolgen.inference.machine import product_dtype

BLOCK = 128
"""Queries a block."""


def written_attention(query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
    """What each token takes from itself and those before it: (S, H, N, D) of queries, (S, G, N, D) of keys and values to
    (S, H, N, D). Under autocast in its dtype. Derivatives of derivatives are not there."""
    dtype = product_dtype(query)
    query, key, value = (each.to(dtype) for each in (query * scaling, key, value))
    with torch.autocast(query.device.type, enabled=False):
        taken: Tensor = _WrittenAttention.apply(query, key, value)  # type: ignore[no-untyped-call]
    return taken


class _WrittenAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        taken, kept = torch.empty_like(query), []
        for rows in _blocks(query.shape[2]):
            scores = _grouped(query, key, rows) @ key[:, :, : rows.stop].transpose(2, 3)  # (S, G, Q, C)
            size = rows.stop - rows.start
            later = torch.ones(size, size, dtype=torch.bool, device=query.device).triu(1)
            scores.view(*scores.shape[:2], -1, size, rows.stop)[..., rows].masked_fill_(later, float("-inf"))
            shares = scores.softmax(-1)
            taken[:, :, rows] = (shares @ value[:, :, : rows.stop]).view_as(taken[:, :, rows])
            kept.append(shares)
        ctx.save_for_backward(query, key, value, *kept)
        return taken

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value, *kept = ctx.saved_tensors
        query_gradient = torch.empty_like(query)
        full = torch.promote_types(key.dtype, torch.float32)  # sums over the blocks
        key_gradient, value_gradient = (torch.zeros_like(key, dtype=full) for _ in range(2))
        for rows, shares in zip(_blocks(query.shape[2]), kept, strict=True):
            seen = slice(rows.stop)
            given = _grouped(upstream, key, rows)
            value_gradient[:, :, seen] += shares.transpose(2, 3) @ given
            scores = torch._softmax_backward_data(given @ value[:, :, seen].transpose(2, 3), shares, -1, shares.dtype)
            key_gradient[:, :, seen] += scores.transpose(2, 3) @ _grouped(query, key, rows)
            query_gradient[:, :, rows] = (scores @ key[:, :, seen]).view_as(query_gradient[:, :, rows])
        return query_gradient, key_gradient.to(key.dtype), value_gradient.to(value.dtype)


def _blocks(count: int) -> Iterator[slice]:
    return (slice(start, min(start + BLOCK, count)) for start in range(0, count, BLOCK))


def _grouped(query: Tensor, key: Tensor, rows: slice) -> Tensor:
    """A block of the queries, those of a key head below each other (S, G, Q, D)."""
    return query[:, :, rows].reshape(*key.shape[:2], -1, key.shape[-1])
