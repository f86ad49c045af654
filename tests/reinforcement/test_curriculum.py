"""Which tasks come when."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import pytest

from toolgen.datasets import Dataset
from toolgen.datasets.task import Task, Turn
from toolgen.errors import DatasetError
from toolgen.reinforcement.config import LEVELS
from toolgen.reinforcement.curriculum import LADDER, batches_of_tasks, level_of, tasks_by_level

from .conftest import tiny_config


def test_tasks_stand_on_the_level_of_their_calls_and_turns(dataset: Dataset) -> None:
    levels = tasks_by_level(dataset, {})
    assert {level: [task.id for task in tasks] for level, tasks in levels.items()} == {
        "nothing_to_call": ["none"],
        "one_call": ["clock&&now", "lamp&&switch", "door&&open"],
        "several_calls": ["both"],
        "several_turns": [],  # no scorer judges a dry run of several turns
    }


def test_where_tools_are_given_every_task_has_some(dataset: Dataset) -> None:
    everything, given = tasks_by_level(dataset, {}), tasks_by_level(dataset, {}, given_tools=True)
    assert given == {**everything, "nothing_to_call": []} != everything


def test_levels_open_one_after_another_and_declining_is_there_from_the_beginning() -> None:
    tasks = {level: [Task(id=f"{level}-{i}", turns=(Turn(text="x", calls=()),)) for i in range(4)] for level in LEVELS}
    config = tiny_config(steps=60, batch_size=32, curriculum=0.5)
    batches = [[task.id.rpartition("-")[0] for task in batch] for batch in islice(batches_of_tasks(tasks, config), 60)]
    opened = {level: next(step for step, batch in enumerate(batches) if level in batch) for level in LEVELS}
    assert opened == {"nothing_to_call": 0, "one_call": 0, "several_calls": 10, "several_turns": 20}
    late = [level for batch in batches[20:] for level in batch]
    for level, share in LEVELS.items():
        assert late.count(level) / len(late) == pytest.approx(share, abs=0.05)
    at_once = next(batches_of_tasks(tasks, config.model_copy(update={"curriculum": 0.0})))
    assert {task.id.rpartition("-")[0] for task in at_once} == {*LEVELS}
    assert tuple(level for level in LEVELS if level != "nothing_to_call") == LADDER


def test_a_batch_depends_on_the_seed_and_its_number_alone(dataset: Dataset) -> None:
    levels = tasks_by_level(dataset, {})

    def drawn(seed: int) -> list[list[str]]:
        return [[task.id for task in batch] for batch in islice(batches_of_tasks(levels, tiny_config(seed=seed)), 9)]

    assert drawn(1) == drawn(1) != drawn(2)


def test_without_a_task_that_can_be_judged_there_is_nothing_to_learn_from(dataset: Dataset) -> None:
    empty = replace(dataset, queries={"train": ()}, tasks={"train": ()})
    with pytest.raises(DatasetError, match="no task whose calls are known"):
        tasks_by_level(empty, {})
    config = tiny_config(levels={"several_turns": 1.0})
    with pytest.raises(DatasetError, match="nothing_to_call, one_call, several_calls only"):
        next(batches_of_tasks(tasks_by_level(dataset, {}), config))


def test_a_task_without_calls_in_several_turns_is_one_that_nothing_fits() -> None:
    assert level_of(Task(id="a", turns=(Turn(text="x", calls=()), Turn(text="y", calls=())))) == "nothing_to_call"
