"""`toolgen calibrate`: searches say how sure they are, and decline at the rate that was asked for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from tests.cli.conftest import Invoke

from toolgen.checkpoint import Checkpoint
from toolgen.datasets import Query, load_dataset, save_dataset
from toolgen.testing import tiny_checkpoint


def test_a_calibrated_checkpoint_says_how_sure_it_is_and_declines(
    toolgen: Invoke, dataset_folder: Path, tmp_path: Path
) -> None:
    data, folder = load_dataset(dataset_folder), tmp_path / "ckpt"
    asked = data.searches("test") or data.searches("train")
    none = tuple(Query(id=f"none {i}", text=f"qwertz {i}", tools=()) for i in range(3))
    save_dataset(replace(data, queries={**data.queries, "dev": (*asked, *none)}), tmp_path / "data")
    tiny_checkpoint().save(folder)
    weights = (folder / "model.safetensors").read_bytes()
    text = asked[0].text
    refused = toolgen("search", folder, text, "--decline-rate", "0.1")
    assert refused.exit_code == 2 and "is not calibrated for generative" in " ".join(refused.stderr.split())
    assert "confidence" not in json.loads(toolgen("search", folder, text, "--json").stdout)

    told = json.loads(toolgen("calibrate", folder, tmp_path / "data", "--json").stdout)
    assert (told["requests"], told["answerable"], told["retriever"]) == (len(asked) + 3, len(asked), "generative")
    assert (folder / "model.safetensors").read_bytes() == weights
    found = json.loads(toolgen("search", folder, text, "--json").stdout)
    assert 0 < found["confidence"] < 1 and "declined" not in found
    every, never = (
        json.loads(toolgen("search", folder, text, "--json", "--decline-rate", rate).stdout) for rate in ("1", "0")
    )
    assert never["declined"] is False and every["confidence"] == never["confidence"] == found["confidence"]
    assert f"confidence {found['confidence']:.2f}" in toolgen("search", folder, text).stdout

    result = toolgen("evaluate", "retrieval", folder, tmp_path / "data", "--split", "dev", "--decline-rate", "1")
    assert "declining, by confidence: area under the ROC curve" in " ".join(result.stdout.split())
    loaded = Checkpoint.load(folder)
    assert {*loaded.calibrations} == {"generative"}
    loaded.save(tmp_path / "again")
    assert Checkpoint.load(tmp_path / "again").calibrations == loaded.calibrations


def test_a_dataset_cannot_be_calibrated(toolgen: Invoke, dataset_folder: Path) -> None:
    result = toolgen("calibrate", dataset_folder, dataset_folder)
    assert result.exit_code == 2 and "a calibration needs a checkpoint" in " ".join(result.stderr.split())
