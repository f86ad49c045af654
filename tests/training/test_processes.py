"""Training on several processes: started by torchrun, over gloo, with the command line as it is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from toolgen.checkpoint import Checkpoint
from toolgen.checkpoint.layout import METRICS, STATE, read_metrics, work_folder
from toolgen.datasets import Dataset, save_dataset
from toolgen.testing import tiny_checkpoint

from .conftest import TINY, Runner

pytestmark = [
    pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no torch.distributed"),
    pytest.mark.slow,
]

Start = Callable[..., "subprocess.Popen[str]"]

SHARDED = {"shard_rows": True, "shard_trunk": True}
sharded_or_not = pytest.mark.parametrize("parts", [{}, SHARDED], ids=["whole", "sharded"])


@pytest.fixture
def start(dataset: Dataset, tmp_path: Path) -> Start:
    """Starts `toolgen train STAGE` on a tiny checkpoint with this number of processes; the answer is JSON."""
    save_dataset(dataset, tmp_path / "data")

    def starter(
        stage: str, processes: int, output: str, tied: bool = True, launched: bool = False, **settings: Any
    ) -> subprocess.Popen[str]:
        source = tmp_path / f"tied-{tied}"
        if not source.exists():
            tiny_checkpoint(tied=tied, catalog=dataset.catalog).save(source)
        values = {**TINY, "warmup": 0.2, **settings}
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        command = [*(launcher if launched or processes > 1 else [sys.executable]), "-m", "toolgen", "train", stage]
        command += [str(source), str(tmp_path / "data"), "-o", str(tmp_path / output), "--json"]
        command += [part for key, value in values.items() for part in ("--set", f"{key}={value}")]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=_environment())

    return starter


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "TOOLGEN_NO_HINTS": "1"}


def _finish(run: subprocess.Popen[str], seconds: float = 120) -> tuple[int, str, str]:
    try:
        out, err = run.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        run.terminate()  # torchrun ends its processes
        raise AssertionError(f"the run did not end: {run.communicate(timeout=60)[1][-2000:]}") from None
    return run.returncode, out, err


def _curve(folder: Path) -> list[dict[str, Any]]:
    keys = ("step", "loss", "choice_loss", "text_loss", "gradient_norm", "tokens")
    return [{key: record[key] for key in keys} for record in read_metrics(folder / METRICS)]


def _assert_same_curve(found: Sequence[dict[str, Any]], expected: Sequence[dict[str, Any]]) -> None:
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, rel=2e-4, abs=1e-5)


@pytest.mark.parametrize(
    ("stage", "tied", "frozen"), [("retrieval", True, 0.5), ("agent", False, 0.0), ("memorization", False, 0.5)]
)
def test_two_processes_learn_what_one_does(
    start: Start, run: Runner, tmp_path: Path, stage: str, tied: bool, frozen: float
) -> None:
    settings = {"frozen_share": frozen, "micro_batch_tokens": 64}
    code, out, err = _finish(start(stage, 2, "out-2", tied, **settings))
    assert code == 0, err
    answer = json.loads(out)  # one answer, whatever the number of processes
    run(stage, Checkpoint.load(tmp_path / f"tied-{tied}"), "out-1", warmup=0.2, **settings)
    _assert_same_curve(_curve(tmp_path / "out-2"), _curve(tmp_path / "out-1"))
    weights = [Checkpoint.load(tmp_path / f"out-{processes}").model.state_dict() for processes in (1, 2)]
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=1e-3, atol=1e-4, msg=name)
    assert answer["tokens"] == _curve(tmp_path / "out-1")[-1]["tokens"]


@pytest.mark.parametrize(
    ("stage", "tied", "parts", "processes"),
    [
        ("agent", True, {"shard_rows": True}, 2),
        ("retrieval", False, {"shard_trunk": True}, 2),
        ("memorization", True, SHARDED, 2),
        ("retrieval", True, SHARDED, 1),
    ],
    ids=["rows", "trunk", "both", "a group of one"],
)
def test_processes_that_hold_parts_of_the_model_learn_what_one_does(
    start: Start, run: Runner, tmp_path: Path, stage: str, tied: bool, parts: dict[str, Any], processes: int
) -> None:
    settings = {"frozen_share": 0.5, "micro_batch_tokens": 64}
    code, _, err = _finish(start(stage, processes, "sharded", tied, True, **settings, **parts))
    assert code == 0, err
    run(stage, Checkpoint.load(tmp_path / f"tied-{tied}"), "one", warmup=0.2, **settings)
    _assert_same_curve(_curve(tmp_path / "sharded"), _curve(tmp_path / "one"))
    sharded, one = (Checkpoint.load(tmp_path / output).model.state_dict() for output in ("sharded", "one"))
    assert sharded.keys() == one.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(sharded[name], tensor, rtol=1e-3, atol=1e-4, msg=name)


@sharded_or_not
def test_a_process_that_dies_ends_the_run_and_one_process_goes_on_from_the_last_state(
    start: Start, tmp_path: Path, parts: dict[str, Any]
) -> None:
    settings = {"steps": 60, "save_minutes": 1e-6, "frozen_share": 0.5, **parts}
    run = start("retrieval", 2, "out", **settings)
    state = work_folder(tmp_path / "out") / STATE / "progress.json"
    _wait(lambda: state.exists(), run)
    workers = _children(run.pid)
    assert len(workers) == 2
    os.kill(workers[-1], signal.SIGKILL)
    code, _, err = _finish(run)
    assert code != 0 and not (tmp_path / "out").exists()
    assert "another process of this run has ended" in err or "exitcode  : -9" in err
    assert 0 < json.loads(state.read_text())["step"] < 60
    code, out, err = _finish(start("retrieval", 1, "out", **settings))
    assert code == 0 and json.loads(out)["step"] == 60, err
    assert [record["step"] for record in read_metrics(tmp_path / "out" / METRICS)] == list(range(1, 61))


@sharded_or_not
def test_an_interrupted_run_of_two_processes_goes_on_in_one(
    start: Start, run: Runner, tmp_path: Path, parts: dict[str, Any]
) -> None:
    settings = {"steps": 60, "frozen_share": 0.5, **parts}
    two = start("retrieval", 2, "out", **settings)
    _wait(lambda: len(read_metrics(work_folder(tmp_path / "out") / METRICS)) >= 3, two)
    for worker in _children(two.pid):
        os.kill(worker, signal.SIGINT)
    code, _, err = _finish(two)
    assert code != 0, err
    assert (work_folder(tmp_path / "out") / STATE).exists(), err
    for output in ("out", "whole"):
        run("retrieval", Checkpoint.load(tmp_path / "tied-True"), output, warmup=0.2, **settings)
    _assert_same_curve(_curve(tmp_path / "out"), _curve(tmp_path / "whole"))


def test_sharded_rows_that_are_trained_as_inputs_are_refused(start: Start) -> None:
    code, _, err = _finish(start("retrieval", 2, "out", frozen_share=0.0, shard_rows=True))
    assert code != 0 and "shard_rows needs a frozen layer at the bottom" in err


def test_a_batch_smaller_than_the_number_of_processes_is_refused(start: Start) -> None:
    code, _, err = _finish(start("retrieval", 2, "out", batch_size=1))
    assert code != 0 and "a batch_size of 1 cannot be split among 2 processes" in err


def _wait(condition: Callable[[], bool], run: subprocess.Popen[str], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert run.poll() is None and time.monotonic() < until, (
            run.communicate()[1] if run.poll() is not None else "slow"
        )
        time.sleep(0.02)


def _children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    if not listed.exists():
        pytest.skip("no /proc to find the processes of a run in")
    return [int(child) for child in listed.read_text().split()]
