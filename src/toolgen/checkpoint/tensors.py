"""What is asked of weights as a whole: whether all are numbers, and whether two sets are the same. Knows no model."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from toolgen.errors import CheckpointError

Named = Iterable[tuple[str, Tensor]]


@torch.no_grad()
def non_finite(tensors: Named) -> str | None:
    """The name of the first tensor that holds a NaN or an infinity; None where there is none."""
    for name, tensor in tensors:
        if tensor.is_floating_point() and tensor.numel() and not torch.stack(tensor.aminmax()).isfinite().all():
            return name
    return None


def load_tensors(path: Path, shapes: Mapping[str, tuple[int | None, ...]]) -> dict[str, Tensor]:
    """The tensors of a safetensors file. CheckpointError unless they are those of `shapes`, where None is any length, and all
    numbers."""
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} is damaged ({' '.join(str(error).split())[:160]}); write it again") from error
    fits = tensors.keys() == shapes.keys() and all(
        tensor.is_floating_point()
        and tensor.dim() == len(shapes[name])
        and all(want in (None, have) for want, have in zip(shapes[name], tensor.shape, strict=True))
        for name, tensor in tensors.items()
    )
    if not fits:
        found = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in sorted(tensors.items()))[:160]
        wanted = ", ".join(f"{name} {shape}" for name, shape in sorted(shapes.items()))
        raise CheckpointError(f"{path} holds {found or 'nothing'}; this model needs {wanted}")
    if name := non_finite(tensors.items()):
        raise CheckpointError(f"{path}: {name} holds NaN or infinity; write it again")
    return tensors


@torch.no_grad()
def digest(tensors: Named) -> str:
    """Identity of weights by name and value, 16 hex digits; a GiB takes about a second of one core."""

    def of(named: tuple[str, Tensor]) -> bytes:
        name, tensor = named
        values = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
        head = f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode()
        return hashlib.sha256(hashlib.sha256(values).digest() + head).digest()

    with ThreadPoolExecutor() as pool:  # hashing lets go of the interpreter's lock
        return hashlib.sha256(b"".join(pool.map(of, tensors))).hexdigest()[:16]
