"""`toolgen catalog rewrite`: what is written, what is said, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Invoke

from toolgen.datasets import load_dataset
from toolgen.testing import tiny_checkpoint


def test_short_requests_are_measured_beside_the_full_ones(
    toolgen: Invoke, dataset_folder: Path, tmp_path: Path
) -> None:
    result = toolgen("catalog", "rewrite", dataset_folder, "-o", tmp_path / "short", "--how", "keyword", "--json")
    assert result.exit_code == 0, result.output
    answer, made = json.loads(result.stdout), load_dataset(tmp_path / "short").queries["test"]
    assert answer["requests"] == len(made) and answer["by"] == {"rules": len(made)}
    assert all(len(query.text.split()) == 1 for query in made)
    shown = toolgen("catalog", "rewrite", dataset_folder, "-o", tmp_path / "short", "--how", "short")
    assert f"{len(made)} short requests for test" in " ".join(shown.stdout.split())


def test_a_local_model_makes_them_vague_and_leaves_no_work_file(
    toolgen: Invoke, dataset_folder: Path, tmp_path: Path
) -> None:
    tiny_checkpoint().save(tmp_path / "model")
    options = ("--how", "vague", "--base", tmp_path / "model", "--split", "dev", "--json")
    result = toolgen("catalog", "rewrite", dataset_folder, "-o", tmp_path / "vague", *options)
    assert result.exit_code == 0, result.output
    made = load_dataset(tmp_path / "vague").queries["dev"]
    assert sum(json.loads(result.stdout)["by"].values()) == len(made) > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "vague"]


def test_what_cannot_be_done_is_one_line_and_writes_nothing(
    toolgen: Invoke, dataset_folder: Path, tmp_path: Path
) -> None:
    given = ("catalog", "rewrite", dataset_folder, "-o", tmp_path / "out")
    for options, code, reason in (
        (("--how", "short", "--split", "tests"), 2, "'tests' is not one of"),
        (("--how", "long"), 2, "'long' is not one of"),
        (("--how", "vague", "--model", "m"), 2, "an endpoint needs --endpoint URL and --model NAME together"),
    ):
        result = toolgen(*given, *options)
        assert (result.exit_code, reason in " ".join(result.output.split())) == (code, True), result.output
    assert not list(tmp_path.iterdir())
