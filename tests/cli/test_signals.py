"""Ctrl-C and SIGTERM at any moment: one line, and the exit code that shells know them by."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from toolgen.testing import tiny_checkpoint

CODE = """
import sys
from toolgen.cli.start import main, listen
listen()
print("ready", flush=True)
sys.argv = ["toolgen", *sys.argv[1:]]
main()
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("signals") / "ckpt"
    tiny_checkpoint().save(folder)
    return folder


def stopped(command: list[str], number: int, seconds: float) -> tuple[int, str]:
    """Exit code and stderr of a command that gets a signal so long after its start."""
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    time.sleep(seconds)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    return process.returncode, err


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.1, 0.2, 0.35, 0.7, 1.2, 2.0])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_at_any_moment_is_one_line(checkpoint: Path, number: int, code: int, seconds: float) -> None:
    found, err = stopped(["search", str(checkpoint), "weather"], number, seconds)
    assert found in (code, 0), err  # 0: it had answered before
    if found:
        assert err.count("\n") == 1 and ("interrupted" in err or "ended" in err), err


IMPORTS = """
import os, signal, sys
from toolgen.cli import signals
signals.listen()
signals.raise_from_now_on()
signals.IMPORT_SECONDS = float(sys.argv[1])
try:
    import slow, time
    time.sleep(5)
except KeyboardInterrupt:
    print("slow" in sys.modules)
"""


@pytest.mark.parametrize(("seconds", "whole"), [(60, True), (0.2, False)])
def test_an_import_is_not_broken_off_unless_it_takes_too_long(tmp_path: Path, seconds: float, whole: bool) -> None:
    text = "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\nfor _ in range(100): time.sleep(0.01)\n"
    (tmp_path / "slow.py").write_text(text, encoding="utf-8")
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{IMPORTS}", str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr, done.returncode) == (f"{whole}\n", "", 0)


LATE = """
import os, signal, sys
from toolgen.cli.start import main

class Library:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGABRT)

library = Library()
sys.argv = ["toolgen", *sys.argv[1:]]
main()
"""


@pytest.mark.parametrize(("option", "code"), [("--version", 0), ("--nothing", 2)])
def test_a_library_that_aborts_after_the_last_line_does_not_make_the_command_fail(option: str, code: int) -> None:
    done = subprocess.run([sys.executable, "-c", LATE, option], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, done.stderr
    assert done.stdout.startswith("toolgen ") if code == 0 else "--nothing" in done.stderr
