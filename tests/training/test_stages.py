"""A stage is one value: what is defined in it alone can be run."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from toolgen.datasets import Dataset
from toolgen.errors import UsageError
from toolgen.testing import tiny_checkpoint
from toolgen.training import STAGES, Stage, StageConfig
from toolgen.training.collate import MicroBatch
from toolgen.training.model import Losses, TrainableModel
from toolgen.training.run import run_stage
from toolgen.training.sources import requests
from toolgen.training.stages import RETRIEVAL

from .conftest import TINY, tiny_config


def doubled(model: TrainableModel, batch: MicroBatch, /) -> Losses:
    found = model.cross_entropy(batch)
    return Losses(choice=2 * found.choice, text=2 * found.text, replayed=2 * found.replayed)


def test_a_stage_with_a_loss_of_its_own_is_one_value(dataset: Dataset, tmp_path: Path) -> None:
    mine = Stage(
        name="mine",
        help="Mine.",
        follow_up="",
        sources={"asked": requests},
        defaults={"shares": {"asked": 1.0}},
        loss=doubled,
    )
    config = StageConfig(**{**mine.defaults, **TINY, "steps": 1})
    trained = run_stage(mine, tiny_checkpoint(), dataset, config, tmp_path / "out")
    plain = run_stage(replace(mine, loss=RETRIEVAL.loss), tiny_checkpoint(), dataset, config, tmp_path / "plain")
    assert (trained.stages[-1].stage, trained.metrics[-1]["stage"]) == ("mine", "mine")
    assert trained.metrics[0]["loss"] == pytest.approx(2 * plain.metrics[0]["loss"])


def test_a_source_that_the_stage_does_not_have_is_named(dataset: Dataset) -> None:
    config = tiny_config("retrieval", shares={"trajectories": 1.0})
    with pytest.raises(UsageError, match="the retrieval stage has no source 'trajectories'; it has requests"):
        RETRIEVAL.examples(tiny_checkpoint(), dataset, config)


def test_what_follows_a_stage_is_a_command_with_its_output_and_dataset() -> None:
    for stage in STAGES.values():
        command = stage.follow_up.format(output="OUT", dataset="DATA")
        assert command.startswith("toolgen ") and "OUT" in command and "DATA" in command


def test_stages_are_listed_without_torch() -> None:
    code = "import sys, toolgen.training, toolgen.cli.train; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
