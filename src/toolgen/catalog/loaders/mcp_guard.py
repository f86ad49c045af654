"""Runs a foreign MCP server, bounds what it writes, and ends it: `python mcp_guard.py BYTES answer|whole COMMAND [ARG...]`.

Passes on whole lines that can be messages (JSON objects): anything else that a server prints would be parsed for nothing,
and a line without end would fill the memory. More than BYTES, in answer to one request or in all, end the server. Of what it
says on standard error only the end is passed on, when it has ended; of one that ends by itself without a word there, how it
ended and what it printed.

When standard input ends or whoever started this process is gone, killed too, the server ends, and so does everything that
it has started: the processes of its group, and on Linux those that have left it. Imports nothing but the standard library,
so that it starts quickly.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

KEPT_OF_ERRORS = 8000  # bytes
KEPT_OF_PRINTS = 200  # of the first line that is no message
CHUNK = 1 << 16
GRACE_SECONDS = 0.4  # for a server to end when its input does, again, and when it is asked to: the SDK waits 2 s in all
LOOK_SECONDS = 0.5  # between two looks whether whoever started this process is there
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_POSIX, _LINUX = os.name == "posix", sys.platform == "linux"


class Guard:
    """One server, and the threads that stand between it and the client."""

    def __init__(self, limit: int, command: list[str], *, whole: bool) -> None:
        self._limit, self._whole = limit, whole
        self._received = 0
        self._errors = bytearray()
        self._printed = b""
        self._left = False  # whether the client has
        self._over = threading.Event()
        self._server = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=_end_with_parent if _LINUX else None,
        )

    def run(self) -> None:
        """Until the server or the client ends; then everything ends, this process too."""
        parent = os.getppid()
        reader = threading.Thread(target=self._keep_errors, daemon=True)
        for thread in (reader, *(threading.Thread(target=one, daemon=True) for one in (self._ask, self._answer))):
            thread.start()
        try:
            signal.signal(signal.SIGTERM, lambda *_: sys.exit())
            while not self._over.wait(LOOK_SECONDS) and os.getppid() == parent:
                pass
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            self._end(reader)

    def _ask(self) -> None:
        """Passes on what the client says, a piece at a time; a server that does not read stops nothing else."""
        assert self._server.stdin is not None
        with suppress(OSError):
            while chunk := os.read(0, CHUNK):
                if not self._whole:
                    self._received = 0
                _write(self._server.stdin.fileno(), chunk)
        self._left = True
        with suppress(OSError):
            self._server.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._server.wait(GRACE_SECONDS)
        self._over.set()

    def _answer(self) -> None:
        assert self._server.stdout is not None
        pending = bytearray()
        with suppress(OSError):
            while chunk := os.read(self._server.stdout.fileno(), CHUNK):
                self._received += len(chunk)
                if self._received > self._limit:
                    self._errors[:] = b"it wrote more than %d MB" % (self._limit >> 20)
                    self._server.kill()
                    break
                pending += chunk
                if b"\n" in chunk:
                    whole, _, rest = bytes(pending).rpartition(b"\n")
                    messages: list[bytes] = []
                    others: list[bytes] = []
                    for line in filter(bytes.strip, whole.split(b"\n")):
                        (messages if line.lstrip().startswith(b"{") else others).append(line + b"\n")
                    self._printed = self._printed or b"".join(others[:1]).strip()[:KEPT_OF_PRINTS]
                    _write(1, b"".join(messages))
                    pending = bytearray(rest)
        self._over.set()

    def _keep_errors(self) -> None:
        assert self._server.stderr is not None
        while chunk := os.read(self._server.stderr.fileno(), CHUNK):
            if self._received <= self._limit:
                self._errors += chunk
                del self._errors[:-KEPT_OF_ERRORS]

    def _end(self, reader: threading.Thread) -> None:
        by_itself = not self._left
        with suppress(subprocess.TimeoutExpired):
            self._server.wait(GRACE_SECONDS)
        code = self._server.poll() if by_itself else None
        if _POSIX:
            os.killpg(0, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._server.wait(GRACE_SECONDS)
        self._server.kill()
        if _LINUX:
            _end_descendants()
        reader.join(timeout=GRACE_SECONDS)  # a grandchild may hold the pipe open
        if code is not None and not self._errors.strip():
            self._errors += b"it ended with exit code %d" % code
            self._errors += b" after printing: " + self._printed if self._printed else b""
        with suppress(OSError):
            os.write(2, bytes(self._errors))
        if _POSIX:
            os.killpg(0, signal.SIGKILL)
        os._exit(1)


def _write(descriptor: int, text: bytes) -> None:
    view = memoryview(text)
    while view:
        view = view[os.write(descriptor, view) :]


def _prctl(option: int, value: int) -> None:
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _end_with_parent() -> None:
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _end_descendants() -> None:
    """Kills what the server has started and left; the system makes orphans children of this process."""
    end = time.monotonic() + GRACE_SECONDS
    while (children := _children()) and time.monotonic() < end:
        for child in children:
            with suppress(OSError):
                os.kill(child, signal.SIGKILL)
        with suppress(OSError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.01)


def _children() -> list[int]:
    own = os.getpid()
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError):  # it has ended in the meantime
            state, parent = path.read_bytes().rpartition(b") ")[2].split()[:2]
            if int(parent) == own and state != b"Z":
                found.append(int(path.parent.name))
    return found


def main() -> None:
    """Runs the command of the command line."""
    if _POSIX and os.getpgrp() != os.getpid():
        os.setsid()  # so that the group holds the server and nothing else
    if _LINUX:
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    Guard(int(sys.argv[1]), sys.argv[3:], whole=sys.argv[2] == "whole").run()


if __name__ == "__main__":
    main()
