"""Tiny data, and settings under which a tiny model learns it in a second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from toolgen.checkpoint import Checkpoint
from toolgen.datasets import Dataset
from toolgen.testing import tiny_dataset
from toolgen.training import STAGES, StageConfig
from toolgen.training.run import run_stage

Runner = Callable[..., Checkpoint]

TINY: dict[str, Any] = {
    "steps": 6,
    "batch_size": 8,
    "learning_rate": 1e-2,
    "row_learning_rate": 2e-2,
    "precision": "fp32",
    "max_tokens": 320,
    "frozen_share": 0.0,
}


def tiny_config(stage: str, **settings: Any) -> StageConfig:
    return StageConfig(**{**STAGES[stage].defaults, **TINY, **settings})


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    return tiny_dataset()


@pytest.fixture
def run(dataset: Dataset, tmp_path: Path) -> Runner:
    """Runs a stage into `tmp_path / output` and returns the trained checkpoint."""

    def runner(
        stage: str,
        checkpoint: Checkpoint,
        output: str = "out",
        *,
        restart: bool = False,
        on_step: Any = None,
        **settings: Any,
    ) -> Checkpoint:
        config = tiny_config(stage, **settings)
        return run_stage(
            STAGES[stage], checkpoint, dataset, config, tmp_path / output, restart=restart, on_step=on_step
        )

    return runner
