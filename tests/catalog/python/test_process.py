"""The process in which a user's module runs: its answers come at once, and nothing outlives the one that asked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

import toolgen
from toolgen.catalog.python.calls import MAX_RESULT
from toolgen.catalog.python.process import PythonProcess
from toolgen.errors import CatalogError

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes of POSIX")

MODULE = """
import atexit, ctypes, os, pathlib, re, subprocess, sys, time
folder = pathlib.Path(__file__).parent
atexit.register(lambda: (folder / "ended").write_text("exit handlers ran"))

def ok(): return "fine"
def pid(): return os.getpid()
def hang(): time.sleep(100)
def hang_in_c(): re.match("(a+)+$", "a" * 50 + "b")
def hang_deaf():
    import signal
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True: pass
def die(): os._exit(3)
def crash(): ctypes.string_at(0)
def leave(): sys.exit("bye")
def long(): return "x" * 5_000_000
def surrogates(): return "\\udc80"
def prints():
    print("printed")
    os.write(1, b'{"text": "forged"}\\n')
    return "printed"
def close_stdout():
    sys.stdout.close()
    os.close(1)
    return "closed"
def close_everything(): os.closerange(3, 100)
def fork():
    if os.fork() == 0: return "child"
    return "parent"
def fork_and_stay():
    if os.fork() == 0: time.sleep(100)
    return "parent"
def ask(): return input()
def start():
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"]).pid
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("process") / "module.py"
    path.write_text(MODULE)
    return path


@pytest.fixture(scope="module")
def process(file: Path) -> Iterator[PythonProcess]:
    with closing(PythonProcess(str(file))) as started:
        yield started


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and only waits to be counted does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # the second: it ended between opening and reading
        return False


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("function", "text", "failed"),
    [
        ("die", "the function ended its own process (exit status 3)", True),
        ("crash", "the function ended its own process (SIGSEGV)", True),
        ("close_everything", "the function ended its own process (exit status 1)", True),
        ("leave", "SystemExit: bye", True),
        ("surrogates", "?", False),
        ("prints", "printed", False),
        ("close_stdout", "closed", False),
        ("fork", "parent", False),
        ("fork_and_stay", "parent", False),
        ("ask", "EOFError: EOF when reading a line", True),
    ],
)
def test_whatever_a_function_does_is_one_short_answer(
    process: PythonProcess, function: str, text: str, failed: bool
) -> None:
    started = time.monotonic()
    answer = process.call(function, {}, timeout=60)
    assert answer is not None and (answer.text, answer.failed) == (text, failed)
    assert time.monotonic() - started < 20
    again = [process.call("ok", {}, timeout=60), process.call("prints", {}, timeout=60)]
    assert [one and one.text for one in again] == ["fine", "printed"]


def test_arguments_that_are_no_json_are_an_answer_too(process: PythonProcess) -> None:
    answer = process.call("ok", {"x": object()}, timeout=60)
    assert answer is not None and answer.failed and "not JSON serializable" in answer.text


def test_a_module_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("import time; time.sleep(100)\n")
    with pytest.raises(CatalogError, match="not done within 1 seconds"):
        PythonProcess(str(tmp_path / "slow.py"), start_timeout=1)


def test_a_module_that_can_no_longer_be_imported_is_an_answer(tmp_path: Path) -> None:
    path = tmp_path / "gone.py"
    path.write_text("import os\ndef die(): os._exit(1)\n")
    with closing(PythonProcess(str(path))) as process:
        process.call("die", {}, timeout=60)
        path.unlink()
        answer = process.call("die", {}, timeout=60)
    assert answer is not None and answer.failed and "cannot be called any more: no Python file" in answer.text


def test_a_long_result_is_cut_before_it_is_sent(process: PythonProcess) -> None:
    answer = process.call("long", {}, timeout=60)
    assert answer is not None and len(answer.text) <= MAX_RESULT + 4


@pytest.mark.parametrize("function", ["hang", "hang_in_c", "hang_deaf"])
def test_a_function_that_hangs_is_ended_and_the_next_call_works(process: PythonProcess, function: str) -> None:
    first = process.call("pid", {}, timeout=60)
    assert first is not None and process.call(function, {}, timeout=0.5) is None
    assert not alive(int(first.text))
    second = process.call("pid", {}, timeout=60)
    assert second is not None and second.text != first.text


def test_programs_that_a_function_started_end_with_it(file: Path) -> None:
    with closing(PythonProcess(str(file))) as process:
        started = [process.call(name, {}, timeout=60) for name in ("start", "pid")]
        pids = [int(one.text) for one in started if one]
        assert len(pids) == 2 and all(map(alive, pids))
    until(lambda: not any(map(alive, pids)))
    assert (file.parent / "ended").read_text() == "exit handlers ran"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("busy", ["ok", "hang_in_c", "hang_deaf"])
def test_no_process_outlives_the_one_that_asked(file: Path, how: signal.Signals, busy: str) -> None:
    script = f"""
from toolgen.catalog.python.process import PythonProcess
process = PythonProcess({str(file)!r})
print(process.call("pid", {{}}, 60).text, process.call("start", {{}}, 60).text, flush=True)
process.call({busy!r}, {{}}, 60)
import time; time.sleep(60)
"""
    environment = os.environ | {"PYTHONPATH": str(Path(toolgen.__file__).parent.parent)}
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2 and all(map(alive, pids))
        time.sleep(0.3)
        parent.send_signal(how)
        parent.wait(10)
    until(lambda: not any(map(alive, pids)))
