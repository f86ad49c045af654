"""`toolgen virtualize`: what it writes, what it says, and what it will not overwrite."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock
from typer.testing import Result

from toolgen.checkpoint import Checkpoint
from toolgen.virtualization import INDEXINGS

Invoke = Callable[..., Result]


def test_a_catalog_becomes_a_checkpoint_and_the_next_command_is_said(
    toolgen: Invoke, base_folder: Path, dataset_folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "new" / "ckpt"
    result = toolgen("virtualize", dataset_folder, "--base", base_folder, "-o", output)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"wrote {output}: 13 tools of ")
    assert f"next: toolgen train memorization {output} {dataset_folder} -o CKPT" in result.stderr
    checkpoint = Checkpoint.load(output)
    assert (len(checkpoint.vocabulary), checkpoint.base) == (13, str(base_folder))
    assert [path.name for path in output.parent.iterdir()] == ["ckpt"], "nothing else is left behind"


def test_json_tells_programs_the_same(toolgen: Invoke, base_folder: Path, dataset_folder: Path, tmp_path: Path) -> None:
    arguments = ("virtualize", dataset_folder, "--base", base_folder, "-o", tmp_path / "ckpt", "--init", "random")
    answer = json.loads(toolgen(*arguments, "--json").stdout)
    assert (answer["tools"], answer["indexing"]) == (13, "atomic")
    assert answer["rows"] == answer["first_token_id"] + 2 + 13
    assert answer["bytes"] > answer["parameters"]


def test_a_checkpoint_is_replaced_only_on_request_and_anything_else_never(
    toolgen: Invoke, base_folder: Path, dataset_folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "ckpt"
    arguments = ("virtualize", dataset_folder, "--base", base_folder, "-o", output)
    assert toolgen(*arguments).exit_code == 0
    refused = toolgen(*arguments)
    assert refused.exit_code == 2 and "--overwrite" in refused.stderr
    assert toolgen(*arguments, "--overwrite").exit_code == 0

    other = tmp_path / "other"
    other.mkdir()
    (other / "letter.txt").write_text("dear diary")
    for taken in (other, other / "letter.txt"):
        refused = toolgen("virtualize", dataset_folder, "--base", base_folder, "-o", taken, "--overwrite")
        assert refused.exit_code == 2, refused.output
    assert (other / "letter.txt").read_text() == "dear diary"


def test_two_processes_do_not_write_the_same_checkpoint(
    toolgen: Invoke, base_folder: Path, dataset_folder: Path, tmp_path: Path
) -> None:
    with FileLock(tmp_path / ".ckpt.lock"):
        result = toolgen("virtualize", dataset_folder, "--base", base_folder, "-o", tmp_path / "ckpt")
    assert result.exit_code == 1
    assert "another process is writing" in result.stderr


def test_an_unknown_base_is_one_clear_line(toolgen: Invoke, dataset_folder: Path, tmp_path: Path) -> None:
    result = toolgen("virtualize", dataset_folder, "--base", "no-such", "-o", tmp_path / "ckpt")
    assert result.exit_code == 2
    assert "no base 'no-such'" in " ".join(result.stderr.split())


@pytest.mark.parametrize("indexing", INDEXINGS)
def test_every_indexing_goes_from_a_dataset_to_a_ranking(
    indexing: str, toolgen: Invoke, base_folder: Path, dataset_folder: Path, tmp_path: Path
) -> None:
    folders = [tmp_path / str(number) for number in range(3)]
    made = toolgen(
        *("virtualize", dataset_folder, "--base", base_folder, "--indexing", indexing, "-o", folders[0], "--json")
    )
    assert made.exit_code == 0, made.output
    answer = json.loads(made.stdout)
    assert answer["rows"] == answer["first_token_id"] + 2 + answer["new_tokens"]
    assert (answer["tokens_per_tool"] == 1) == (indexing == "atomic")
    for stage, before, after in (("memorization", *folders[:2]), ("retrieval", *folders[1:])):
        trained = toolgen(
            *("train", stage, before, dataset_folder, "-o", after, "--set", "steps=2", "--set", "batch_size=8")
        )
        assert trained.exit_code == 0, trained.output
    found = toolgen("search", folders[2], "a taxi", "-k", "3", "--json")
    assert found.exit_code == 0, found.output
    assert len(json.loads(found.stdout)["tools"]) == 3
    beam = () if indexing == "atomic" else ("--beam", "3")
    result = tmp_path / "result.json"
    measured = toolgen("evaluate", "retrieval", folders[2], dataset_folder, "--limit", "3", "-o", result, *beam)
    assert measured.exit_code == 0, measured.output
    assert json.loads(result.read_text())["provenance"]["config"]["retriever"]["indexing"] == indexing
    unconstrained = toolgen("search", folders[2], "a taxi", "--retriever", "generative-unconstrained")
    assert unconstrained.exit_code == (0 if indexing == "atomic" else 2), unconstrained.output
