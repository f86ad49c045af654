"""Runs a foreign MCP server and bounds what it can write: `python limited_output.py BYTES COMMAND [ARG...]`.

Passes on whole lines that can be messages (JSON objects); anything else that a server prints would be parsed for nothing,
and a line without end would fill the memory. Standard input goes to the command unchanged. Of what it says on standard
error only the end is passed on, when it has ended. Imports nothing but the standard library, so that it starts quickly.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading

KEPT_OF_ERRORS = 2000  # bytes
CHUNK = 1 << 16


def main(limit: int, command: list[str]) -> int:
    """The exit code of the command; 1 if it wrote more than `limit` bytes, upon which it is killed."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout and process.stderr
    output, errors = process.stdout.fileno(), process.stderr.fileno()
    tail = bytearray()

    def keep_tail() -> None:
        while chunk := os.read(errors, CHUNK):
            tail.extend(chunk)
            del tail[:-KEPT_OF_ERRORS]

    reader = threading.Thread(target=keep_tail, daemon=True)
    reader.start()
    received = 0
    pending = bytearray()
    while chunk := os.read(output, CHUNK):
        received += len(chunk)
        if received > limit:
            process.kill()
            os.write(2, b"it wrote more than %d MB" % (limit >> 20))
            return 1
        pending += chunk
        if b"\n" in chunk:
            whole, _, rest = pending.rpartition(b"\n")
            _write(b"".join(line + b"\n" for line in whole.split(b"\n") if line.lstrip().startswith(b"{")))
            pending = bytearray(rest)
    code = process.wait()
    reader.join(timeout=1)  # a grandchild may hold the pipe open
    os.write(2, bytes(tail))
    return code


def _write(text: bytes) -> None:
    view = memoryview(text)
    while view:
        view = view[os.write(1, view) :]


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
