"""Cross-entropy against target distributions, over the base's vocabulary and the new rows, without all logits at once.

As soon as the softmax of a position is known, so is the gradient of its logits. The forward pass therefore takes the
positions in chunks, turns each chunk's logits into their gradient in place and multiplies it back at once: no product is
made twice, and nothing of the size positions x rows outlives a chunk. The idea is Liger Kernel's fused linear
cross-entropy (arXiv 2410.10989); target sets, masks and rows that several processes share are ours.

Shapes: P positions, B positions of a chunk, D hidden size, K targets of a position, C columns of a block of rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from toolgen.inference.machine import product_dtype
from toolgen.training.budget import CHUNK_LOGITS


@dataclass(frozen=True)
class Block:
    """Output rows of consecutive token ids, from `start`. `untargeted_C` are targets nowhere in the stage; positions
    with `among_asked_P` leave `unasked_C` out. None where there are no such rows."""

    start: int
    rows_CD: Tensor
    bias_C: Tensor | None = None
    untargeted_C: Tensor | None = None
    unasked_C: Tensor | None = None


class Peers(Protocol):
    """The processes that share the rows: each scores the positions of all of them against its own blocks."""

    @property
    def count(self) -> int:
        """Their number."""

    def meet(self, *numbers: int) -> list[list[int]]:
        """The numbers of every process."""

    def gather(self, own: Tensor, sizes: Sequence[int]) -> Tensor:
        """The tensors of all processes one after another; `sizes` are their first dimensions."""

    def own(self, gathered: Tensor, sizes: Sequence[int]) -> Tensor:
        """This process's part of what `gather` returned."""

    def sum(self, values: Tensor) -> Tensor:
        """Summed over the processes."""

    def combine(self, top_B: Tensor, total_B: Tensor, picked_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Largest logit, sum of exponentials above it and weighted sum of the targets' logits, over the blocks of all."""


def set_cross_entropy(
    hidden_PD: Tensor,
    base: Block,
    new: Block,
    targets_PK: Tensor,
    weights_PK: Tensor,
    among_asked_P: Tensor,
    *,
    softcap: float | None = None,
    chunk_logits: int = CHUNK_LOGITS,
    peers: Peers | None = None,
) -> Tensor:
    """Cross-entropy against each position's distribution over its targets (token ids, -1 for none), summed. `weights_PK` are
    the probabilities of the targets times what the position weighs, and 0 where there is none. `softcap` bounds logits
    (Gemma 2).

    Gradients flow to `hidden_PD` and to the rows of `new`; those of `base` are frozen. Under autocast the products are in its
    dtype, everything else is in float32. With `peers` the sum is over this process's positions; its rows get the mean over the
    processes of the gradient, as `DistributedDataParallel` gives it to parameters that all of them hold.
    """
    gradients = torch.is_grad_enabled()
    task = _Task(
        (base, new),
        targets_PK,
        weights_PK,
        among_asked_P,
        softcap,
        chunk_logits,
        product_dtype(hidden_PD),
        gradients,
        gradients and new.rows_CD.requires_grad,
        peers,
    )
    with torch.autocast(hidden_PD.device.type, enabled=False):
        loss: Tensor = _SetCrossEntropy.apply(hidden_PD, new.rows_CD, task)  # type: ignore[no-untyped-call]
    return loss


@dataclass(frozen=True)
class _Task:
    blocks: tuple[Block, Block]
    targets_PK: Tensor
    weights_PK: Tensor
    among_asked_P: Tensor
    softcap: float | None
    chunk_logits: int
    dtype: torch.dtype
    gradients: bool
    row_gradients: bool
    peers: Peers | None


class _SetCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own_PD: Tensor, rows_RD: Tensor, task: _Task) -> Tensor:
        columns = sum(len(block.rows_CD) for block in task.blocks)
        ctx.dtypes = own_PD.dtype, rows_RD.dtype
        if task.peers is None:
            found = _chunked(own_PD, task, task.targets_PK, task.weights_PK, task.among_asked_P, columns)
            ctx.save_for_backward(found.hidden_PD, found.rows_RD)
            return found.loss_P.sum()
        met = task.peers.meet(*task.targets_PK.shape, columns)
        sizes, most, widest = [size for size, _, _ in met], max(k for _, k, _ in met), max(c for _, _, c in met)
        missing = most - task.targets_PK.shape[1]
        hidden_PD = task.peers.gather(own_PD, sizes)
        targets_PK = task.peers.gather(functional.pad(task.targets_PK, (0, missing), value=-1), sizes)
        weights_PK = task.peers.gather(functional.pad(task.weights_PK, (0, missing)), sizes)
        among_asked_P = task.peers.gather(task.among_asked_P.to(torch.uint8), sizes).bool()
        found = _chunked(hidden_PD, task, targets_PK, weights_PK, among_asked_P, widest)
        rows_gradient = None if found.rows_RD is None else found.rows_RD.div_(task.peers.count)
        ctx.save_for_backward(task.peers.own(task.peers.sum(found.hidden_PD), sizes), rows_gradient)
        return task.peers.own(found.loss_P, sizes).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, Tensor | None, None]:
        """Scales in place, which saves a second matrix of all rows; autograd itself refuses to come a second time."""
        hidden_gradient, rows_gradient = ctx.saved_tensors
        hidden_dtype, rows_dtype = ctx.dtypes
        rows = None if rows_gradient is None else rows_gradient.mul_(upstream).to(rows_dtype)
        return hidden_gradient.mul_(upstream).to(hidden_dtype), rows, None


@dataclass(frozen=True)
class _Found:
    """Losses, and the gradients of their sum; that of the rows only if it is asked for."""

    loss_P: Tensor
    hidden_PD: Tensor
    rows_RD: Tensor | None


def _chunked(
    hidden_PD: Tensor, task: _Task, targets_PK: Tensor, weights_PK: Tensor, among_asked_P: Tensor, columns: int
) -> _Found:
    """Chunk after chunk; `columns` are those of the process that has most, so that all cut alike."""
    full = torch.promote_types(task.dtype, torch.float32)
    hidden_PD, weights_PK = hidden_PD.to(task.dtype), weights_PK.to(full)
    weights = [block.rows_CD.detach().to(task.dtype) for block in task.blocks]
    loss_P, hidden_gradient = hidden_PD.new_zeros(len(hidden_PD), dtype=full), torch.zeros_like(hidden_PD, dtype=full)
    rows_gradient: Tensor | None = None
    for chunk in _chunks(len(hidden_PD), task.chunk_logits // columns):
        hidden_BD = hidden_PD[chunk]
        parts = [
            _Scores(
                (hidden_BD @ rows_CD.T).to(full),
                block,
                targets_PK[chunk],
                weights_PK[chunk],
                among_asked_P[chunk],
                task.softcap,
            )
            for block, rows_CD in zip(task.blocks, weights, strict=True)
        ]
        top_B, total_B, picked_B = _combined(parts)
        if task.peers is not None:
            top_B, total_B, picked_B = task.peers.combine(top_B, total_B, picked_B)
        mass_B = weights_PK[chunk].sum(1)
        loss_P[chunk] = mass_B * (top_B + total_B.log()) - picked_B
        if not task.gradients:
            continue
        for part, rows_CD in zip(parts, weights, strict=True):
            gradient_BC = part.into_gradient(top_B, total_B, mass_B).to(task.dtype)
            hidden_gradient[chunk] += gradient_BC @ rows_CD
        if task.row_gradients:
            rows_gradient = _add_product(
                rows_gradient, gradient_BC.T, hidden_BD, full
            )  # of the last block, the new rows
    if task.row_gradients and rows_gradient is None:
        rows_gradient = torch.zeros_like(weights[-1], dtype=full)
    return _Found(loss_P, hidden_gradient, rows_gradient)


class _Scores:
    """Logits of one block in a chunk, kept as exponentials above the block's own largest."""

    def __init__(
        self,
        logits_BC: Tensor,
        block: Block,
        targets_BK: Tensor,
        weights_BK: Tensor,
        among_asked_B: Tensor,
        softcap: float | None = None,
    ) -> None:
        if block.bias_C is not None:
            logits_BC += block.bias_C
        self._slope_BC: Tensor | None = None
        if softcap is not None:
            bounded_BC = logits_BC.div_(softcap).tanh_()
            self._slope_BC = 1 - bounded_BC**2
            logits_BC = bounded_BC.mul_(softcap)
        if block.untargeted_C is not None:
            logits_BC.masked_fill_(block.untargeted_C, float("-inf"))
        if block.unasked_C is not None and among_asked_B.any():
            logits_BC.masked_fill_(among_asked_B[:, None] & block.unasked_C, float("-inf"))
        columns_BK = targets_BK - block.start
        outside_BK = (targets_BK < 0) | (columns_BK < 0) | (columns_BK >= logits_BC.shape[1])
        self._columns_BK = columns_BK.masked_fill(outside_BK, 0)
        self._weights_BK = weights_BK.masked_fill(outside_BK, 0.0)
        picked_BK = logits_BC.gather(1, self._columns_BK).masked_fill(outside_BK, 0.0)
        self.picked_B = (self._weights_BK * picked_BK).sum(1)
        # A block of which everything is left out has no largest logit; any finite one serves.
        self.top_B = logits_BC.amax(1).clamp_min(torch.finfo(logits_BC.dtype).min)
        self._values_BC = logits_BC.sub_(self.top_B[:, None]).exp_()
        self.total_B = self._values_BC.sum(1)

    def into_gradient(self, top_B: Tensor, total_B: Tensor, mass_B: Tensor) -> Tensor:
        """The gradient of the logits, in their place: the softmax over all blocks, less the targets' distribution, of which
        each position has `mass_B`."""
        self._values_BC.mul_((mass_B * (self.top_B - top_B).exp() / total_B)[:, None])
        self._values_BC.scatter_add_(1, self._columns_BK, -self._weights_BK)
        return self._values_BC if self._slope_BC is None else self._values_BC.mul_(self._slope_BC)


def _combined(parts: Sequence[_Scores]) -> tuple[Tensor, Tensor, Tensor]:
    """Largest logit, sum of exponentials above it and weighted sum of the targets' logits, over all blocks."""
    top_B = torch.stack([part.top_B for part in parts]).amax(0)
    total_B = torch.stack([part.total_B * (part.top_B - top_B).exp() for part in parts]).sum(0)
    return top_B, total_B, torch.stack([part.picked_B for part in parts]).sum(0)


def _chunks(count: int, largest: int) -> Iterator[slice]:
    """Slices of nearly equal size, at most `largest` (at least one position)."""
    if not count:
        return
    size = -(-count // -(-count // max(1, largest)))
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def _add_product(sum_RD: Tensor | None, left_RB: Tensor, right_BD: Tensor, dtype: torch.dtype) -> Tensor:
    """`sum + left @ right`, in the place of the sum; without a second matrix of all rows where the dtypes allow it."""
    if sum_RD is None:
        return (left_RB @ right_BD).to(dtype)
    if left_RB.dtype == dtype:
        return sum_RD.addmm_(left_RB, right_BD)
    sum_RD += left_RB @ right_BD
    return sum_RD
