"""Stage 4 on two processes: started by torchrun, over gloo, with the command line as it is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from toolgen.checkpoint import Checkpoint
from toolgen.datasets import Dataset, save_dataset
from toolgen.testing import tiny_checkpoint

from .conftest import TINY, Runner

pytestmark = [
    pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no torch.distributed"),
    pytest.mark.slow,
]
# With three tasks a step the processes have parts of different sizes; one often has nothing to learn from.
SETTINGS = {**TINY, "steps": 3, "concurrency": 1, "learning_rate": 1e-3, "row_learning_rate": 1e-3, "kl_weight": 0.1}


def test_two_processes_learn_what_one_does(dataset: Dataset, run: Runner, tmp_path: Path) -> None:
    save_dataset(dataset, tmp_path / "data")
    tiny_checkpoint(catalog=dataset.catalog).save(tmp_path / "start")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "toolgen"]
    command = [*launcher, "train", "reinforce", str(tmp_path / "start"), str(tmp_path / "data")]
    command += ["-o", str(tmp_path / "two")]
    command += [part for key, value in SETTINGS.items() for part in ("--set", f"{key}={value}")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOOLGEN_NO_HINTS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    one = run(Checkpoint.load(tmp_path / "start"), "one", **SETTINGS)
    two = Checkpoint.load(tmp_path / "two")
    for found, expected in zip(two.metrics, one.metrics, strict=True):
        for key in ("reward", "success", "telling", "drawn", "loss", "divergence", "gradient_norm", "tokens"):
            assert found[key] == pytest.approx(expected[key], rel=1e-3, abs=1e-4), (key, found, expected)
    for name, value in one.model.state_dict().items():
        torch.testing.assert_close(two.model.state_dict()[name], value, rtol=1e-3, atol=1e-3, msg=name)
