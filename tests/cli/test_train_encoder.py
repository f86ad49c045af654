"""`toolgen train encoder`: a folder that `--retriever toolretriever` takes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.conftest import Invoke

from toolgen.testing import tiny_encoder


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("sentence_transformers")
    return tiny_encoder(tmp_path_factory.mktemp("base"))


def test_an_encoder_is_trained_used_and_not_overwritten(
    toolgen: Invoke, base: Path, dataset_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOOLGEN_CACHE", str(tmp_path / "cache"))
    train = ("train", "encoder", dataset_folder, "-o", tmp_path / "out", "--base", base, "--epochs", 1)
    done = toolgen(*train, "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["steps"] > 0 and (tmp_path / "out" / "toolgen-encoder.json").is_file()
    for changed, name in (((), ""), (("--sets",), " (sets)"), (("--add", "bm25"), "+bm25")):
        options = ("--retriever", "toolretriever", *changed, "--encoder", tmp_path / "out", "--split", "dev", "--json")
        result = toolgen("evaluate", "retrieval", dataset_folder, dataset_folder, *options)
        assert result.exit_code == 0, result.stderr
        assert json.loads(result.stdout)["retriever"] == f"toolretriever{name}"
    again = toolgen(*train)
    assert again.exit_code == 2 and "(encoder); give another output folder, or --overwrite" in " ".join(
        again.stderr.split()
    )
    assert toolgen(*train, "--overwrite").exit_code == 0


def test_it_does_not_take_the_place_of_anything_else(toolgen: Invoke, dataset_folder: Path, base: Path) -> None:
    result = toolgen("train", "encoder", dataset_folder, "-o", dataset_folder, "--base", base)
    assert result.exit_code == 2 and "would destroy the input" in " ".join(result.stderr.split())
    assert (dataset_folder / "dataset.json").is_file()
