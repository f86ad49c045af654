"""`toolgen train average`: a checkpoint like any other, and what it does not replace."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Invoke

from toolgen.testing import tiny_checkpoint


def test_the_command_writes_one_that_training_goes_on_from(
    toolgen: Invoke, dataset_folder: Path, tmp_path: Path
) -> None:
    for seed in (0, 1):
        tiny_checkpoint(seed=seed).save(tmp_path / str(seed))
    given = ("train", "average", tmp_path / "0", tmp_path / "1", "-o", tmp_path / "mean")
    done = toolgen(*given, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {
        "checkpoint": str(tmp_path / "mean"),
        "mean_of": [str(tmp_path / "0"), str(tmp_path / "1")],
    }
    again = toolgen(*given)
    assert again.exit_code == 2 and "--overwrite" in again.stderr
    further = toolgen(
        "train", "retrieval", tmp_path / "mean", dataset_folder, "-o", tmp_path / "on", "--set", "steps=1"
    )
    assert further.exit_code == 0 and "average of 2" in further.stderr, further.output
