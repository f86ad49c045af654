"""What is asked of weights as a whole: whether all are numbers, and whether two sets are the same. Knows no model."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

Named = Iterable[tuple[str, Tensor]]


@torch.no_grad()
def non_finite(tensors: Named) -> str | None:
    """The name of the first tensor that holds a NaN or an infinity; None where there is none."""
    for name, tensor in tensors:
        if tensor.is_floating_point() and tensor.numel() and not torch.stack(tensor.aminmax()).isfinite().all():
            return name
    return None


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
