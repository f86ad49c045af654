"""What the interpreter does to the world outside, as its audit events tell it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_WATCHED = ("open", "socket.", "urllib.Request", "subprocess.Popen", "os.system", "http.client")
_lists: list[list[str]] = []  # a hook stays until the process ends


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if _lists and event.startswith(_WATCHED):
        _lists[-1].append(f"{event} {arguments}")


sys.addaudithook(_watch)


@contextmanager
def outside_events() -> Iterator[list[str]]:
    """A list of what is opened, connected to or started meanwhile."""
    seen: list[str] = []
    _lists.append(seen)
    try:
        yield seen
    finally:
        _lists.remove(seen)
