"""`toolgen catalog queries`: what is written, what is said, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from toolgen.datasets import Synthetic, load_dataset
from toolgen.inference.local_model import LocalModel
from toolgen.llm import ChatMessage
from toolgen.testing import tiny_checkpoint, tiny_dataset, tiny_encoder

Invoke = Callable[..., Result]


def test_rules_write_requests_into_the_training_split(toolgen: Invoke, dataset_folder: Path, tmp_path: Path) -> None:
    result = toolgen("catalog", "queries", dataset_folder, "-o", tmp_path / "asked", "--per-tool", 3, "--json")
    assert result.exit_code == 0, result.output
    answer, before, after = json.loads(result.stdout), tiny_dataset(), load_dataset(tmp_path / "asked")
    added = after.queries["train"][len(before.queries["train"]) :]
    assert 0 < len(added) == answer["kept"] <= 3 * len(before.catalog)
    assert sum(answer["dropped"].values()) + answer["kept"] == answer["drafts"]
    assert after.catalog == before.catalog and after.queries["test"] == before.queries["test"]
    assert all(isinstance(query.origin, Synthetic) and query.origin.by == "rules" for query in added)


def test_another_retriever_decides_what_is_found(
    toolgen: Invoke, dataset_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sentence_transformers")
    monkeypatch.setenv("TOOLGEN_CACHE", str(tmp_path / "cache"))
    encoder = tiny_encoder(tmp_path / "encoder")
    dropped = {}
    for found_by in ("bm25", "bm25+toolretriever", "toolretriever"):
        finders = [part for name in found_by.split("+") for part in ("--found-by", name)]
        trained = ("--encoder", encoder) if "toolretriever" in found_by else ()
        options = (*finders, *trained, "--within", 1, "--json")
        result = toolgen("catalog", "queries", dataset_folder, "-o", tmp_path / found_by, *options)
        assert result.exit_code == 0, result.output
        dropped[found_by] = json.loads(result.stdout)["dropped"].get("the tool is not found with it", 0)
    # What is written by rules holds the documentation's words; an encoder that was never trained knows nothing of them.
    assert dropped["bm25"] < dropped["bm25+toolretriever"] <= dropped["toolretriever"], dropped


def test_a_local_model_writes_them_too_and_leaves_no_work_file(
    toolgen: Invoke, dataset_folder: Path, tmp_path: Path
) -> None:
    tiny_checkpoint().save(tmp_path / "model")
    options = ("--by", "llm", "--base", tmp_path / "model", "--per-tool", 1, "--json")
    result = toolgen("catalog", "queries", dataset_folder, "-o", tmp_path / "asked", *options)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["tools"] == len(tiny_dataset().catalog)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["asked", "model"]


def test_a_trained_writer_is_asked_as_it_was_trained(
    toolgen: Invoke, dataset_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_checkpoint().save(tmp_path / "model")
    trained = toolgen(
        "train", "writer", tmp_path / "model", dataset_folder, "-o", tmp_path / "writer", "--set", "steps=2"
    )
    assert trained.exit_code == 0, trained.output
    assert "catalog queries" in trained.stderr  # what comes next
    asked: list[Sequence[ChatMessage]] = []

    def write(self: LocalModel, prompts: Sequence[Sequence[ChatMessage]], **_options: Any) -> list[str]:
        asked.extend(prompts)
        return [f"please do number {number} for me" for number in range(len(prompts))]

    monkeypatch.setattr(LocalModel, "write", write)
    options = ("--by", "llm", "--base", tmp_path / "writer", "--per-tool", 1, "--within", 1000, "--json")
    result = toolgen("catalog", "queries", dataset_folder, "-o", tmp_path / "asked", *options)
    assert result.exit_code == 0, result.output
    assert {prompt[0]["role"] for prompt in asked} == {"documentation"} and {len(prompt) for prompt in asked} == {1}
    assert json.loads(result.stdout)["styles"].keys() == {"trained"}


def test_what_cannot_be_done_is_one_line_and_writes_nothing(
    toolgen: Invoke, dataset_folder: Path, tmp_path: Path
) -> None:
    given = ("catalog", "queries", dataset_folder, "-o", tmp_path / "asked")
    for options, code, reason in (
        (("--split", "tests"), 2, "'tests' is not one of"),
        (("--by", "llm", "--model", "m"), 2, "an endpoint needs --endpoint URL and --model NAME together"),
        (("--by", "llm", "--base", "smollm9"), 2, "no base 'smollm9'"),
        (("--found-by", "generative"), 2, "--found-by generative: choose from bm25, dense,"),
        (("--found-by", "toolretriever"), 2, "toolretriever needs --encoder ENCODER"),
    ):
        result = toolgen(*given, *options)
        assert (result.exit_code, reason in result.output) == (code, True), result.output
    assert not list(tmp_path.iterdir())
