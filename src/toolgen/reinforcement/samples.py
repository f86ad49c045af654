"""Samples: each training task carried out several times by the model as it is, and what comes of it to learn from.

Runs that the task's scorer calls right become conversations (rejection sampling: RFT, arXiv 2308.01825); a right and a wrong
run that begin alike become a preference. Knows no training; interrupted, it goes on with the tasks that it has not had.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from toolgen.agent.environments import NO_PACKAGES, Packages
from toolgen.agent.loop import Budget
from toolgen.agent.policy import GenerativePolicy
from toolgen.agent.recording import recording_environment
from toolgen.checkpoint import Checkpoint
from toolgen.checkpoint.layout import RUN
from toolgen.datasets import Dataset, Preference, Task, Trajectory
from toolgen.datasets.trajectory import Message
from toolgen.decoding import DecodingOptions, Sampling
from toolgen.errors import CheckpointError, DatasetError, UsageError
from toolgen.evaluation.scorers import scorer_for
from toolgen.files import append_record, named_failure, write_json
from toolgen.foreign.data import line_values, lines_so_far
from toolgen.foreign.typed import typed
from toolgen.inference.engine import Engine
from toolgen.reinforcement.config import SampleConfig
from toolgen.reinforcement.curriculum import tasks_by_level
from toolgen.reinforcement.rollouts import Rollout, RolloutMaker
from toolgen.training.loop import fingerprint_in
from toolgen.training.run import check_catalog, fingerprint
from toolgen.training.saving import other_run

RUNS = "runs.jsonl"
SECONDS = 86_400.0
"""That a run may take: how busy a machine is must not change what is sampled."""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What was done and kept: `solved` tasks were right at least once, `always` each time."""

    tasks: int
    runs: int
    right: int
    solved: int
    always: int
    conversations: int
    preferences: int

    def to_dict(self) -> dict[str, int]:
        """Its values for JSON."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of a task, and whether it was right."""

    trajectory: Trajectory
    right: bool


@dataclass(frozen=True, kw_only=True)
class Group:
    """All runs of one task. `tools` are those that it was offered; None: the whole catalog."""

    task: str
    tools: tuple[str, ...] | None
    runs: tuple[Run, ...]

    def to_dict(self) -> dict[str, Any]:
        """The record of the unfinished work."""
        runs = [{"trajectory": one.trajectory.to_dict(), "right": one.right} for one in self.runs]
        return {"task": self.task, "tools": self.tools, "runs": runs}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Group:
        """Reads `to_dict`; ValueError says what is of another type."""
        runs = tuple(
            Run(trajectory=Trajectory.from_dict(one["trajectory"]), right=typed(bool, one["right"]))
            for one in record["runs"]
        )
        tools = None if record["tools"] is None else typed(tuple[str, ...], record["tools"])
        return cls(task=typed(str, record["task"]), tools=tools, runs=runs)


def sample_tasks(
    checkpoint: Checkpoint,
    dataset: Dataset,
    config: SampleConfig,
    work: Path,
    *,
    packages: Packages = NO_PACKAGES,
    restart: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[Dataset, Counts]:
    """Carries out the training tasks of a dataset with the same catalog. The dataset with the right runs as its training
    conversations and with preferences, and counts. What is done stands in the folder `work`, from which a rerun goes on.

    Raises UsageError for another catalog, or if `work` holds the runs of another sampling; DatasetError where there is no task
    that can be carried out and judged (some need a package which is not among `packages`).
    """
    check_catalog(checkpoint, dataset)
    tasks = _drawn(dataset, packages, config)
    identity = fingerprint("sample", checkpoint, dataset, config, {"tasks": tasks})
    done = _opened(work, identity, restart=restart)
    left = [task for task in tasks if task.id not in done]
    for group in _made(checkpoint, dataset, left, packages, config):
        append_record(work / RUNS, group.to_dict())
        done[group.task] = group
        if on_progress:
            on_progress(len(done), len(tasks))
    groups = [done[task.id] for task in tasks]
    found = [one for group in groups for one in conversations(group, config.keep)]
    given = dataset.trajectories["train"] if config.with_given else ()
    shown = {one.query: one for one in given}
    pairs = [one for group in groups for one in preferences(group, config.keep, shown.get(group.task))]
    counts = Counts(
        tasks=len(groups),
        runs=sum(len(group.runs) for group in groups),
        right=sum(run.right for group in groups for run in group.runs),
        solved=sum(any(run.right for run in group.runs) for group in groups),
        always=sum(all(run.right for run in group.runs) for group in groups),
        conversations=len(found),
        preferences=len(pairs),
    )
    sampled = replace(
        dataset,
        trajectories={**dataset.trajectories, "train": (*given, *found)},
        preferences={**dataset.preferences, "train": tuple(pairs)},
    )
    return sampled, counts


def conversations(group: Group, keep: int) -> list[Trajectory]:
    """The different right runs of a task, those with the fewest calls first."""
    right = sorted(_different(group, right=True), key=lambda one: one.outcome.calls)
    return right[:keep]


def preferences(group: Group, keep: int, given: Trajectory | None = None) -> list[Preference]:
    """Pairs of a right and a wrong run: each wrong one with the right one that it follows longest, or with the `given`
    conversation if none is right. Those that begin alike longest come first: they say best what was wrong."""
    right, found = _different(group, right=True) or ([given] if given else []), []
    for wrong in _different(group, right=False):
        shared, best = max(
            ((_shared(one.messages, wrong.messages), one) for one in right),
            key=lambda pair: pair[0],
            default=(0, wrong),
        )
        tails = best.messages[shared:], wrong.messages[shared:]
        if all(tail and tail[0]["role"] == "assistant" for tail in tails):
            name = f"{wrong.id}, not as {best.id}"
            made = Preference(
                id=name,
                query=group.task,
                prompt=wrong.messages[:shared],
                chosen=tails[0],
                rejected=tails[1],
                tools=group.tools,
            )
            found.append(made)
    return sorted(found, key=lambda one: -len(one.prompt))[:keep]


def _drawn(dataset: Dataset, packages: Packages, config: SampleConfig) -> list[Task]:
    """The tasks in the order of the dataset, or some of them."""
    levels = tasks_by_level(dataset, packages, given_tools=config.given_tools)
    possible = {task.id for tasks in levels.values() for task in tasks}
    tasks = [task for task in dataset.all_tasks("train") if task.id in possible and task.kind in config.kinds]
    if not tasks:
        raise DatasetError(
            f"{dataset.name} has no training task of the kinds {', '.join(config.kinds)} that can be carried out and judged"
            + " with given tools" * config.given_tools
        )
    if config.limit is None or config.limit >= len(tasks):
        return tasks
    return [tasks[place] for place in sorted(random.Random(config.seed).sample(range(len(tasks)), config.limit))]


def _made(
    checkpoint: Checkpoint, dataset: Dataset, tasks: Sequence[Task], packages: Packages, config: SampleConfig
) -> Iterator[Group]:
    """The runs of each task, as they are done."""
    sampling = Sampling(temperature=config.temperature, seed=config.seed)
    options = DecodingOptions(
        argument_tokens=config.argument_tokens, thought_tokens=config.thought_tokens, sampling=sampling
    )
    maker = RolloutMaker(
        policy=GenerativePolicy(checkpoint, options=options, only_said=True),
        environment=lambda task: recording_environment(task, dataset.catalog.redefined(task.definitions), packages),
        budget=Budget(steps=config.task_steps, tokens=config.task_tokens, seconds=SECONDS),
        concurrency=config.concurrency,
        given_tools=config.given_tools,
    )
    judged = partial(_judged, dataset, packages)
    with Engine(checkpoint.model, concurrency=config.concurrency) as engine:
        for place, rollouts in maker.each_group(engine, tasks, config.runs, "sample"):
            offered = tuple(rollouts[0].offered)
            yield Group(
                task=tasks[place].id,
                tools=None if len(offered) == len(dataset.catalog) else offered,
                runs=tuple(judged(rollout, number) for number, rollout in enumerate(rollouts, start=1)),
            )


def _judged(dataset: Dataset, packages: Packages, rollout: Rollout, number: int) -> Run:
    scorer = scorer_for(rollout.task, dataset.catalog, packages)
    assert scorer is not None, "other tasks are left out"
    trajectory = replace(rollout.trajectory, id=f"{rollout.task.id}, run {number}")
    return Run(trajectory=trajectory, right=scorer.score(rollout.task, trajectory).correct)


def _different(group: Group, *, right: bool) -> list[Trajectory]:
    """The right or the wrong runs without those that say the same as an earlier one."""
    found: list[Trajectory] = []
    for run in group.runs:
        if run.right == right and all(run.trajectory.messages != one.messages for one in found):
            found.append(run.trajectory)
    return found


def _shared(one: Sequence[Message], other: Sequence[Message]) -> int:
    """How many messages both begin with."""
    pairs = zip(one, other, strict=False)
    return next((place for place, (left, right) in enumerate(pairs) if left != right), min(len(one), len(other)))


def _opened(work: Path, identity: Mapping[str, Any], *, restart: bool) -> dict[str, Group]:
    """The runs that an interrupted sampling made; UsageError if they are another's."""
    if restart:
        shutil.rmtree(work, ignore_errors=True)
    if (work / RUNS).exists() and (found := fingerprint_in(work / RUN)) != identity:
        raise UsageError(other_run(work, found, identity))
    with named_failure(work):
        work.mkdir(parents=True, exist_ok=True)
    write_json(work / RUN, identity)
    return {group.task: group for group in _read(work / RUNS)}


def _read(path: Path) -> Iterator[Group]:
    """The groups in a file. The task of a line that was cut off is done again."""

    def refuse(line: str, reason: str) -> None:
        raise CheckpointError(f"{path}, {line}: {reason}; add --restart to start over")

    for number, value in line_values(lines_so_far(path), str(path), refuse):
        try:
            yield Group.from_dict(value)
        except (ValueError, KeyError, TypeError) as error:
            refuse(f"line {number}", f"not the runs of a task ({error!r})")
