"""`toolgen catalog conversations`: what it adds and what it leaves as it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.conftest import Invoke

from toolgen.datasets import load_dataset
from toolgen.datasets.validate import validate_dataset


def test_conversations_are_added_to_the_training_split_with_results_and_answers(
    toolgen: Invoke, dataset_folder: Path, tmp_path: Path
) -> None:
    before = load_dataset(dataset_folder)
    arguments = ["catalog", "conversations", dataset_folder, "-o", tmp_path / "out", "--count", 60]
    done = toolgen(*arguments, "--json")
    assert done.exit_code == 0, done.output
    answer, after = json.loads(done.stdout), load_dataset(tmp_path / "out")
    made = [task for task in after.tasks["train"] if task.synthetic]
    assert answer["conversations"] == len(made) == sum(answer["kinds"].values()) > 10
    assert not validate_dataset(after).errors and after.queries == before.queries
    assert after.asked_tools == before.asked_tools, "synthetic ones do not count"
    by_id = {one.id: one for one in after.trajectories["train"]}
    assert len(by_id) == len(before.trajectories["train"]) + len(made)
    for task in made:
        statuses = {"none": ["declined"], "missing": ["gave_up", "finished"]}.get(task.category, ["finished"])
        assert [turn.status for turn in by_id[task.id].outcome.turns] == statuses
        assert by_id[task.id].outcome.tool_errors == 0
    assert "more conversations" in toolgen(*arguments).stdout
    assert load_dataset(tmp_path / "out") == after, "the same seed makes the same"


@pytest.mark.weights
@pytest.mark.usefixtures("agentdojo")
def test_walks_in_a_world_have_the_results_that_its_tools_gave(
    toolgen: Invoke, dataset_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "banking"
    assert toolgen("catalog", "build", "agentdojo:banking", "-o", home).exit_code == 0
    walk = ["-o", tmp_path / "out", "--count", 20, "--world", "agentdojo:banking", "--json"]
    done = toolgen("catalog", "conversations", home, *walk)
    assert done.exit_code == 0, done.output
    answer, after = json.loads(done.stdout), load_dataset(tmp_path / "out")
    assert answer["conversations"] == len(after.tasks["train"]) == 20 and "needs result" in answer["kinds"]
    assert {one.outcome.environment for one in after.trajectories["train"]} == {"agentdojo"}
    assert not validate_dataset(after).errors
    elsewhere = toolgen("catalog", "conversations", dataset_folder, *walk)
    assert elsewhere.exit_code == 2 and "toolgen catalog build agentdojo:banking" in " ".join(elsewhere.output.split())
    nothing = toolgen("catalog", "conversations", home, *walk[:-2], "openai:x.json")
    assert nothing.exit_code == 2 and "no world to walk in" in " ".join(nothing.output.split())
