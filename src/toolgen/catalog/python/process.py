"""A module of the user in a process of its own, which can be ended whatever its code does.

Knows the worker's messages (`worker.py`) and no function.
"""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from toolgen.catalog.loaders.common import LoadedTools
from toolgen.catalog.loaders.report import LoadReport
from toolgen.catalog.python.calls import Answer
from toolgen.catalog.tool import Tool
from toolgen.errors import CatalogError

START_TIMEOUT = 120.0  # seconds for importing a module
_GRACE = 1.0  # seconds for exit handlers
_POLL = 0.05  # seconds between looks at a process that does not answer

_Message = dict[str, Any]


class PythonProcess:
    """A process that has imported the module or file `source`. `loaded` is what it found there.

    A function that does not answer in time is ended together with the process, and so are programs that it started; the
    next call begins with a new process, and the module's state is gone. Nothing is left running when this process ends,
    however it does. CatalogError if the module cannot be imported.
    """

    def __init__(self, source: str, *, start_timeout: float = START_TIMEOUT) -> None:
        self._source = source
        self._one_at_a_time = threading.Lock()
        self._closed = False
        self._worker, self.loaded = self._start(start_timeout)

    def call(self, function: str, arguments: Mapping[str, Any], timeout: float) -> Answer | None:
        """The answer, or None if there was none within `timeout` seconds."""
        try:
            request = json.dumps({"function": function, "arguments": dict(arguments)})
        except (TypeError, ValueError, RecursionError) as error:
            return Answer(f"invalid arguments: they are no JSON: {error}", failed=True)
        end = time.monotonic() + timeout
        if not self._one_at_a_time.acquire(timeout=timeout):
            return Answer("other calls of this module took all the time; it was not carried out", failed=True)
        try:
            return self._answer(request, end)
        finally:
            self._one_at_a_time.release()

    def close(self) -> None:
        """Ends the process, and with it a call that is under way; else the module's exit handlers have a second."""
        self._closed = True
        if not self._one_at_a_time.acquire(blocking=False):
            if (worker := self._worker) is not None:
                worker.end()
            self._one_at_a_time.acquire()
        try:
            if self._worker is not None:
                self._worker.close()
            self._worker = None
        finally:
            self._one_at_a_time.release()

    def _answer(self, request: str, end: float) -> Answer | None:
        if self._closed:
            return Answer("the function's process was closed; it was not carried out", failed=True)
        if self._worker is None:
            try:
                self._worker, _ = self._start(end - time.monotonic())
            except CatalogError as error:
                return Answer(f"the function cannot be called any more: {error}", failed=True)
        answer = self._ask(request, end - time.monotonic())
        if answer is None:
            return None
        if "ended" in answer:
            return Answer(f"the function ended its own process ({_status(answer['ended'])})", failed=True)
        return Answer(answer["text"], answer["failed"])

    def _start(self, timeout: float) -> tuple[_Worker | None, LoadedTools]:
        self._worker = _Worker()
        answer = self._ask(json.dumps({"source": self._source, "path": list(map(str, sys.path))}), timeout)
        if answer is None:
            raise CatalogError(f"cannot import {self._source!r}: not done within {timeout:.3g} seconds")
        if "ended" in answer:
            raise CatalogError(f"cannot import {self._source!r}: it ends the process ({_status(answer['ended'])})")
        if "error" in answer:
            self._worker.close()
            self._worker = None
            raise CatalogError(answer["error"])
        tools = tuple(map(Tool.from_dict, answer["tools"]))
        return self._worker, LoadedTools(tools, LoadReport.from_dict(answer["report"]))

    def _ask(self, request: str, timeout: float) -> _Message | None:
        """The worker's answer; the worker is gone if that is None or says so, or if waiting is broken off."""
        assert self._worker is not None
        worker, answer = self._worker, None
        try:
            worker.send(request)
            answer = worker.receive(timeout)
        finally:
            if answer is None or "ended" in answer:
                worker.end()
                self._worker = None
        return answer


class _Worker:
    """One process and the lines that it has written."""

    def __init__(self) -> None:
        command = [sys.executable, "-P", str(Path(__file__).with_name("worker.py"))]
        # In a session of its own: Ctrl-C in the terminal is for this process, which then ends the other.
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._reader = threading.Thread(target=_read_lines, args=(self._process.stdout, self._lines), daemon=True)
        self._reader.start()
        self.end = weakref.finalize(self, _end, self._process)

    def send(self, message: str) -> None:
        assert self._process.stdin
        with suppress(OSError):  # it has ended; receiving says so
            self._process.stdin.write(message.encode() + b"\n")
            self._process.stdin.flush()

    def receive(self, timeout: float) -> _Message | None:
        deadline = time.monotonic() + timeout
        while True:
            left = max(0, deadline - time.monotonic())
            if ended := self._process.poll() is not None:  # what it wrote last may still be on its way
                self._reader.join(min(left, _GRACE))
            try:
                line = self._lines.get(timeout=0 if ended else min(left, _POLL))
            except queue.Empty:
                if ended:  # without its last line
                    return {"ended": None}
                if left <= 0:
                    return None
                continue
            with suppress(ValueError):  # what a function wrote into a pipe that is not its own
                if isinstance(message := json.loads(line), dict):
                    return message

    def close(self) -> None:
        self.send("null")
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE)
        self.end()


def _read_lines(output: Any, lines: queue.SimpleQueue[bytes]) -> None:
    with output:
        for line in output:
            lines.put(line)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a worker, with what it has started: its guard does so upon SIGTERM."""
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    assert process.stdin
    with suppress(OSError):
        process.stdin.close()


def _status(code: int | None) -> str:
    if code is not None and code < 0:
        return signal.Signals(-code).name
    return "status unknown" if code is None else f"exit status {code}"
