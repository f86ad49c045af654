"""Recorded trajectories: the ground truth, really executed, in the form that the loop itself writes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from toolgen.agent import BfclEnvironment, Budget, ScriptedPolicy, record_trajectories, run_agent
from toolgen.agent.recording import in_schema_order
from toolgen.catalog import Catalog, Tool
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
    assert "id 2" in actions[1][1]["answer"].lower()
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
    assert trajectory.outcome.answer == "The last call failed. error no such ticket."


def two_calls(catalog: Catalog, number: int) -> Trajectory:
    calls = tuple(Call(tool=CREATE, arguments={"title": title}) for title in ("x", "y"))
    task = Task(id=f"q{number}", turns=(Turn(text="Two.", calls=calls),), system="Be brief.")
    return recorded(catalog, task)


def test_the_calls_of_one_request_stand_in_one_message_before_their_results(catalog: Catalog) -> None:
    messages = two_calls(catalog, 0).messages
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "tool", "tool", "assistant"]
    assert [arguments for _, arguments in actions_of(messages[2])] == [{"title": "x"}, {"title": "y"}]
    names = [call["id"] for call in messages[2]["tool_calls"]]
    assert names == [message["tool_call_id"] for message in messages[3:5]] and len({*names}) == 2


def test_most_results_are_made_up_and_answers_repeat_them_the_rest_are_a_dry_runs(catalog: Catalog) -> None:
    dry = 0
    for number in range(100):
        trajectory = two_calls(catalog, number)
        answer, results = trajectory.outcome.answer, [json.loads(one["content"]) for one in trajectory.messages[3:5]]
        assert answer is not None and trajectory == two_calls(catalog, number)
        if trajectory.outcome.environment == "dry-run":
            dry += 1
            assert results == [{"status": "recorded"}] * 2 and answer == "The 2 calls were recorded."
        else:
            assert trajectory.outcome.environment == "simulated" and "simulated" not in results[0]
            assert all(str(one["id"]) in answer for one in results), "what create_ticket comes back with has an id"
    assert 2 <= dry <= 20


def test_a_result_follows_the_response_schema_of_a_tool_that_has_one() -> None:
    returns = {"type": "object", "properties": {"sky": {"enum": ["clear"]}}, "required": ["sky"]}
    catalog = Catalog([Tool(id="w", provider="", name="w", returns=returns)])
    query = Query(id="q", text="Look up.", tools=("w",), calls=(Call(tool="w", arguments={}),))
    trajectory = recorded(catalog, query)
    assert json.loads(trajectory.messages[2]["content"]) == {"sky": "clear"}
    assert "sky clear" in (trajectory.outcome.answer or "").lower()


def test_a_turn_that_lacks_a_value_asks_for_it_by_its_name(catalog: Catalog) -> None:
    call = Call(tool=CREATE, arguments={"title": "Broken lamp"})
    turns = (Turn(text="Open a ticket.", calls=()), Turn(text="It is a broken lamp.", calls=(call,)))
    trajectory = recorded(catalog, Task(id="q", turns=turns))
    assert trajectory.outcome.turns[0].answer == "Please tell me the title."
    assert ends(trajectory) == ["gave_up", "finished"]


def test_a_request_that_no_tool_fits_is_declined(catalog: Catalog) -> None:
    trajectory = recorded(catalog, Query(id="q", text="Sing.", tools=(), calls=()))
    assert list(actions_of(trajectory.messages[-1])) == [("no_tool", {})]
    assert trajectory.outcome.status == "declined"


def test_what_cannot_be_recorded_is_left_out(catalog: Catalog, task: Task) -> None:
    unknown = Query(id="q", text="?", tools=(CREATE,))
    assert record_trajectories(dataset_of(catalog, unknown, task)).trajectories["train"] == ()


def test_what_is_there_is_kept_if_asked_for(package: Path, catalog: Catalog, task: Task) -> None:
    known = Query(id="q", text="Open a ticket.", tools=(CREATE,), calls=(Call(tool=CREATE, arguments={"title": "t"}),))
    own = replace(recorded(catalog, known), id="its own")
    dataset = replace(dataset_of(catalog, task, known), trajectories={"train": (own,)})
    completed = record_trajectories(dataset, {"bfcl": package}, keep=True).trajectories["train"]
    assert [one.id for one in completed] == ["its own", task.id]
    assert [one.id for one in record_trajectories(dataset, {"bfcl": package}).trajectories["train"]] == [task.id, "q"]


def test_arguments_are_written_in_the_order_they_are_decoded_in(package: Path, catalog: Catalog, task: Task) -> None:
    first = next(actions_of(recorded(catalog, task, package).messages[1]))
    assert list(first[1]) == ["title", "priority"]
    schema: dict[str, Any] = {"properties": {"a": {"items": {"properties": {"x": {}, "y": {}}}}, "b": {}}}
    assert json.dumps(in_schema_order({"z": 0, "b": 1, "a": [{"y": 1, "x": 2}]}, schema)) == (
        '{"a": [{"x": 2, "y": 1}], "b": 1, "z": 0}'
    )


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
