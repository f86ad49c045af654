"""Evaluation of an agent: whole tasks carried out and judged by BFCL's rules, with every trajectory kept.

Single-turn requests run in the dry-run environment over the whole catalog, requests that no tool fits likewise,
multi-turn tasks in BFCL's simulated systems. Knows no training; a policy is whatever has `act`.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolgen.agent.environments import NO_PACKAGES, Packages, environment_for
from toolgen.agent.loop import Budget, run_agent
from toolgen.agent.policy import GenerativePolicy, GivenTools, Policy
from toolgen.catalog.catalog import Catalog
from toolgen.catalog.schema import schema_errors
from toolgen.datasets.folder import Dataset
from toolgen.datasets.messages import FINISH, NO_TOOL, actions_of, calls_by_turn
from toolgen.datasets.payloads import BfclCalls
from toolgen.datasets.task import Task
from toolgen.datasets.trajectory import Trajectory
from toolgen.errors import DatasetError, UsageError
from toolgen.evaluation.bfcl_checker import TurnVerdict, check_multi_turn, check_single_turn
from toolgen.evaluation.metrics import bootstrap
from toolgen.evaluation.provenance import Provenance, collect_provenance
from toolgen.evaluation.results import FORMAT
from toolgen.files import write_json
from toolgen.virtualization import FINISH_SCHEMA

if TYPE_CHECKING:
    from toolgen.checkpoint import Checkpoint
    from toolgen.decoding import Forward

KINDS = ("single_turn", "multi_turn", "irrelevance")


@dataclass(frozen=True, kw_only=True)
class AgentRecord:
    """One task: what was expected, what was done, how it is judged.

    `scores` maps a metric of the task's kind to 0 or 1 (or a share); `correct` is the main one of them, `reason` why it
    is not. `validity` counts what was really emitted and what the unconstrained model would have done.
    """

    id: str
    kind: str
    category: str
    text: str
    seen: bool
    correct: bool
    reason: str
    scores: Mapping[str, float]
    validity: Mapping[str, int]
    expected: Sequence[Mapping[str, Any]]
    trajectory: Trajectory


@dataclass(frozen=True, kw_only=True)
class AgentResult:
    """How well an agent carries out tasks.

    `metrics` is nested: kind, then group, then metric; a share is `{"mean", "low", "high", "count"}` (95% interval).
    """

    name: str
    split: str
    metrics: Mapping[str, Any]
    records: tuple[AgentRecord, ...]
    provenance: Provenance

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of a result file."""
        return {"format": FORMAT, "kind": "agent", **asdict(self)}

    def save(self, path: Path) -> None:
        """Writes the result file; an interrupted save leaves the old one."""
        write_json(path, self.to_dict())


@dataclass(frozen=True, kw_only=True)
class AgentEvaluation:
    """What is evaluated and how.

    `limit_per_kind` takes that many tasks of each kind (or of the kinds it names), drawn with `seed`. `given_tools`
    hands the policy the right tools in the right order, so that only arguments are measured (requests that no tool
    fits are then left out).
    """

    split: str = "test"
    kinds: Sequence[str] = KINDS
    limit_per_kind: int | Mapping[str, int] | None = None
    seed: int = 0
    given_tools: bool = False
    budget: Budget = field(default_factory=lambda: Budget(steps=8, tokens=1024))

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.kinds) - set(KINDS)):
            raise UsageError(f"unknown kind of task {unknown[0]!r}; kinds are {', '.join(KINDS)}")


def evaluate_agent(
    agent: Checkpoint | Policy,
    dataset: Dataset,
    config: AgentEvaluation | None = None,
    *,
    packages: Packages = NO_PACKAGES,
    name: str = "agent",
    together: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
    on_record: Callable[[AgentRecord], None] | None = None,
) -> AgentResult:
    """Carries out the tasks of a split and judges them.

    Tasks that need a package which is not among `packages` are left out. With `together` above
    1 so many tasks run at once and share each pass of the checkpoint's model. Greedy decoding then gives the same up to
    rounding; records stand in the order of the tasks, but `on_record` and `on_progress` hear of them as they end, and a task's
    seconds, those of its budget too, hold its waiting for others.

    Raises UsageError for an unknown split, or if `given_tools` or `together` is asked of a policy that is not a checkpoint's;
    DatasetError if there is no task; CheckpointError if the model's sequences cannot share a pass.
    """
    config = config or AgentEvaluation()
    started = time.perf_counter()
    tasks = agent_tasks(dataset, config, packages)
    policy = agent if hasattr(agent, "act") else GenerativePolicy(agent)
    judge = _Judge(policy, dataset, config, packages)
    done: dict[int, AgentRecord] = {}

    def on_end(place: int, trajectory: Trajectory) -> None:
        done[place] = judge.record(tasks[place], trajectory)
        if on_record:
            on_record(done[place])
        if on_progress:
            on_progress(len(done), len(tasks))

    if together == 1:
        for place, task in enumerate(tasks):
            on_end(place, judge.carry_out(task))
    elif together > 1 and isinstance(policy, GenerativePolicy):
        from toolgen.inference.batching import run_together

        model = policy.checkpoint.model
        run_together(model, [partial(judge.carry_out, task) for task in tasks], together, on_end)
    else:
        raise UsageError(
            f"cannot carry out {together} tasks together: give a number above 0, and for more than 1 a checkpoint's policy"
        )
    records = [done[place] for place in range(len(tasks))]
    kinds = sorted({record.kind for record in records})
    resolved = {**asdict(config), "kinds": kinds, "agent": name, "together": together}
    return AgentResult(
        name=name,
        split=config.split,
        metrics=summarize(records),
        records=tuple(records),
        provenance=collect_provenance(dataset, config=resolved, seconds=time.perf_counter() - started),
    )


def agent_tasks(dataset: Dataset, config: AgentEvaluation, packages: Packages = NO_PACKAGES) -> list[Task]:
    """The tasks that will be carried out and can be judged, kind by kind in the order of the dataset."""
    possible = [task for task in dataset.all_tasks(config.split) if not task.package or task.package in packages]
    tasks: list[Task] = []
    for kind in config.kinds:
        left_out = kind == "irrelevance" and config.given_tools
        found = [] if left_out else [task for task in possible if task.kind == kind and _can_be_judged(task)]
        limit = config.limit_per_kind
        tasks += _sample(found, limit.get(kind) if isinstance(limit, Mapping) else limit, config.seed)
    if not tasks:
        raise DatasetError(
            f"split {config.split!r} of {dataset.name} has no task of the kinds {', '.join(config.kinds)} to carry out "
            "(multi-turn tasks need the fetched BFCL package)"
        )
    return tasks


def _can_be_judged(task: Task) -> bool:
    return task.payload is not None or task.no_tool_fits


def _sample(tasks: Sequence[Task], limit: int | None, seed: int) -> list[Task]:
    if limit is None or limit >= len(tasks):
        return list(tasks)
    return [tasks[position] for position in sorted(random.Random(seed).sample(range(len(tasks)), limit))]


class _Judge:
    """Carries out and judges tasks of one dataset with one policy."""

    def __init__(self, policy: Policy, dataset: Dataset, config: AgentEvaluation, packages: Packages) -> None:
        if config.given_tools and not isinstance(policy, GenerativePolicy):
            raise UsageError("given_tools needs the policy of a checkpoint: only that can fill in arguments alone")
        self._policy = policy
        self._catalog = dataset.catalog
        self._config = config
        self._packages = packages
        self._trained = dataset.asked_tools

    def carry_out(self, task: Task, forward: Forward | None = None) -> Trajectory:
        """Carries out one task, whose passes `forward` makes, in an environment of its own."""
        environment = environment_for(task, self._catalog, self._packages)
        return run_agent(self._policy_for(task, forward), environment, task, budget=self._config.budget)

    def record(self, task: Task, trajectory: Trajectory) -> AgentRecord:
        """Judges what was done in a task."""
        correct, reason, scores = getattr(self, f"_judge_{task.kind}")(task, trajectory)
        return AgentRecord(
            id=task.id,
            kind=task.kind,
            category=task.category,
            text=task.turns[0].text,
            seen=self._trained.issuperset(task.tools),
            correct=correct,
            reason=reason,
            scores=scores,
            validity=count_validity(trajectory, self._catalog),
            expected=[call.to_dict() for call in task.calls],
            trajectory=trajectory,
        )

    def _policy_for(self, task: Task, forward: Forward | None) -> Policy:
        if not isinstance(self._policy, GenerativePolicy):
            return self._policy
        policy = self._policy.for_task(task.id, forward) if forward else self._policy
        if not self._config.given_tools:
            return policy
        tools = [tool for turn in task.turns for tool in (*(call.tool for call in turn.calls or ()), FINISH)]
        return GivenTools(policy, tools)

    def _judge_single_turn(self, task: Task, trajectory: Trajectory) -> tuple[bool, str, dict[str, float]]:
        calls = calls_by_turn(trajectory.messages)[0]
        assert isinstance(task.payload, BfclCalls), "only these can be judged"
        verdict = check_single_turn(task.calls, task.payload.answers, calls, self._catalog)
        wanted = Counter(call.tool for call in task.calls)
        scores = {
            "accuracy": float(verdict.valid),
            "tool_accuracy": float(Counter(call.tool for call in calls) == wanted),
            "first_tool": float(bool(calls) and calls[0].tool in wanted),
            "finished": float(trajectory.outcome.status == "finished"),
        }
        return verdict.valid, " ".join(filter(None, (verdict.reason, verdict.detail))), scores

    def _judge_irrelevance(self, task: Task, trajectory: Trajectory) -> tuple[bool, str, dict[str, float]]:
        called = calls_by_turn(trajectory.messages)[0]
        status = trajectory.outcome.status
        declined = not called and status == "declined"
        reason = "" if declined else f"called {called[0].tool}" if called else str(status)
        return declined, reason, {"declined": float(declined), "no_call": float(not called)}

    def _judge_multi_turn(self, task: Task, trajectory: Trajectory) -> tuple[bool, str, dict[str, float]]:
        calls = calls_by_turn(trajectory.messages)
        verdicts = check_multi_turn(task, calls, self._catalog, self._packages[task.package])
        failed = next((turn for turn, verdict in enumerate(verdicts) if not verdict.valid), None)
        reason = "" if failed is None else f"turn {failed + 1}: {verdicts[failed].reason}"
        return failed is None, reason, {"task_success": float(failed is None), **_turn_scores(verdicts)}


def _turn_scores(verdicts: Sequence[TurnVerdict]) -> dict[str, float]:
    """Shares of a task's turns; those that cannot be answered count only for `abstained`."""
    answerable = [verdict for verdict in verdicts if verdict.answerable]
    others = [verdict for verdict in verdicts if not verdict.answerable]
    scores = {}
    if answerable:
        scores = {
            "turn_success": _share(verdict.valid for verdict in answerable),
            "turn_state": _share(verdict.state for verdict in answerable),
            "turn_required_calls": _share(verdict.required_calls for verdict in answerable),
        }
    return scores | ({"abstained": _share(verdict.abstained for verdict in others)} if others else {})


def _share(values: Iterable[bool]) -> float:
    counted = list(values)
    return sum(counted) / len(counted)


def count_validity(trajectory: Trajectory, catalog: Catalog) -> dict[str, int]:
    """What was emitted, checked anew against the catalog, and what the decoding had to prevent.

    `nonexistent_tools` and `invalid_arguments` are counted by looking up and validating each emitted call.
    `decisions`, `would_not_call` (the model's first choice was no tool token), `argument_objects`, `would_be_invalid`
    (it would have left the grammar), `relaxed`, `closed` and `not_emitted` come from the decoder's diagnostics.
    """
    schemas = {FINISH: FINISH_SCHEMA, NO_TOOL: {"type": "object"}}
    actions = [action for message in trajectory.messages for action in actions_of(message)]
    known = [(tool, arguments) for tool, arguments in actions if tool in schemas or tool in catalog]
    invalid = [tool for tool, given in known if schema_errors(given, schemas.get(tool) or catalog.get(tool).parameters)]
    decisions = [one.diagnostics for one in trajectory.outcome.decisions if one.diagnostics]
    objects = [decision for decision in decisions if decision.argument_tokens]
    return {
        "actions": len(actions),
        "nonexistent_tools": len(actions) - len(known),
        "invalid_arguments": len(invalid),
        "decisions": len(decisions),
        "would_not_call": sum(not decision.tool_exists for decision in decisions),
        "argument_objects": len(objects),
        "would_be_invalid": sum(decision.masked > 0 for decision in objects),
        "relaxed": sum(decision.relaxed for decision in objects),
        "closed": sum(decision.arguments == "closed" for decision in objects),
        "not_emitted": sum(bool(decision.stuck) for decision in trajectory.outcome.decisions),
    }


def summarize(records: Sequence[AgentRecord]) -> dict[str, Any]:
    """All numbers of an agent result: by kind and group, then validity and effort over all tasks."""
    metrics: dict[str, Any] = {}
    for kind in KINDS:
        chosen = [record for record in records if record.kind == kind]
        if chosen:
            metrics[kind] = _groups(chosen)
    return metrics | {"validity": _validity(records), "effort": _effort(records)}


def _groups(records: Sequence[AgentRecord]) -> dict[str, Any]:
    groups: dict[str, list[AgentRecord]] = {"all": list(records)}
    for record in records:
        if record.kind == "single_turn":
            groups.setdefault("seen" if record.seen else "unseen", []).append(record)
    for record in sorted(records, key=lambda record: record.category):
        groups.setdefault(f"category={record.category}", []).append(record)
    return {group: _intervals(chosen) for group, chosen in groups.items()}


def _intervals(records: Sequence[AgentRecord]) -> dict[str, Any]:
    names = dict.fromkeys(name for record in records for name in record.scores)
    return {
        name: bootstrap([record.scores[name] for record in records if name in record.scores]).to_dict()
        for name in names
    }


def _validity(records: Sequence[AgentRecord]) -> dict[str, Any]:
    totals: Counter[str] = Counter()
    for record in records:
        totals.update(record.validity)
    rates = {}
    for rate, part, whole in (
        ("unconstrained_no_such_tool", "would_not_call", "decisions"),
        ("unconstrained_invalid_arguments", "would_be_invalid", "argument_objects"),
    ):
        if totals[whole]:
            rates[rate] = totals[part] / totals[whole]
    return {**totals, **rates}


def _effort(records: Sequence[AgentRecord]) -> dict[str, float]:
    """Means over tasks."""
    outcomes = [record.trajectory.outcome for record in records]
    return {
        "mean_steps": sum(len(outcome.decisions) for outcome in outcomes) / len(outcomes),
        "mean_tokens": sum(outcome.tokens for outcome in outcomes) / len(outcomes),
        "mean_seconds": sum(outcome.seconds for outcome in outcomes) / len(outcomes),
    }
