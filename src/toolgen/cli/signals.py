"""Ctrl-C and SIGTERM end a command in one line, with 130 and 143, from its first moment on. Imports nothing that takes time.

Until a command runs there is nothing to save or to clean up, and the process ends where it is, in the middle of an import too.
A command that runs gets an exception, but no import is broken off by it.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType
from typing import NoReturn

from toolgen.errors import Terminated

NUMBERS = (signal.SIGINT, signal.SIGTERM)
IMPORT_SECONDS = 10.0  # how long an import may go on
_received: list[int] = []
_waiting: dict[int, float] = {}  # a signal that waits for an import, and since when


def listen() -> None:
    """A signal from now on ends the process at once, with one line."""
    for number in NUMBERS:
        signal.signal(number, _end)


def raise_from_now_on() -> None:
    """A signal from now on is a KeyboardInterrupt or Terminated; nothing changes where `listen` was not called."""
    for number in NUMBERS:
        if signal.getsignal(number) is _end:
            signal.signal(number, _raise)


def end_from_now_on() -> None:
    """The command is over, and what still comes does not disturb its last line."""
    for number in NUMBERS:
        if signal.getsignal(number) is _raise:
            signal.signal(number, _end)


def received() -> int | None:
    """The signal that was raised, which a library may have turned into an error of its own; None for none."""
    return _received[-1] if _received else None


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    os.write(2, b"interrupted\n")
    os._exit(128 + number)


def _raise(number: int, frame: FrameType | None) -> None:
    now = time.monotonic()
    if _is_import(frame) and now - _waiting.setdefault(number, now) < IMPORT_SECONDS:
        # Extensions import in C++ too, where an exception of Python aborts the process (torch's do).
        again = threading.Timer(0.02, os.kill, (os.getpid(), number))
        again.daemon = True
        again.start()
        return
    _waiting.pop(number, None)
    _received.append(number)
    raise Terminated if number == signal.SIGTERM else KeyboardInterrupt


def _is_import(frame: FrameType | None) -> bool:
    while frame is not None and frame.f_code.co_filename != "<frozen importlib._bootstrap>":
        frame = frame.f_back
    return frame is not None
