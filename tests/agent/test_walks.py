"""Walks over worlds: requests whose calls really succeed there, with their results, and nothing that nobody could know."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from toolgen.agent import ScriptedPolicy, environment_for, record_trajectories, run_agent
from toolgen.agent.walks import KINDS, walk_conversations, went_as_walked, worlds_of
from toolgen.catalog import Catalog
from toolgen.catalog.schema import schema_errors
from toolgen.datasets import Dataset, Task, Trajectory
from toolgen.datasets.agentdojo import import_agentdojo
from toolgen.datasets.payloads import AgentDojoTask
from toolgen.datasets.tau2 import import_tau2
from toolgen.datasets.training_sets.evidence import is_evidenced
from toolgen.evaluation.scorers import scorer_for

Walked = list[tuple[Task, Trajectory]]


def walked(home: Dataset, package: Path, count: int, seed: int = 0) -> Walked:
    packages = {home.all_tasks("test")[0].package: package}
    tasks = tuple(walk_conversations(home.catalog, worlds_of(home), packages, count, seed))
    made = record_trajectories(replace(home, queries={}, tasks={"train": tasks}, trajectories={}), packages)
    return list(zip(tasks, made.trajectories["train"], strict=True))


@pytest.fixture
def tickets(package: Path, catalog: Catalog, task: Task) -> Dataset:
    return Dataset(name="t", version="", source="", licence="", catalog=catalog, tasks={"test": (task,)})


def test_walks_repeat_with_their_seed_and_succeed_in_the_world(tickets: Dataset, package: Path) -> None:
    found = walked(tickets, package, 30)
    assert found == walked(tickets, package, 30) != walked(tickets, package, 30, seed=1)
    assert len({task.turns[0].text for task, _ in found}) == len(found) > 10
    for task, trajectory in found:
        assert went_as_walked(task, trajectory), task
        assert task.payload == tickets.tasks["test"][0].payload and task.state == tickets.tasks["test"][0].state
        for call in task.calls:
            assert not schema_errors(call.arguments, tickets.catalog.get(call.tool).parameters)


def test_each_kind_is_what_it_says(tickets: Dataset, package: Path) -> None:
    found = walked(tickets, package, 80)
    kinds = Counter(task.category for task, _ in found)
    assert {*kinds} == {*KINDS}
    for task, trajectory in found:
        shown = [str(message["content"]) for message in trajectory.messages if message["role"] == "tool"]
        if task.category in ("one", "several"):
            assert all(is_evidenced(call.arguments, {}, task.turns[0].text) for call in task.calls)
            assert (len(task.calls) == 1) == (task.category == "one")
        elif task.category == "missing":
            (call,) = task.calls
            assert not task.turns[0].calls and not is_evidenced(call.arguments, {}, task.turns[0].text)
            assert is_evidenced(call.arguments, {}, " ".join(turn.text for turn in task.turns))
        elif task.category == "repaired":
            wrong, right = task.calls
            assert wrong.tool == right.tool and "error" in shown[0].lower() and "error" not in shown[1].lower()
        else:
            first, second = task.calls
            assert is_evidenced(first.arguments, {}, task.turns[0].text)
            unsaid = [
                value for value in second.arguments.values() if not is_evidenced({"": value}, {}, task.turns[0].text)
            ]
            assert len(unsaid) == 1 and str(unsaid[0]) in shown[0], "it stands in the first result alone"


def test_bfcl_judges_a_walk_by_the_state_that_its_calls_leave(tickets: Dataset, package: Path) -> None:
    packages = {"bfcl": package}
    task = next(
        task
        for task, _ in walked(tickets, package, 30)
        if "create_ticket" in task.calls[0].tool and len(task.turns) == 1
    )
    scorer = scorer_for(task, tickets.catalog, packages)
    assert scorer is not None
    for calls, right in ((task.calls, True), (task.calls[:-1], False)):
        policy = ScriptedPolicy([(call.tool, call.arguments) for call in calls])
        trajectory = run_agent(policy, environment_for(task, tickets.catalog, packages), task)
        assert scorer.score(task, trajectory).correct == right


@pytest.mark.weights
def test_worlds_of_agentdojo_and_tau2_are_walked_without_what_their_tasks_ask_for(agentdojo: Path, tau2: Path) -> None:
    banking, mock = import_agentdojo(agentdojo, "banking"), import_tau2(tau2, "mock")
    (world,) = worlds_of(banking)
    assert world.payload == AgentDojoTask(suite="banking", user_task="") and not world.state
    for home, package in ((banking, agentdojo), (mock, tau2)):
        found = walked(home, package, 12)
        assert len(found) == 12 and all(went_as_walked(*pair) for pair in found)
        assert not any("criteria" in json.dumps(task.to_dict()) for task, _ in found)
        assert scorer_for(found[0][0], home.catalog, {found[0][0].package: package}) is None, (
            "it is no benchmark's task"
        )
