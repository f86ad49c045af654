"""Which tasks a step learns from: levels of rising difficulty, opened one after another. Depends on the seed alone.

Knows no model and no reward.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence

from toolgen.agent.environments import Packages
from toolgen.datasets import Dataset
from toolgen.datasets.task import Task
from toolgen.errors import DatasetError
from toolgen.evaluation.scorers import scorer_for
from toolgen.reinforcement.config import Level, ReinforceConfig
from toolgen.training.examples import shuffled

LADDER: tuple[Level, ...] = ("one_call", "several_calls", "several_turns")
"""The levels in the order in which they open; that nothing is to be called is learned all the time."""


def level_of(task: Task) -> Level:
    """How hard a task is."""
    if task.no_tool_fits:
        return "nothing_to_call"
    if len(task.turns) > 1:
        return "several_turns"
    return "one_call" if len(task.calls) == 1 else "several_calls"


def tasks_by_level(dataset: Dataset, packages: Packages, *, given_tools: bool = False) -> dict[Level, list[Task]]:
    """The training tasks that can be carried out and judged, with `given_tools` those that have some; DatasetError if there is
    none."""
    found: dict[Level, list[Task]] = {"nothing_to_call": [], **{level: [] for level in LADDER}}
    for task in dataset.all_tasks("train"):
        if not ((given_tools and task.no_tool_fits) or task.faults) and scorer_for(task, dataset.catalog, packages):
            found[level_of(task)].append(task)
    if not any(found.values()):
        raise DatasetError(
            f"the training split of {dataset.name} has no task whose calls are known; reinforcement learns from tasks that can "
            "be carried out and judged (some need a fetched package)"
        )
    return found


def batches_of_tasks(levels: Mapping[Level, Sequence[Task]], config: ReinforceConfig) -> Iterator[list[Task]]:
    """Endless batches of different tasks. A resumed run skips those it has had."""
    used = {level: share for level, share in config.levels.items() if share and levels.get(level)}
    if not used:
        raise DatasetError(f"there are tasks of {_named(levels)} only, and these levels have no share; set levels")
    chooser = random.Random(f"{config.seed}/levels")
    places = {level: shuffled(len(levels[level]), f"{config.seed}/{level}") for level in used}
    step = 0
    while True:
        shares = {level: share for level, share in used.items() if level in _open(used, step, config)}
        drawn = chooser.choices([*shares], [*shares.values()], k=config.batch_size)
        yield [levels[level][next(places[level])[1]] for level in drawn]
        step += 1


def _open(used: Mapping[Level, float], step: int, config: ReinforceConfig) -> set[Level]:
    """The levels that a step may draw from."""
    ladder = [level for level in LADDER if level in used]
    pace = config.curriculum * config.steps / max(1, len(ladder))
    count = len(ladder) if not pace else min(len(ladder), 1 + int(step / pace))
    return {"nothing_to_call", *ladder[:count]}


def _named(levels: Mapping[Level, Sequence[Task]]) -> str:
    return ", ".join(level for level, tasks in levels.items() if tasks)
