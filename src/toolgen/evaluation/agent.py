"""Evaluation of an agent: whole tasks, each carried out in its environment and judged by its scorer, every run kept.

Knows no benchmark and no training; a policy is whatever has `act`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, get_args

from toolgen.agent.acting import acting_policy
from toolgen.agent.environments import NO_PACKAGES, Packages, environment_for
from toolgen.agent.loop import Budget, Search, run_agent
from toolgen.agent.policy import Drawing, GenerativePolicy, GivenTools, PerTask, Policy, RetryingPolicy, right_tools
from toolgen.datasets.folder import Dataset
from toolgen.datasets.payloads import Kind
from toolgen.datasets.task import Task
from toolgen.datasets.trajectory import Trajectory
from toolgen.errors import DatasetError, UsageError
from toolgen.evaluation.agent_results import AgentRecord, AgentResult, Effort, summarize
from toolgen.evaluation.provenance import collect_provenance
from toolgen.evaluation.scorers import scorer_for
from toolgen.evaluation.validity import Validity, count_validity

if TYPE_CHECKING:
    from toolgen.checkpoint import Checkpoint
    from toolgen.inference.engine import Work
    from toolgen.inference.passes import Passes

KINDS: tuple[Kind, ...] = get_args(Kind)


def check_kinds(kinds: Sequence[str]) -> None:
    """UsageError if one of them is no kind of task."""
    if unknown := sorted(set(kinds) - set(KINDS)):
        raise UsageError(f"unknown kind of task {unknown[0]!r}; kinds are {', '.join(KINDS)}")


@dataclass(frozen=True, kw_only=True)
class AgentEvaluation:
    """What is evaluated and how.

    `limit_per_kind` takes that many tasks of each kind (or of the kinds it names), drawn with `seed`. `given_tools`
    hands the policy the right tools in the right order, so that only arguments are measured (requests that no tool
    fits are then left out). Where the policy gives up it is asked again, up to `retries` times in each task. With the `search`
    "dfs" what fails is undone and something else tried; a result then has the path to the answer, and counts all.
    """

    split: str = "test"
    kinds: Sequence[str] = KINDS
    limit_per_kind: int | Mapping[str, int] | None = None
    seed: int = 0
    given_tools: bool = False
    retries: int = 0
    search: Search = "chain"
    budget: Budget = field(default_factory=lambda: Budget(steps=8, tokens=1024))

    def __post_init__(self) -> None:
        check_kinds(self.kinds)
        if self.search == "dfs" and (self.retries or self.given_tools):
            raise UsageError("a search asks again by itself and chooses the tools; leave out retries and given tools")
        if self.given_tools and self.retries:
            raise UsageError("given tools are taken one after another, so nothing is asked again; leave out retries")


def evaluate_agent(
    agent: Checkpoint | Policy,
    dataset: Dataset,
    config: AgentEvaluation | None = None,
    *,
    packages: Packages = NO_PACKAGES,
    name: str = "agent",
    concurrency: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
    on_record: Callable[[AgentRecord], None] | None = None,
) -> AgentResult:
    """Carries out the tasks of a split and judges them.

    Tasks that need a package which is not among `packages` are left out. `concurrency` tasks run at once and share each pass of
    a local model, which gives the same up to rounding. Records stand in the order of the tasks, but `on_record` and
    `on_progress` hear of them as they end, and a task's seconds, those of its budget too, hold its waiting for others.

    Raises UsageError for an unknown split, if `given_tools` is asked of a policy that is no checkpoint's, or several tasks at
    once of one that is not `PerTask`;
    DatasetError if there is no task; CheckpointError if the model's sequences cannot share a pass.
    """
    config = config or AgentEvaluation()
    started = time.perf_counter()
    tasks = agent_tasks(dataset, config, packages)
    policy = agent if hasattr(agent, "act") else acting_policy(agent)
    judge = _Judge(policy, dataset, config, packages)
    done: dict[int, AgentRecord] = {}

    def on_end(place: int, trajectory: Trajectory) -> None:
        done[place] = judge.record(tasks[place], trajectory)
        if on_record:
            on_record(done[place])
        if on_progress:
            on_progress(len(done), len(tasks))

    for place, trajectory in _trajectories(policy, judge, tasks, concurrency):
        on_end(place, trajectory)
    records = [done[place] for place in range(len(tasks))]
    kinds = sorted({record.kind for record in records})
    resolved = {**asdict(config), "kinds": kinds, "agent": name, "concurrency": concurrency}
    return AgentResult(
        name=name,
        split=config.split,
        metrics=summarize(records),
        validity=Validity.total(record.validity for record in records),
        effort=Effort.mean(records),
        records=tuple(records),
        provenance=collect_provenance(dataset, config=resolved, seconds=time.perf_counter() - started),
    )


def agent_tasks(dataset: Dataset, config: AgentEvaluation, packages: Packages = NO_PACKAGES) -> list[Task]:
    """The tasks that can be carried out and judged, kind by kind in the order of the dataset."""
    possible = [task for task in dataset.all_tasks(config.split) if scorer_for(task, dataset.catalog, packages)]
    tasks: list[Task] = []
    for kind in config.kinds:
        left_out = kind == "irrelevance" and config.given_tools
        found = [] if left_out else [task for task in possible if task.kind == kind]
        limit = config.limit_per_kind
        tasks += _sample(found, limit.get(kind) if isinstance(limit, Mapping) else limit, config.seed)
    if not tasks:
        raise DatasetError(
            f"split {config.split!r} of {dataset.name} has no task of the kinds {', '.join(config.kinds)} that can be carried "
            "out and judged; some need a fetched package"
        )
    return tasks


def _sample(tasks: Sequence[Task], limit: int | None, seed: int) -> list[Task]:
    if limit is None or limit >= len(tasks):
        return list(tasks)
    return [tasks[position] for position in sorted(random.Random(seed).sample(range(len(tasks)), limit))]


def _trajectories(
    policy: Policy, judge: _Judge, tasks: Sequence[Task], concurrency: int
) -> Iterator[tuple[int, Trajectory]]:
    """What was done in tasks with their places, as they end; an error of one, or of the caller, ends the others."""
    if concurrency > 0 and isinstance(policy, GenerativePolicy):
        from toolgen.inference.engine import Engine

        with Engine(policy.checkpoint.model, concurrency=concurrency) as engine:
            yield from engine.each([_Carried(judge, task) for task in tasks], concurrency)
    elif concurrency == 1:
        yield from enumerate(map(judge.carry_out, tasks))
    elif concurrency > 1 and isinstance(policy, PerTask):
        with ThreadPoolExecutor(concurrency) as pool:
            running = {pool.submit(judge.carry_out, task): place for place, task in enumerate(tasks)}
            try:
                for future in as_completed(running):
                    yield running[future], future.result()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
    else:
        raise UsageError(
            f"cannot carry out {concurrency} tasks at once: give a number above 0, and for more than 1 a policy with for_task"
        )


@dataclass(frozen=True)
class _Carried:
    """The request to carry out one task."""

    judge: _Judge
    task: Task

    def run(self, work: Work) -> Trajectory:
        return self.judge.carry_out(self.task, work)


class _Judge:
    """Carries out and judges tasks of one dataset with one policy."""

    def __init__(self, policy: Policy, dataset: Dataset, config: AgentEvaluation, packages: Packages) -> None:
        if config.given_tools and not isinstance(policy, GenerativePolicy):
            raise UsageError("given_tools needs the policy of a checkpoint: only that can fill in arguments alone")
        if config.retries and not isinstance(policy, Drawing):
            raise UsageError("retries need a policy that can draw another action, by a method attempt")
        self._policy = policy
        self._catalog = dataset.catalog
        self._config = config
        self._packages = packages
        self._trained = dataset.asked_tools

    def carry_out(self, task: Task, passes: Passes | None = None) -> Trajectory:
        """Carries out one task, whose passes `passes` makes, in an environment of its own."""
        with closing(environment_for(task, self._catalog, self._packages)) as environment:
            policy, config = self._policy_for(task, passes), self._config
            return run_agent(policy, environment, task, budget=config.budget, search=config.search)

    def record(self, task: Task, trajectory: Trajectory) -> AgentRecord:
        """Judges what was done in a task."""
        scorer = scorer_for(task, self._catalog, self._packages)
        assert scorer is not None, "other tasks are left out"
        return AgentRecord(
            id=task.id,
            kind=task.kind,
            category=task.category,
            text=task.turns[0].text,
            asked=self._trained.issuperset(task.tools),
            expected=task.calls,
            score=scorer.score(task, trajectory),
            validity=count_validity(trajectory, self._catalog.redefined(task.definitions)),
            trajectory=trajectory,
            sound=not task.faults,
        )

    def _policy_for(self, task: Task, passes: Passes | None) -> Policy:
        policy = self._policy.for_task(task, passes) if isinstance(self._policy, PerTask) else self._policy
        if self._config.given_tools:
            assert isinstance(policy, GenerativePolicy)
            return GivenTools(policy, right_tools(task))
        if self._config.retries:
            assert isinstance(policy, Drawing)
            return RetryingPolicy(policy, self._config.retries)
        return policy
