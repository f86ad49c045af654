"""The loss over all rows, in chunks and shared by several processes, against the plain formula."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from toolgen.training.softmax import Block, Peers, set_cross_entropy

POSITIONS, HIDDEN, BASE, NEW, MOST_TARGETS = 13, 6, 17, 9, 3
UNTARGETED, UNASKED = [2], [4, 5]


@dataclass(frozen=True)
class Case:
    """Everything that the loss depends on; the last `NEW` columns are the new rows."""

    hidden_PD: Tensor
    base_VD: Tensor
    rows_RD: Tensor
    bias: Tensor | None
    targets_PK: Tensor
    weights_PK: Tensor
    among_asked_P: Tensor

    def blocks(self, base: slice = slice(0, BASE), new: slice = slice(0, NEW)) -> tuple[Block, Block]:
        """The two blocks, or the part of them that one process holds."""
        untargeted, unasked = torch.zeros(NEW, dtype=torch.bool), torch.zeros(NEW, dtype=torch.bool)
        untargeted[UNTARGETED] = unasked[UNASKED] = True
        first, second = (None, None) if self.bias is None else (self.bias[:BASE][base], self.bias[BASE:][new])
        return (
            Block(base.start, self.base_VD[base], first),
            Block(BASE + new.start, self.rows_RD[new], second, untargeted[new], unasked[new]),
        )

    def fresh(self) -> Case:
        """The same with leaves that have no gradient."""
        return replace(
            self,
            hidden_PD=self.hidden_PD.detach().clone().requires_grad_(),
            rows_RD=self.rows_RD.detach().clone().requires_grad_(),
        )


def case(dtype: torch.dtype, biased: bool = True) -> Case:
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, dtype=dtype, generator=generator)

    right = torch.tensor([i for i in range(BASE + NEW) if i - BASE not in UNTARGETED + UNASKED])
    targets_PK = torch.full((POSITIONS, MOST_TARGETS), -1)
    for position in range(POSITIONS):
        count = 1 + position % MOST_TARGETS
        targets_PK[position, :count] = right[torch.randperm(len(right), generator=generator)[:count]]
    weights_PK = normal(POSITIONS, MOST_TARGETS).masked_fill(targets_PK < 0, float("-inf")).softmax(1)
    weights_PK = (
        weights_PK * torch.linspace(0, 2, POSITIONS, dtype=weights_PK.dtype)[:, None]
    )  # what each position weighs
    return Case(
        hidden_PD=normal(POSITIONS, HIDDEN),
        base_VD=normal(BASE, HIDDEN),
        rows_RD=normal(NEW, HIDDEN),
        bias=normal(BASE + NEW) if biased else None,
        targets_PK=targets_PK,
        weights_PK=weights_PK,
        among_asked_P=torch.arange(POSITIONS) % 2 == 0,
    ).fresh()


def plain(one: Case) -> Tensor:
    """Cross-entropy against the distribution, position by position, with PyTorch's own function."""
    logits = torch.cat([one.hidden_PD @ one.base_VD.T, one.hidden_PD @ one.rows_RD.T], dim=1)
    logits = logits if one.bias is None else logits + one.bias
    total = logits.new_zeros(())
    for position in range(POSITIONS):
        left_out = {BASE + row for row in UNTARGETED + (UNASKED if one.among_asked_P[position] else [])}
        kept = [column for column in range(BASE + NEW) if column not in left_out]
        targets = [kept.index(token) for token in one.targets_PK[position].tolist() if token >= 0]
        wanted = logits.new_zeros(len(kept))
        wanted[targets] = one.weights_PK[position, : len(targets)]
        total = total + torch.nn.functional.cross_entropy(logits[position, kept], wanted)
    return total


def gradients(one: Case, loss: Tensor) -> tuple[Tensor, Tensor]:
    torch.autograd.backward(3 * loss)
    assert one.hidden_PD.grad is not None and one.rows_RD.grad is not None
    return one.hidden_PD.grad, one.rows_RD.grad


def chunked(one: Case, chunk_logits: int = 1 << 20) -> Tensor:
    return set_cross_entropy(
        one.hidden_PD, *one.blocks(), one.targets_PK, one.weights_PK, one.among_asked_P, chunk_logits=chunk_logits
    )


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("chunk_logits", [1, 4 * (BASE + NEW), 1 << 20], ids=["one position", "four", "all"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-6)])
def test_loss_and_gradients_are_those_of_the_plain_formula_whatever_the_chunks(
    dtype: torch.dtype, tolerance: float, chunk_logits: int, biased: bool
) -> None:
    one, other = case(dtype, biased), case(dtype, biased)
    loss, expected = chunked(one, chunk_logits), plain(other)
    torch.testing.assert_close(loss, expected, rtol=tolerance, atol=tolerance)
    for found, wanted in zip(gradients(one, loss), gradients(other, expected), strict=True):
        torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance)


def test_under_autocast_the_products_are_in_its_dtype_and_the_sums_are_not() -> None:
    one, other = case(torch.float32), case(torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = chunked(one)
    assert loss.dtype == torch.float32
    found, wanted = gradients(one, loss), gradients(other, plain(other))
    for mine, theirs in zip(found, wanted, strict=True):
        assert mine.dtype == torch.float32
        torch.testing.assert_close(mine, theirs, rtol=0.05, atol=0.1)
        assert not torch.equal(mine, theirs)


def test_no_tensor_of_all_positions_times_all_rows_is_made() -> None:
    """Against the plain way in the same count, so that the count itself is tested."""
    positions, rows, hidden = 64, 500, 8
    one = Case(
        hidden_PD=torch.randn(positions, hidden),
        base_VD=torch.randn(BASE, hidden),
        rows_RD=torch.randn(rows, hidden),
        bias=None,
        targets_PK=torch.zeros(positions, 1, dtype=torch.long),
        weights_PK=torch.ones(positions, 1),
        among_asked_P=torch.zeros(positions, dtype=torch.bool),
    ).fresh()
    blocks = Block(0, one.base_VD), Block(BASE, one.rows_RD)
    largest = {}
    for chunk_logits in (8 * (BASE + rows), 1 << 20):
        with Largest() as seen:  # type: ignore[no-untyped-call]
            torch.autograd.backward(
                set_cross_entropy(
                    one.hidden_PD, *blocks, one.targets_PK, one.weights_PK, one.among_asked_P, chunk_logits=chunk_logits
                )
            )
        largest[chunk_logits] = seen.numel
    assert list(largest.values()) == [max(8 * rows, rows * hidden), positions * rows]


class Largest(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the size of the largest tensor that any operation returns."""

    numel = 0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self.numel = max(self.numel, *(leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, Tensor)), 0)
        return result


def test_no_positions_have_no_loss_and_gradients_of_zeros() -> None:
    """Not none at all: FSDP exchanges the gradients that there are, and all processes must have the same."""
    one = case(torch.float32)
    empty = replace(
        one,
        hidden_PD=one.hidden_PD[:0],
        targets_PK=one.targets_PK[:0],
        weights_PK=one.weights_PK[:0],
        among_asked_P=one.among_asked_P[:0],
    )
    loss = chunked(empty)
    torch.autograd.backward(loss)
    assert float(loss.detach()) == 0 and one.rows_RD.grad is not None and not one.rows_RD.grad.any()


def test_a_second_backward_pass_is_refused_and_not_wrong() -> None:
    one = case(torch.float32)
    loss = chunked(one)
    torch.autograd.backward(loss, retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.backward(loss)


class ThreadPeers:
    """Processes as threads that lay their tensors on one table."""

    def __init__(self, rank: int, table: list[Any], barrier: threading.Barrier) -> None:
        self.rank, self.count, self._table, self._barrier = rank, len(table), table, barrier

    def _exchange(self, value: Any) -> list[Any]:
        self._table[self.rank] = value
        self._barrier.wait(timeout=20)
        found = list(self._table)
        self._barrier.wait(timeout=20)
        return found

    def meet(self, *numbers: int) -> list[list[int]]:
        return self._exchange(list(numbers))

    def gather(self, own: Tensor, sizes: Sequence[int]) -> Tensor:
        found = self._exchange(own)
        assert [len(each) for each in found] == list(sizes)
        return torch.cat(found)

    def own(self, gathered: Tensor, sizes: Sequence[int]) -> Tensor:
        start = sum(sizes[: self.rank])
        return gathered[start : start + sizes[self.rank]]

    def sum(self, values: Tensor) -> Tensor:
        return torch.stack(self._exchange(values)).sum(0)

    def combine(self, top_B: Tensor, total_B: Tensor, picked_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        tops, totals, picked = (torch.stack(self._exchange(each)) for each in (top_B, total_B, picked_B))
        return tops.amax(0), (totals * (tops - tops.amax(0)).exp()).sum(0), picked.sum(0)


@pytest.mark.parametrize("shares", [(5, 8), (0, 13), (4, 4, 5)], ids=str)
def test_processes_that_hold_slices_of_the_rows_find_the_loss_and_gradients_of_one(shares: tuple[int, ...]) -> None:
    whole = case(torch.float32)
    expected = plain(whole)
    hidden_gradient, rows_gradient = gradients(whole, expected)
    count, barrier, table = len(shares), threading.Barrier(len(shares)), [None] * len(shares)
    answers: list[Any] = [None] * count

    def process(rank: int) -> None:
        peers: Peers = ThreadPeers(rank, table, barrier)
        start = sum(shares[:rank])
        own = slice(start, start + shares[rank])
        held, base = (slice(rank * size, (rank + 1) * size) for size in (-(-NEW // count), -(-BASE // count)))
        mine = case(torch.float32)
        targets_PK = mine.targets_PK[own]
        most = int((targets_PK >= 0).sum(1).amax()) if len(targets_PK) else 1
        loss = set_cross_entropy(
            mine.hidden_PD[own],
            *mine.blocks(base, held),
            targets_PK[:, :most],
            mine.weights_PK[own][:, :most],
            mine.among_asked_P[own],
            chunk_logits=40,
            peers=peers,
        )
        hidden, rows = gradients(mine, loss)
        answers[rank] = (float(loss.detach()), hidden[own], rows[held])

    threads = [threading.Thread(target=process, args=(rank,)) for rank in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(answer[0] for answer in answers) == pytest.approx(float(expected.detach()), rel=1e-5)
    torch.testing.assert_close(torch.cat([answer[1] for answer in answers]), hidden_gradient, rtol=1e-5, atol=1e-5)
    # The loop multiplies each process's loss by their number, because exchanged gradients are means.
    torch.testing.assert_close(
        count * torch.cat([answer[2] for answer in answers]), rows_gradient, rtol=1e-5, atol=1e-5
    )
