"""Memory that was freed goes back to the system."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest

from toolgen.inference.machine import release_freed


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone keeps what is freed so")
def test_what_was_freed_between_blocks_that_stay_is_given_back() -> None:
    blocks: list[bytes | None] = [b"x" * 100_000 for _ in range(2_000)]
    for place in range(len(blocks)):
        if place % 10 != 9:
            blocks[place] = None
    kept = _resident()
    assert release_freed()
    assert kept - _resident() > 100_000_000  # of 180


def _resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
