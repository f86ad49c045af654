"""Golden curves: what tiny runs of each stage computed before, number by number, so that no change alters training unseen."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from toolgen.testing import tiny_checkpoint

from .conftest import Runner

GOLDEN = Path(__file__).parents[1] / "golden" / "tiny_training.json"
SHARES: Mapping[str, Mapping[str, float]] = {
    "memorization": {"document": 0.5, "name": 0.25, "recall": 0.25},
    "retrieval": {"requests": 0.9, "abstentions": 0.1},
    "agent": {"trajectories": 0.7, "requests": 0.3},
}
KEYS = ("stage", "step", "loss", "choice_loss", "text_loss", "gradient_norm", "learning_rate", "tokens")
# Two processors (AVX-512 and AVX2) differed by 1e-7 in losses and by 5e-7 in norms.
TOLERANCE = 1e-5


def test_the_curves_of_tiny_runs_are_the_golden_ones(run: Runner) -> None:
    """`make golden` writes the file anew; the change should say why."""
    records = []
    for frozen in (0.0, 0.5):
        checkpoint = tiny_checkpoint()
        for stage, shares in SHARES.items():
            checkpoint = run(stage, checkpoint, f"{stage}-{frozen}", steps=4, shares=shares, frozen_share=frozen)
        records += [{"frozen_share": frozen, **{key: one[key] for key in KEYS}} for one in checkpoint.metrics]
    if os.environ.get("TOOLGEN_UPDATE_GOLDEN"):
        content = json.dumps({"made_with": surroundings(), "records": records}, indent=1)
        GOLDEN.write_text(content + "\n", encoding="utf-8")
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    for found, expected in zip(records, golden["records"], strict=True):
        for key, value in expected.items():
            assert found[key] == near(value), f"{found} is not {expected}; {golden['made_with']}, here {surroundings()}"


def near(value: Any) -> Any:
    return pytest.approx(value, rel=TOLERANCE, abs=1e-6) if isinstance(value, float) else value


def surroundings() -> dict[str, str]:
    from importlib.metadata import version

    packages = ("torch", "transformers", "tokenizers", "accelerate")
    return {
        **{name: version(name) for name in packages},
        "machine": platform.machine(),
        "python": platform.python_version(),
    }
