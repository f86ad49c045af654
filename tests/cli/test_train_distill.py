"""`toolgen train distill`: a checkpoint like any other, with another history; and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Invoke

from toolgen.catalog import Catalog
from toolgen.checkpoint import Checkpoint
from toolgen.testing import tiny_catalog, tiny_checkpoint
from toolgen.training.distillation import PENALTY, STRENGTH


def test_the_command_writes_one_that_training_goes_on_from(
    toolgen: Invoke, dataset_folder: Path, tmp_path: Path
) -> None:
    tiny_checkpoint().save(tmp_path / "one")
    given = ("train", "distill", tmp_path / "one", dataset_folder, "-o", tmp_path / "two", "--teacher", "bm25")
    done = toolgen(*given, "--strength", "0.5", "--json")
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert answer["checkpoint"] == str(tmp_path / "two")
    assert (answer["strength"], answer["penalty"]) == (0.5, PENALTY)
    assert answer["texts"] > 0 and 0 < answer["explained"] <= 1
    assert answer["teacher"]["members"][0]["name"] == "bm25"
    again = toolgen(*given)
    assert again.exit_code == 2 and "--overwrite" in again.stderr
    plain = toolgen(*given, "--overwrite")
    assert plain.exit_code == 0 and "bm25 distilled over" in plain.output, plain.output
    assert Checkpoint.load(tmp_path / "two").stages[-1].config["strength"] == STRENGTH
    further = toolgen("train", "retrieval", tmp_path / "two", dataset_folder, "-o", tmp_path / "on", "--set", "steps=1")
    assert further.exit_code == 0 and "distillation (" in further.stderr, further.output


def test_a_teacher_that_cannot_be_made_leaves_nothing(toolgen: Invoke, dataset_folder: Path, tmp_path: Path) -> None:
    tiny_checkpoint().save(tmp_path / "one")
    given = ("train", "distill", tmp_path / "one", dataset_folder, "-o", tmp_path / "two")
    for options, reason in (
        ((), "toolretriever needs --encoder"),
        (("--teacher", "re-invoke"), "the scores of 're-invoke' are no logits"),
    ):
        result = toolgen(*given, *options)
        assert result.exit_code == 2 and reason in " ".join(result.stderr.split()), result.output
    tiny_checkpoint(catalog=Catalog(tiny_catalog()[:5])).save(tmp_path / "few")
    other = toolgen("train", "distill", tmp_path / "few", dataset_folder, "-o", tmp_path / "two", "--teacher", "bm25")
    assert other.exit_code == 2 and "the dataset's catalog is not the checkpoint's" in " ".join(other.stderr.split())
    assert not (tmp_path / "two").exists()
