"""Recorded trajectories: the ground truth, really executed, in the form that the loop itself writes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from toolgen.agent import BfclEnvironment, Budget, ScriptedPolicy, ToolResult, record_trajectories, run_agent
from toolgen.agent.recording import answer_from, in_schema_order
from toolgen.catalog import Catalog
from toolgen.datasets import Call, Dataset, Query, Task, Trajectory, Turn
from toolgen.datasets.bfcl import import_bfcl
from toolgen.datasets.messages import actions_of

from .conftest import holding_back

CREATE = "TicketAPI&&create_ticket"


def dataset_of(catalog: Catalog, *requests: Query | Task) -> Dataset:
    queries = tuple(one for one in requests if isinstance(one, Query))
    tasks = tuple(one for one in requests if isinstance(one, Task))
    return Dataset(
        name="d",
        version="1",
        source="",
        licence="",
        catalog=catalog,
        queries={"train": queries},
        tasks={"train": tasks},
    )


def recorded(catalog: Catalog, request: Query | Task, package: Path | None = None) -> Trajectory:
    packages = {"bfcl": package} if package else {}
    return record_trajectories(dataset_of(catalog, request), packages).trajectories["train"][0]


def ends(trajectory: Trajectory) -> list[str]:
    return [turn.status for turn in trajectory.outcome.turns]


def test_a_multi_turn_task_is_executed_turn_by_turn(package: Path, catalog: Catalog, task: Task) -> None:
    trajectory = recorded(catalog, task, package)
    assert (trajectory.id, trajectory.query) == (task.id, task.id)
    actions = [action for message in trajectory.messages for action in actions_of(message)]
    assert [name for name, _ in actions] == [CREATE, "finish", "finish", "TicketAPI&&close_ticket", "finish"]
    assert actions[1][1] == {"answer": "Done. id: 2."}
    assert actions[2][1]["gave_up"] is True
    assert ends(trajectory) == ["finished", "gave_up", "finished"]
    assert trajectory.outcome.tool_errors == 0


def test_a_turn_whose_function_is_held_back_is_declined(package: Path, catalog: Catalog, task: Task) -> None:
    held = holding_back(task, "TicketAPI&&close_ticket", until=2)
    assert ends(recorded(catalog, held, package)) == ["finished", "declined", "finished"]


def test_a_ground_truth_that_fails_is_kept_and_counted(package: Path, catalog: Catalog, task: Task) -> None:
    wrong = Call(tool="TicketAPI&&get_ticket", arguments={"ticket_id": "77"})
    failing = replace(task, turns=tuple(replace(turn, calls=turn.calls and (wrong,)) for turn in task.turns))
    trajectory = recorded(catalog, failing, package)
    assert trajectory.outcome.tool_errors == 2
    assert trajectory.outcome.answer == "The last call failed. error: no such ticket."


def test_single_turn_calls_are_recorded_not_executed(catalog: Catalog) -> None:
    call = Call(tool=CREATE, arguments={"title": "x"})
    task = Task(id="q", turns=(Turn(text="Two.", calls=(call, call)),), system="Be brief.")
    trajectory = recorded(catalog, task)
    roles = [message["role"] for message in trajectory.messages]
    assert roles == ["system", "user", "assistant", "tool", "assistant", "tool", "assistant"]
    assert trajectory.outcome.answer == "The 2 calls were recorded."


def test_a_request_that_no_tool_fits_is_declined(catalog: Catalog) -> None:
    trajectory = recorded(catalog, Query(id="q", text="Sing.", tools=(), calls=()))
    assert list(actions_of(trajectory.messages[-1])) == [("no_tool", {})]
    assert trajectory.outcome.status == "declined"


def test_what_cannot_be_recorded_is_left_out(catalog: Catalog, task: Task) -> None:
    unknown = Query(id="q", text="?", tools=(CREATE,))
    assert record_trajectories(dataset_of(catalog, unknown, task)).trajectories["train"] == ()


def test_arguments_are_written_in_the_order_they_are_decoded_in(package: Path, catalog: Catalog, task: Task) -> None:
    first = next(actions_of(recorded(catalog, task, package).messages[1]))
    assert list(first[1]) == ["title", "priority"]
    schema: dict[str, Any] = {"properties": {"a": {"items": {"properties": {"x": {}, "y": {}}}}, "b": {}}}
    assert json.dumps(in_schema_order({"z": 0, "b": 1, "a": [{"y": 1, "x": 2}]}, schema)) == (
        '{"a": [{"x": 2, "y": 1}], "b": 1, "z": 0}'
    )


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        ('{"result": 4.5}', "Done. result: 4.5."),
        ('{"a": "", "b": "Yes."}', "Done. b: Yes."),
        ('{"a": {"b": 1}}', "Done."),
        ("None", "Done."),
        ('{"text": "' + "x" * 200 + '"}', "Done."),
    ],
)
def test_answers_repeat_short_flat_results_only(content: str, answer: str) -> None:
    assert answer_from(ToolResult(content=content)) == answer


@pytest.mark.weights
def test_every_recorded_bfcl_task_replays_to_the_same_messages(cached_bfcl: Path) -> None:
    dataset = record_trajectories(import_bfcl(cached_bfcl), {"bfcl": cached_bfcl})
    tasks = {task.id: task for split in dataset.queries for task in dataset.all_tasks(split)}
    trajectories = [trajectory for found in dataset.trajectories.values() for trajectory in found]
    environment = BfclEnvironment(cached_bfcl, dataset.catalog)
    assert len(trajectories) == len(tasks) == 4275
    assert sum(trajectory.outcome.tool_errors for trajectory in trajectories) == 0
    for trajectory in trajectories:
        task = tasks[trajectory.query]
        if task.kind == "multi_turn":
            script = [action for message in trajectory.messages for action in actions_of(message)]
            again = run_agent(ScriptedPolicy(script), environment, task, budget=Budget(steps=50))
            assert again.messages == trajectory.messages
