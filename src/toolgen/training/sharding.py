"""A model sharded over processes: the new rows by slices, the trunk by FSDP2.

A saved state is whole in every case, so a run can be resumed with another number of processes. Every function that speaks
of all processes must be called by all of them. Knows no stage and no data.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Shard, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from toolgen.training.examples import TrainingExample

if TYPE_CHECKING:
    from toolgen.training.model import TrainableModel


def whole(tensor: Tensor) -> Tensor:
    """The tensor of which each process holds a part; any other tensor as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def local(tensor: Tensor) -> Tensor:
    """This process's part of such a tensor; any other tensor as it is. Gradients flow through."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def part_like(tensor: Tensor, like: Tensor) -> Tensor:
    """This process's part of a whole tensor, cut as `like` is. Nothing is exchanged: all processes have the whole one."""
    if not isinstance(like, DTensor):
        return tensor
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


class RowPeers:
    """The processes that share the new rows: each holds, scores and trains one slice of them (`softmax.Peers`)."""

    def __init__(self, mesh: DeviceMesh) -> None:
        self._mesh, self._group = mesh, mesh.get_group()
        self.rank, self.count = mesh.get_local_rank(), mesh.size()

    def part(self, ids: range) -> range:
        """This process's share of consecutive token ids, cut as `torch.chunk` and `DTensor` cut."""
        size = -(-len(ids) // self.count)
        return ids[self.rank * size : (self.rank + 1) * size]

    def shard(self, rows_RD: Tensor) -> nn.Parameter:
        """The rows as a parameter of which this process holds its slice."""
        return nn.Parameter(distribute_tensor(rows_RD.detach(), self._mesh, [Shard(0)], src_data_rank=None))

    def meet(self, *numbers: int) -> list[list[int]]:
        """The numbers of every process."""
        own = torch.tensor(numbers, device=self._mesh.device_type)
        found = [torch.empty_like(own) for _ in range(self.count)]
        dist.all_gather(found, own, self._group)
        return [each.tolist() for each in found]

    def gather(self, own: Tensor, sizes: Sequence[int]) -> Tensor:
        """The tensors of all processes one after another; `sizes` are their first dimensions."""
        padded = own.new_zeros(max(sizes), *own.shape[1:])
        padded[: len(own)] = own
        found = [torch.empty_like(padded) for _ in range(self.count)]
        dist.all_gather(found, padded, self._group)
        return torch.cat([part[:size] for part, size in zip(found, sizes, strict=True)])

    def own(self, gathered: Tensor, sizes: Sequence[int]) -> Tensor:
        """This process's part of what `gather` returned."""
        start = sum(sizes[: self.rank])
        return gathered[start : start + sizes[self.rank]]

    def sum(self, values: Tensor) -> Tensor:
        """Summed over the processes, in place."""
        dist.all_reduce(values, dist.ReduceOp.SUM, self._group)
        return values

    def combine(self, top_B: Tensor, total_B: Tensor, picked_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Largest logit, sum of exponentials above it and sum of the targets' logits over the columns of all processes."""
        top = top_B.clone()
        dist.all_reduce(top, dist.ReduceOp.MAX, self._group)
        total, picked = self.sum(torch.stack([total_B * (top_B - top).exp(), picked_B]))
        return top, total, picked

    @torch.no_grad()
    def lookup(self, rows_N: Tensor, parameter: nn.Parameter) -> Tensor:
        """The vectors (N, D) of these rows, from the processes that hold them. No gradient flows back."""
        sizes = [size for (size,) in self.meet(len(rows_N))]
        held = self.part(range(len(parameter)))
        own = local(parameter)
        if not any(sizes):
            return own.new_empty(0, parameter.shape[1])
        wanted = self.gather(rows_N, sizes)
        is_held = (wanted >= held.start) & (wanted < held.stop)
        found = own.new_zeros(len(wanted), parameter.shape[1])
        found[is_held] = own[wanted[is_held] - held.start]
        return self.own(self.sum(found), sizes)


def distribute(trainable: TrainableModel, device: torch.device, *, rows: bool, trunk: bool) -> nn.Module:
    """Shards `trainable` over all processes, and returns what to call in its place: gradients are then exchanged as the mean
    over the processes. What is not sharded is held by each of them, as in DDP."""
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    if rows:
        trainable.shard_rows(RowPeers(mesh))
    if trunk:
        _shard_trunk(trainable, mesh, device)
        return trainable
    sharded = [name for name, parameter in trainable.named_parameters() if isinstance(parameter, DTensor)]
    # DDP spells a parameter of the outermost module in two ways, `.name` where it collects what it exchanges.
    names = [*sharded, *(f".{name}" for name in sharded)]
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(trainable, names)  # type: ignore[no-untyped-call]
    return DistributedDataParallel(trainable, gradient_as_bucket_view=True)


def _shard_trunk(trainable: TrainableModel, mesh: DeviceMesh, device: torch.device) -> None:
    """FSDP2 over each layer, and over the rest together; rows that have peers keep their slices."""
    shared = trainable.copy_trunk(device)
    for layer in trainable.layers():
        fully_shard(layer, mesh=mesh)
    apart = {row for row in (trainable.input_rows, trainable.output_rows) if isinstance(row, DTensor)}
    fully_shard(trainable, mesh=mesh, ignored_params=shared | apart)
    trainable.remember_start()


def equal_count(parts: list[list[TrainingExample]], device: torch.device) -> list[list[TrainingExample]]:
    """As many micro-batches in each process, which meet in all of them: the missing ones are one token without a loss."""
    most = torch.tensor(len(parts), device=device)
    dist.all_reduce(most, dist.ReduceOp.MAX)
    return parts + [[TrainingExample(parts[0][0].ids[:1])]] * (int(most) - len(parts))
