"""`toolgen sample`: what it writes, says and refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from typer.testing import Result

from toolgen.datasets import load_dataset
from toolgen.testing import tiny_checkpoint

Invoke = Callable[..., Result]


def test_it_writes_a_dataset_of_what_the_agent_did(toolgen: Invoke, dataset_folder: Path, tmp_path: Path) -> None:
    tiny_checkpoint().save(tmp_path / "agent")
    output = tmp_path / "runs"
    result = toolgen("sample", tmp_path / "agent", dataset_folder, "-o", output, "--runs", 2, "--limit", 2, "--json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert (answer["dataset"], answer["tasks"], answer["runs"]) == (str(output), 2, 4)
    written = load_dataset(output)
    assert answer["conversations"] == len(written.trajectories["train"])
    assert answer["preferences"] == len(written.preferences["train"])
    assert not output.with_name("runs.unfinished").exists()


def test_the_dataset_itself_is_no_place_for_the_runs(toolgen: Invoke, dataset_folder: Path, tmp_path: Path) -> None:
    result = toolgen("sample", tmp_path / "agent", dataset_folder, "-o", dataset_folder)
    assert result.exit_code == 2 and "Traceback" not in result.output


def test_an_unknown_kind_is_refused_in_a_line(toolgen: Invoke, dataset_folder: Path, tmp_path: Path) -> None:
    result = toolgen("sample", tmp_path / "agent", dataset_folder, "-o", tmp_path / "runs", "--kind", "single")
    assert result.exit_code == 2 and "unknown kind of task 'single'" in result.output
