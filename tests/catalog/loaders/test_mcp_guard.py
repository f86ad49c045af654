"""A started MCP server ends with toolgen, however that ends, and so does everything that the server has started."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from toolgen.catalog.loaders import mcp_guard

pytest.importorskip("mcp")
pytestmark = pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")

# Starts a child in its group and one in a session of its own, says so, and never answers. Nothing of it ends when asked.
STUBBORN = """
import signal, subprocess, sys, time
from pathlib import Path
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGHUP, signal.SIG_IGN)
if len(sys.argv) == 1:
    for kind in ("same", "own"):
        subprocess.Popen([sys.executable, __file__, kind], start_new_session=kind == "own")
Path(__file__).with_name(sys.argv[1] if len(sys.argv) > 1 else "server").touch()
time.sleep(600)
"""


@pytest.fixture
def stubborn(tmp_path: Path) -> Path:
    script = tmp_path / "stubborn.py"
    script.write_text(STUBBORN)
    return script


def _command_line(pid: int) -> bytes:
    """That of a process; empty if it has ended."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def _running(script: Path) -> list[int]:
    """The processes with this script in their command line, toolgen's and the guard's too."""
    pids = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
    return [pid for pid in pids if os.fsencode(script) in _command_line(pid)]


def _wait_until_started(script: Path) -> None:
    end = time.monotonic() + 60
    while not all(script.with_name(kind).exists() for kind in ("server", "same", "own")):
        assert time.monotonic() < end
        time.sleep(0.05)


def _servers(script: Path) -> list[int]:
    """Those of them that run the script as the server."""
    return [pid for pid in _running(script) if _command_line(pid).endswith(b".py\0")]


def _assert_nothing_is_left(script: Path, running: Callable[[Path], list[int]] = _running) -> None:
    end = time.monotonic() + 15  # the system ends them, in its own time
    while left := running(script):
        assert time.monotonic() < end, left
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_is_left_when_toolgen_is_told_to_end(stubborn: Path, number: signal.Signals) -> None:
    source = "mcp:" + shlex.join([sys.executable, str(stubborn)])
    command = [sys.executable, "-m", "toolgen", "catalog", "build", source, "-o", str(stubborn.with_name("out"))]
    toolgen = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_until_started(stubborn)
        toolgen.send_signal(number)
        assert toolgen.wait(20) != 0
    finally:
        toolgen.kill()
    _assert_nothing_is_left(stubborn)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_server_ends_when_its_guard_is_told_to_end(stubborn: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-I", mcp_guard.__file__, "1000", "whole", sys.executable, str(stubborn)]
    guard = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True)
    with guard:
        _wait_until_started(stubborn)
        guard.send_signal(number)
        guard.wait(20)
    if number == signal.SIGKILL:  # nobody is there to look for what the server has started
        _assert_nothing_is_left(stubborn, _servers)
        for pid in _running(stubborn):
            os.kill(pid, signal.SIGKILL)
    _assert_nothing_is_left(stubborn)


def test_what_a_server_leaves_behind_ends_with_it(tmp_path: Path, stubborn: Path) -> None:
    """As npx does: the program that was started ends, its child goes on."""
    launcher = tmp_path / "launcher.py"
    launcher.write_text(
        "import subprocess, sys, time\nfrom pathlib import Path\n"
        f"subprocess.Popen([sys.executable, {str(stubborn)!r}], start_new_session=True)\n"
        f"while not Path({str(tmp_path / 'own')!r}).exists(): time.sleep(0.02)\n"
    )
    command = [sys.executable, "-I", mcp_guard.__file__, "1000", "whole", sys.executable, str(launcher)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as guard:
        _wait_until_started(stubborn)
        assert guard.stdin is not None
        guard.stdin.close()
        guard.wait(20)
    _assert_nothing_is_left(stubborn)


def test_bytes_are_counted_for_each_answer_or_for_all(tmp_path: Path) -> None:
    script = tmp_path / "echo.py"
    script.write_text("for line in open(0): print('{' + 'x' * 700 + '}', flush=True)\n")
    for kind, answered in (("answer", 3), ("whole", 1)):
        command = [sys.executable, "-I", mcp_guard.__file__, "1000", kind, sys.executable, str(script)]
        pipe = subprocess.PIPE
        guard = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True)
        with guard:
            assert guard.stdin and guard.stdout and guard.stderr
            lines = []
            for _ in range(3):
                with suppress(BrokenPipeError):
                    guard.stdin.write(b"next\n")
                    guard.stdin.flush()
                lines.append(guard.stdout.readline())
            with suppress(BrokenPipeError):
                guard.stdin.close()
            assert sum(len(line) == 703 for line in lines) == answered
            assert (b"it wrote more than" in guard.stderr.read()) == (kind == "whole")
