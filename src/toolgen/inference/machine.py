"""What this process's machine does well. Changes nothing until it is asked to."""

from __future__ import annotations

import ctypes
import functools
import platform
from pathlib import Path

# glibc <malloc.h>
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4
_LARGEST = 0x7FFFFFFF


@functools.cache
def native_bf16() -> bool:
    """Whether the device multiplies bf16 natively. Elsewhere bf16 is emulated and slower than fp32 (on Cascade Lake: a
    third of its speed)."""
    import torch

    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


@functools.cache
def tune_allocator() -> bool:
    """Keeps freed memory in the process (no mmap, no trim): a training step frees and takes the same large blocks again, and
    each return to the kernel costs page faults. glibc only; returns whether it was done."""
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL("libc.so.6")
    return all(
        [
            libc.mallopt(_M_MMAP_MAX, 0),
            libc.mallopt(_M_TRIM_THRESHOLD, _LARGEST),
            libc.mallopt(_M_MMAP_THRESHOLD, _LARGEST),
        ]
    )
