"""Samples: right runs become conversations, runs that part become pairs, and an interrupted sampling goes on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from toolgen.checkpoint import Checkpoint
from toolgen.datasets import Dataset, Outcome, Trajectory, TurnOutcome, load_dataset, save_dataset
from toolgen.datasets.messages import call_message, result_message, user_message
from toolgen.datasets.trajectory import Message
from toolgen.datasets.validate import validate_dataset
from toolgen.errors import CheckpointError, DatasetError, UsageError
from toolgen.evaluation.scorers import scorer_for
from toolgen.reinforcement import SampleConfig
from toolgen.reinforcement.samples import RUNS, Group, Run, conversations, preferences, sample_tasks
from toolgen.testing import tiny_checkpoint
from toolgen.training import resolve_config
from toolgen.training.sources import trajectories
from toolgen.training.stages import AGENT

SMALL = {"runs": 16, "task_steps": 2, "task_tokens": 24, "argument_tokens": 8, "concurrency": 8}


def run_of(number: int, right: bool, *calls: tuple[str, dict[str, Any]], status: str = "finished") -> Run:
    messages: list[Message] = [user_message("Do it")]
    for place, (tool, arguments) in enumerate(calls):
        messages += [call_message(tool, arguments, f"call_{place}"), result_message(f"call_{place}", "ok")]
    if status == "finished":
        messages.append(call_message("finish", {"answer": "Done."}, "end"))
    outcome = Outcome(turns=(TurnOutcome(status=status),), calls=len(calls))  # type: ignore[arg-type]
    return Run(trajectory=Trajectory(id=str(number), query="t", messages=tuple(messages), outcome=outcome), right=right)


def group(*runs: Run) -> Group:
    return Group(task="t", tools=("a", "b"), runs=runs)


A, A2 = ("a", {"x": 1}), ("a", {"x": 2})
B: tuple[str, dict[str, Any]] = ("b", {})


def test_conversations_are_the_different_right_runs_the_shortest_first() -> None:
    found = conversations(group(run_of(1, True, A, B), run_of(2, False, B), run_of(3, True, A), run_of(4, True, A)), 9)
    assert [one.id for one in found] == ["3", "1"]
    assert [one.id for one in conversations(group(run_of(1, True, A, B), run_of(3, True, A)), 1)] == ["3"]


def test_a_wrong_run_is_paired_with_the_right_one_that_it_follows_longest() -> None:
    right, detour = run_of(1, True, A, B), run_of(2, True, B, A)
    (pair,) = preferences(group(detour, right, run_of(3, False, A, A2)), 4)
    assert (pair.id, pair.query, pair.tools) == ("3, not as 1", "t", ("a", "b"))
    assert [message["role"] for message in pair.prompt] == ["user", "assistant", "tool"]
    assert pair.chosen == right.trajectory.messages[3:] and pair.rejected[0]["tool_calls"][0]["function"]["name"] == "a"


def test_stopping_too_late_is_what_parts_two_runs() -> None:
    (pair,) = preferences(group(run_of(1, True, A), run_of(2, False, A, A)), 4)
    assert [message["tool_calls"][0]["function"]["name"] for message in (pair.chosen[0], pair.rejected[0])] == [
        "finish",
        "a",
    ]


def test_the_pairs_that_begin_alike_longest_are_kept() -> None:
    runs = [run_of(1, True, A, B), run_of(2, False, B), run_of(3, False, A, A2), run_of(4, False, A2)]
    assert [pair.id[0] for pair in preferences(group(*runs), 2)] == ["3", "2"]


@pytest.mark.parametrize(
    "runs",
    [
        [run_of(1, True, A), run_of(2, True, A, B)],
        [run_of(1, False, A), run_of(2, False, B)],
        [run_of(1, True, A, B), run_of(2, False, A, status="token_limit")],  # nothing was said where they part
    ],
    ids=["all right", "all wrong", "broken off"],
)
def test_runs_that_say_nothing_of_each_other_are_no_pair(runs: Sequence[Run]) -> None:
    assert preferences(group(*runs), 4) == []


def test_where_no_run_is_right_the_wrong_ones_are_compared_with_the_given_conversation() -> None:
    shown, wrong = run_of(9, True, A).trajectory, run_of(1, False, A2)
    (pair,) = preferences(group(wrong, run_of(2, False, A2)), 4, shown)
    assert (pair.chosen, pair.rejected) == (shown.messages[1:], wrong.trajectory.messages[1:])
    own = run_of(3, True, A, B)
    (pair,) = preferences(group(wrong, own), 4, shown)
    assert pair.chosen == own.trajectory.messages[1:], "a right run of its own is nearer to what it does"


def test_given_the_right_tools_runs_differ_in_arguments_alone(
    checkpoint: Checkpoint, dataset: Dataset, tmp_path: Path
) -> None:
    settings = {**SMALL, "task_tokens": 64, "argument_tokens": 24, "given_tools": True}
    config = SampleConfig(**settings, kinds=("single_turn", "irrelevance"))
    sampled, counts = sample_tasks(checkpoint, dataset, config, tmp_path)
    assert (counts.tasks, counts.runs) == (4, 4 * SMALL["runs"]), (
        "without a task of two turns, or one that no tool fits"
    )
    tools = {query.id: [*query.tools] for query in dataset.queries["train"]}
    for pair in sampled.preferences["train"]:
        for tail in (pair.chosen, pair.rejected):
            made = [call["function"]["name"] for message in tail for call in message.get("tool_calls", ())]
            assert [name for name in made if name != "finish"] == tools[pair.query]
    assert {pair.query for pair in sampled.preferences["train"]} == {"lamp&&switch"}, "the others have no arguments"
    with pytest.raises(DatasetError, match=r"no training task of the kinds irrelevance .* with given tools"):
        sample_tasks(checkpoint, dataset, SampleConfig(given_tools=True, kinds=("irrelevance",)), tmp_path / "nothing")


def test_what_comes_of_the_tasks_is_a_dataset_that_stage_3_and_its_scorers_take(
    checkpoint: Checkpoint, dataset: Dataset, tmp_path: Path
) -> None:
    sampled, counts = sample_tasks(checkpoint, dataset, SampleConfig(**SMALL), tmp_path / "work")
    save_dataset(sampled, tmp_path / "out")
    assert load_dataset(tmp_path / "out") == replace(sampled, catalog=load_dataset(tmp_path / "out").catalog)
    assert not validate_dataset(sampled).errors
    assert (counts.tasks, counts.runs) == (5, 5 * SMALL["runs"])
    assert 0 < counts.solved <= counts.right and counts.always < counts.solved
    assert counts.conversations == len(sampled.trajectories["train"]) > 0
    assert counts.preferences == len(sampled.preferences["train"]) > 0
    tasks = {task.id: task for task in dataset.all_tasks("train")}
    for one in sampled.trajectories["train"]:
        scorer = scorer_for(tasks[one.query], dataset.catalog)
        assert scorer and scorer.score(tasks[one.query], one).correct
    learned = [one for one in sampled.trajectories["train"] if tasks[one.query].calls]
    assert len(trajectories(checkpoint, sampled, resolve_config(AGENT))) == len(learned)


def test_a_stopped_sampling_goes_on_with_what_it_has_not_had(
    checkpoint: Checkpoint, dataset: Dataset, tmp_path: Path
) -> None:
    config = SampleConfig(**{**SMALL, "runs": 6, "concurrency": 1})
    whole, _ = sample_tasks(checkpoint, dataset, config, tmp_path / "whole")

    def stop(done: int, _total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample_tasks(checkpoint, dataset, config, tmp_path / "stopped", on_progress=stop)
    with (tmp_path / "stopped" / RUNS).open("a") as file:
        file.write('{"task": "cut o')  # as a crash leaves it
    told: list[int] = []
    resumed, _ = sample_tasks(
        checkpoint, dataset, config, tmp_path / "stopped", on_progress=lambda done, _: told.append(done)
    )
    assert told == [4, 5]
    assert resumed.preferences == whole.preferences
    assert [one.messages for one in resumed.trajectories["train"]] == [
        one.messages for one in whole.trajectories["train"]
    ]


def test_the_runs_of_another_sampling_are_not_gone_on_with(
    checkpoint: Checkpoint, dataset: Dataset, tmp_path: Path
) -> None:
    few: dict[str, Any] = {**SMALL, "runs": 2}
    sample_tasks(checkpoint, dataset, SampleConfig(**few), tmp_path)
    with pytest.raises(UsageError, match="unfinished run with other settings, data or input \\(config\\)"):
        sample_tasks(checkpoint, dataset, SampleConfig(**few, seed=1), tmp_path)
    sample_tasks(checkpoint, dataset, SampleConfig(**few, seed=1), tmp_path, restart=True)
    (tmp_path / RUNS).write_text(json.dumps({"task": "turns", "tools": None, "runs": [{"right": 1}]}) + "\n")
    with pytest.raises(CheckpointError, match=r"runs\.jsonl, line 1: not the runs of a task .* --restart"):
        sample_tasks(checkpoint, dataset, SampleConfig(**few, seed=1), tmp_path)


def test_the_given_conversations_can_stay_and_tasks_be_drawn(
    checkpoint: Checkpoint, dataset: Dataset, tmp_path: Path
) -> None:
    given = run_of(1, True, ("clock&&now", {})).trajectory
    other = replace(dataset, trajectories={"train": (given,)})
    config = SampleConfig(**{**SMALL, "runs": 2}, limit=2, with_given=True)
    sampled, counts = sample_tasks(checkpoint, other, config, tmp_path)
    assert counts.tasks == 2 and sampled.trajectories["train"][0] == given


def test_without_tasks_that_can_be_judged_there_is_nothing_to_sample(
    checkpoint: Checkpoint, dataset: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match="no task whose calls are known"):
        sample_tasks(checkpoint, replace(dataset, queries={}, tasks={}), SampleConfig(), tmp_path)
    other = replace(dataset, catalog=tiny_checkpoint().catalog)
    with pytest.raises(UsageError, match="is not the checkpoint's"):
        sample_tasks(checkpoint, other, SampleConfig(), tmp_path)
