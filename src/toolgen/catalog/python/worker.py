"""A process that imports one Python module and calls its functions: `python worker.py`, a JSON line a message each way.

The first line says what to import and where modules are found; the answer is the module's tools. Each further line is a
call; `null` ends the process. What the module prints goes to standard error. Begins with nothing but the standard library:
the process that guards this one has to stay small.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import threading
from contextlib import suppress
from typing import IO, Any


def main() -> None:
    """Serves until the requests end."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    # From here on the standard streams are the module's own; the protocol's are inherited by no program it starts.
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    if hasattr(os, "fork"):
        _become_guarded(requests, answers)
    worker = os.getpid()
    start = json.loads(requests.readline() or "null")
    if start is None:
        return
    sys.path[:] = start["path"]
    functions = _load(start["source"], answers)
    for line in requests:
        request = json.loads(line)
        if request is None or functions is None:
            return
        answer = functions.call(request["function"], request["arguments"])
        if os.getpid() != worker:  # the function has forked, and this is the child coming back from it
            os._exit(0)
        if sys.stdout.closed:
            sys.stdout = os.fdopen(os.dup(2), "w", buffering=1)
        _send(answers, {"text": answer.text, "failed": answer.failed})


def _load(source: str, answers: IO[bytes]) -> Any:
    from toolgen.catalog.loaders.python_functions import load_module, tool_from_function
    from toolgen.catalog.python.calls import Functions, error_text
    from toolgen.catalog.python.modules import import_source, members_of
    from toolgen.errors import CatalogError

    def sample(text: str = "") -> str:
        return text

    # What toolgen imports when it first reads a function comes before modules of the user that are called like it.
    tool_from_function(sample)
    try:
        module = import_source(source)
        loaded = load_module(module, source)
        known = {(tool.endpoint or {})["function"] for tool in loaded.tools}
        members = members_of(module, lambda _line: None)
        functions = Functions({one.attribute: one for one in members if one.attribute in known})
    except CatalogError as error:
        _send(answers, {"error": str(error)})
        return None
    except Exception as error:  # a module's contents may raise anything when they are looked at
        _send(answers, {"error": f"cannot read {source!r}: {error_text(error)}"})
        return None
    _send(answers, {"tools": [tool.to_dict() for tool in loaded.tools], "report": loaded.report.to_dict()})
    return functions


def _send(answers: IO[bytes], message: dict[str, Any]) -> None:
    try:
        answers.write(json.dumps(message).encode() + b"\n")
        answers.flush()
    except OSError:  # nobody reads any more, or the module has closed what is not its own
        os._exit(1)


def _become_guarded(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Returns in a new process; this one becomes its guard, in which no code of the user runs, so that nothing can keep it
    from its work: it ends the other, and all that it started, when the one that asks has gone or sends SIGTERM."""
    worker = os.fork()
    if worker == 0:
        os.setpgid(0, 0)
        return
    with suppress(OSError):  # whichever of the two comes first
        os.setpgid(worker, worker)

    def end(*_: object) -> None:
        with suppress(OSError):  # it has ended
            os.killpg(worker, signal.SIGKILL)

    def end_with_the_requests() -> None:
        hanging_up = select.poll()
        hanging_up.register(requests, 0)
        hanging_up.poll()
        end()

    signal.signal(signal.SIGTERM, end)
    threading.Thread(target=end_with_the_requests, daemon=True).start()
    _, status = os.waitpid(worker, 0)
    end()
    with suppress(OSError):
        os.write(answers.fileno(), b'\n{"ended": %d}\n' % os.waitstatus_to_exitcode(status))
    os._exit(0)


if __name__ == "__main__":
    main()
