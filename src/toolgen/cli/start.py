"""The entry point of the `toolgen` command: it listens to signals before anything is imported, and ends the process itself."""

from __future__ import annotations

import atexit
import os
import sys
from contextlib import suppress

from toolgen.cli.signals import listen

_code = 1  # of the process; that of an exception which nobody caught


def main() -> None:
    """Runs the command line."""
    global _code
    listen()
    atexit.register(_end)  # the first that is registered is the last that is called
    from toolgen.cli.app import main as run

    try:
        run()
        _code = 0
    except SystemExit as ended:
        _code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        raise


def _end() -> None:
    """Ends here, where all work is done: libraries in C++ that still have threads would abort while the interpreter takes
    itself apart, and a finished command would look like one that failed."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # its reader is gone, or it is closed
            stream.flush()
    os._exit(_code)
