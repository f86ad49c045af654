"""What this process's machine does well. Changes nothing until it is asked to."""

from __future__ import annotations

import ctypes
import functools
import platform
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# glibc <malloc.h>
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4
_LARGEST = 0x7FFFFFFF


def native_bf16(device: torch.device) -> bool:
    """Whether a device multiplies bf16 natively. Elsewhere bf16 is emulated and slower than fp32 (on Cascade Lake: a
    third of its speed), or not known to be faster."""
    if device.type == "cuda":
        from torch.cuda import is_bf16_supported

        return bool(is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and _cpu_has_bf16()


@functools.cache
def _cpu_has_bf16() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def product_dtype(tensor: Tensor) -> torch.dtype:
    """The dtype in which products with a tensor are made: autocast's where it is on."""
    from torch import get_autocast_dtype, is_autocast_enabled

    kind = tensor.device.type
    return get_autocast_dtype(kind) if is_autocast_enabled(kind) else tensor.dtype


def tune_allocator() -> bool:
    """Keeps freed memory in the process (no mmap, no trim): a training step frees and takes the same large blocks again, and
    each return to the kernel costs page faults. glibc only; returns whether it was done."""
    libc = _glibc()
    return libc is not None and all(
        [
            libc.mallopt(_M_MMAP_MAX, 0),
            libc.mallopt(_M_TRIM_THRESHOLD, _LARGEST),
            libc.mallopt(_M_MMAP_THRESHOLD, _LARGEST),
        ]
    )


def release_freed() -> bool:
    """Gives freed memory back to the kernel. By itself glibc only cuts off the end of a heap, and what is freed in the middle,
    between blocks that live longer, stays in the process. glibc only; returns whether there was any."""
    libc = _glibc()
    return libc is not None and bool(libc.malloc_trim(0))


@functools.cache
def _glibc() -> ctypes.CDLL | None:
    return ctypes.CDLL("libc.so.6") if platform.libc_ver()[0] == "glibc" else None
