"""Stage 4 on two processes: started by torchrun, over gloo, with the command line as it is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from toolgen.checkpoint import Checkpoint
from toolgen.datasets import Dataset, save_dataset
from toolgen.reinforcement import PreferenceConfig
from toolgen.reinforcement.config import PREFERENCE_DEFAULTS
from toolgen.reinforcement.preference import learn_preferences
from toolgen.testing import tiny_checkpoint

from .conftest import TINY, TINY_PAIRS, Runner

pytestmark = [
    pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no torch.distributed"),
    pytest.mark.slow,
]
# With three tasks a step the processes have parts of different sizes; one often has nothing to learn from.
SETTINGS = {**TINY, "steps": 3, "concurrency": 1, "learning_rate": 1e-3, "row_learning_rate": 1e-3, "kl_weight": 0.1}


def on_two_processes(command: str, dataset: Dataset, folder: Path, settings: dict[str, Any]) -> Checkpoint:
    """The checkpoint that `toolgen train COMMAND` makes of `folder / start`."""
    save_dataset(dataset, folder / "data")
    tiny_checkpoint(catalog=dataset.catalog).save(folder / "start")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "toolgen"]
    words = [*launcher, "train", command, str(folder / "start"), str(folder / "data"), "-o", str(folder / "two")]
    words += [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOOLGEN_NO_HINTS": "1"}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return Checkpoint.load(folder / "two")


def assert_alike(two: Checkpoint, one: Checkpoint, keys: Sequence[str]) -> None:
    for found, expected in zip(two.metrics, one.metrics, strict=True):
        for key in (*keys, "loss", "gradient_norm", "tokens"):
            assert found[key] == pytest.approx(expected[key], rel=1e-3, abs=1e-4), (key, found, expected)
    for name, value in one.model.state_dict().items():
        torch.testing.assert_close(two.model.state_dict()[name], value, rtol=1e-3, atol=1e-3, msg=name)


def test_two_processes_learn_what_one_does(dataset: Dataset, run: Runner, tmp_path: Path) -> None:
    two = on_two_processes("reinforce", dataset, tmp_path, SETTINGS)
    one = run(Checkpoint.load(tmp_path / "start"), "one", **SETTINGS)
    assert_alike(two, one, ("reward", "success", "telling", "drawn", "divergence"))


def test_two_processes_learn_from_pairs_what_one_does(paired: Dataset, tmp_path: Path) -> None:
    settings = {**TINY_PAIRS, "steps": 3, "batch_size": 3, "learning_rate": 1e-3, "row_learning_rate": 1e-3}
    two = on_two_processes("preference", paired, tmp_path, settings)
    config = PreferenceConfig(**{**PREFERENCE_DEFAULTS, **settings})
    one = learn_preferences(Checkpoint.load(tmp_path / "start"), paired, config, tmp_path / "one")
    assert_alike(two, one, ("accuracy", "chosen", "rejected"))
