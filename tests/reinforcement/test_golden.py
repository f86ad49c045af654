"""The golden curve of stage 4: what a tiny run drew, earned and learned before, number by number."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from toolgen.checkpoint import Checkpoint

from .conftest import Runner

GOLDEN = Path(__file__).parents[1] / "golden" / "tiny_reinforcement.json"
KEYS = ("step", "reward", "success", "telling", "drawn", "loss", "divergence", "gradient_norm", "tokens")
TOLERANCE = 1e-4


def test_the_curve_of_a_tiny_run_is_the_golden_one(run: Runner, checkpoint: Checkpoint) -> None:
    """`make golden` writes the file anew; the change should say why."""
    trained = run(checkpoint, concurrency=1, updates=2, kl_weight=0.1, learning_rate=1e-3, row_learning_rate=1e-3)
    records = [{key: record[key] for key in KEYS} for record in trained.metrics]
    if os.environ.get("TOOLGEN_UPDATE_GOLDEN"):
        GOLDEN.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
    for found, expected in zip(records, json.loads(GOLDEN.read_text(encoding="utf-8")), strict=True):
        assert found == pytest.approx(expected, rel=TOLERANCE, abs=1e-5)
