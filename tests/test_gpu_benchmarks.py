"""The scripts for a GPU (`benchmarks/gpu`) start, write as they go and go on where they were stopped.

Their whole paths with a tiny model take minutes each, so they are a rehearsal that is asked for: TOOLGEN_TEST_GPU_SCRIPTS=1.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sentence_transformers")

SCRIPTS = Path(__file__).parents[1] / "benchmarks" / "gpu"
STEPS = {
    "does_it_run": ["tests, devices", "index", "retrieval, fp32", "retrieval, bf16", "quickstart, report"],
    "base": ["pretrain cpu-recipe", "cpu-recipe on bfcl"],
    "comparisons": ["bfcl-base, seed 0"],
    "reinforcement": ["agent", "agent before", "reinforce", "agent after"],
    "speed": ["training", "plain", "compiled", "engine, fp32", "engine, bf16", "rows"],
    "several_processes": ["1 processes", "card-cpu, card", "card-cpu, cpu", "cpu-card, card", "losses", "2 processes"],
}


def run(name: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPTS / f"{name}.py"), "--output", str(folder), *options]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def result(name: str, folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.slow
@pytest.mark.skipif(
    "TOOLGEN_TEST_GPU_SCRIPTS" not in os.environ, reason="minutes each; TOOLGEN_TEST_GPU_SCRIPTS=1 runs them"
)
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", STEPS)
def test_each_script_takes_its_whole_path_with_a_tiny_model(name: str, tmp_path: Path) -> None:
    done = run(name, tmp_path, "--tiny", "--minutes", "14")
    machine, *steps = result(name, tmp_path)
    assert done.returncode == 0, f"{done.stdout}\n{(tmp_path / f'{name}.log').read_text(encoding='utf-8')[-3000:]}"
    assert machine["tiny"] is True and machine["card"] == "none, on a CPU, tiny" and machine["bf16_peak_tflops"] > 0
    assert {one["card"] for one in steps} == {machine["card"]}
    assert {one["ended"] for one in steps} == {"done"} and min(one["peak_gib"] for one in steps) > 0
    assert [one["step"] for one in steps if one["step"] in STEPS[name]] == STEPS[name]


def test_every_script_is_tried() -> None:
    assert {path.stem for path in SCRIPTS.glob("*.py")} == {*STEPS, "card"}


@pytest.mark.slow
def test_when_the_time_is_up_the_result_holds_what_was_measured_and_the_same_command_goes_on(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(SCRIPTS)!r})\n"
        "from card import session\n"
        "with session('script', None) as run:\n"
        "    run.measure('short', lambda: {'figure': 1})\n"
        "    run.command('odd', program=('-c', '1 / 0'), may_fail=True)\n"
        "    run.command('long', program=('-c', 'import time; print(1, flush=True); time.sleep(600)'))\n"
        "    run.measure('never', dict)\n",
        encoding="utf-8",
    )
    (tmp_path / "encoder").mkdir()  # as if a tiny model had been made, which takes long
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, str(tmp_path / "script.py"), "--tiny", "-o", str(tmp_path), "--minutes", "0.4"],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0 and "the time is up" in done.stdout, done.stderr
    ended = [(one["step"], one["ended"]) for one in result("script", tmp_path)]
    again = [("machine", "started"), ("long", "stopped")]
    assert ended == [again[0], ("short", "done"), ("odd", "failed, as it may"), again[1], *again]


@pytest.mark.parametrize("name", STEPS)
def test_without_a_card_there_is_one_line(name: str, tmp_path: Path) -> None:
    done = run(name, tmp_path / "out")
    assert done.returncode == 2 and done.stderr.startswith(f"{name}: PyTorch sees no CUDA card; ")
    assert done.stderr.count("\n") == 1 and not (tmp_path / "out").exists()
