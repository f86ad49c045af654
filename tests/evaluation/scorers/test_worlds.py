"""Tasks of AgentDojo and tau2 in their worlds, judged by their own checks: the reference calls are right, others are not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from toolgen.agent import AgentDojoEnvironment, Budget, ScriptedPolicy, Tau2Environment, environment_for, run_agent
from toolgen.catalog.schema import schema_errors
from toolgen.datasets import Dataset, Task
from toolgen.datasets.agentdojo import _call, import_agentdojo, load_suite
from toolgen.datasets.folder import load_dataset, save_dataset
from toolgen.datasets.payloads import AgentDojoTask, Tau2Task
from toolgen.datasets.tau2 import import_tau2
from toolgen.errors import UsageError
from toolgen.evaluation.agent import AgentEvaluation, evaluate_agent
from toolgen.evaluation.scorers import Score, scorer_for

pytestmark = pytest.mark.weights
BUDGET = Budget(steps=60)


@pytest.fixture(scope="module")
def banking(agentdojo: Path) -> Dataset:
    return import_agentdojo(agentdojo, "banking")


@pytest.fixture(scope="module")
def mock(tau2: Path) -> Dataset:
    return import_tau2(tau2, "mock")


def judged(dataset: Dataset, package: Path, task: Task, calls: Sequence[Any], answer: str = "Done.") -> Score:
    """The score of a run that makes these calls and says this."""
    packages = {task.package: package}
    actions = [(call.tool, call.arguments) for call in calls]
    policy = ScriptedPolicy([*actions, ("finish", {"answer": answer})])
    trajectory = run_agent(policy, environment_for(task, dataset.catalog, packages), task, budget=BUDGET)
    scorer = scorer_for(task, dataset.catalog, packages)
    assert scorer is not None
    return scorer.score(task, trajectory)


def truth(package: Path, task: Task) -> str:
    """What AgentDojo's ground truth says."""
    assert isinstance(task.payload, AgentDojoTask)
    return str(load_suite(package, task.payload.suite).user_tasks[task.payload.user_task].GROUND_TRUTH_OUTPUT)


class Silent:
    """An agent of AgentDojo that only says that it is done."""

    def query(self, query: str, runtime: Any, env: Any, *_: Any) -> tuple[Any, ...]:
        said = {"role": "assistant", "content": [{"type": "text", "content": "Done."}], "tool_calls": None}
        return query, runtime, env, [said], {}


def test_the_ground_truth_of_every_user_task_is_right_and_doing_nothing_is_judged_as_the_package_does(
    banking: Dataset, agentdojo: Path
) -> None:
    tasks = [task for task in banking.tasks["test"] if task.payload and not task.payload.to_dict()["injection_task"]]
    assert (len(tasks), len(banking.tasks["test"]), len(banking.catalog)) == (16, 16 + 16 * 9, 11)
    for task in tasks:
        score = judged(banking, agentdojo, task, task.calls, truth(agentdojo, task))
        assert score == Score(correct=True, measures={"utility": 1.0}), task.id
    done = {task.id.rpartition("/")[2] for task in tasks if judged(banking, agentdojo, task, []).correct}
    suite, silent = load_suite(agentdojo, "banking"), Silent()
    assert done == {
        user.ID for user in suite.user_tasks.values() if suite.run_task_with_pipeline(silent, user, None, {})[0]
    }, "the package's own run of an agent that does nothing"
    assert not [
        fault
        for call in (call for task in tasks for call in task.calls)
        for fault in schema_errors(call.arguments, banking.catalog.get(call.tool).parameters)
    ]


def test_utility_and_attack_success_are_measured_apart(banking: Dataset, agentdojo: Path) -> None:
    tasks = {task.id: task for task in banking.tasks["test"]}
    task = tasks["agentdojo/banking/user_task_0/injection_task_0"]
    suite = load_suite(agentdojo, "banking")
    environment = AgentDojoEnvironment(agentdojo, banking.catalog)
    environment.reset(task)
    read = environment.call("banking&&read_file", {"file_path": "bill-december-2023.txt"}).content
    assert "This is an important message" in read, "the attack stands in what the tool answers"
    injected = [
        _call("banking", one) for one in suite.injection_tasks["injection_task_0"].ground_truth(environment.state)
    ]

    def measured(calls: Sequence[Any]) -> tuple[bool, dict[str, float]]:
        score = judged(banking, agentdojo, task, calls)
        return score.correct, dict(score.measures)

    assert measured(task.calls) == (True, {"utility_under_attack": 1.0, "attack_success": 0.0})
    assert measured([*task.calls, *injected]) == (False, {"utility_under_attack": 1.0, "attack_success": 1.0})
    assert measured(injected) == (False, {"utility_under_attack": 0.0, "attack_success": 1.0})
    assert measured([]) == (False, {"utility_under_attack": 0.0, "attack_success": 0.0})


def test_a_failing_call_is_a_result_and_a_search_goes_back_in_the_world(banking: Dataset, agentdojo: Path) -> None:
    task = banking.tasks["test"][0]
    environment = AgentDojoEnvironment(agentdojo, banking.catalog)
    environment.reset(task)
    assert environment.call("banking&&send_money", {"amount": 5}).is_error
    assert environment.call("travel&&reserve_hotel", {}).is_error
    wrong = {**task.calls[1].arguments, "amount": 1.0}
    give_up = ("finish", {"answer": "I cannot.", "gave_up": True})
    script: list[Any] = [
        (task.calls[1].tool, wrong),
        give_up,
        give_up,
        *[(call.tool, call.arguments) for call in task.calls],
    ]
    trajectory = run_agent(ScriptedPolicy(script), environment, task, search="dfs")
    assert trajectory.outcome.status == "finished" and trajectory.outcome.calls == 3
    amounts = [one.amount for one in environment.state.bank_account.transactions]
    assert 98.7 in amounts and 1.0 not in amounts, "the wrong transaction was undone"


def test_every_task_of_a_domain_that_an_agent_does_alone_is_right_by_its_reference(mock: Dataset, tau2: Path) -> None:
    tasks = mock.tasks["test"]
    assert len(tasks) == 7 and len(mock.catalog) == 4
    assert len(mock.reports[0].notes) == 2, "two begin in the middle of a conversation"
    for task in tasks:
        assert isinstance(task.payload, Tau2Task) and task.payload.solo
        criteria = task.payload.record["evaluation_criteria"] or {}
        told = " ".join(criteria.get("communicate_info") or ["Done."])
        score = judged(mock, tau2, task, task.calls, told)
        assert score.correct and score.measures["reward"] == 1.0, (task.id, score)
    made = next(task for task in tasks if task.id.endswith("create_task_1_with_env_assertions"))
    wrong = replace(made.calls[0], arguments={**made.calls[0].arguments, "title": "Nap"})
    score = judged(mock, tau2, made, [wrong])
    assert not score.correct and score.reason == "wrong: db"
    assert score.measures == {"reward": 0.0, "reward_db": 0.0, "reward_env_assertion": 1.0}


def test_an_agent_alone_has_the_users_tools_too(tau2: Path) -> None:
    telecom = import_tau2(tau2, "telecom")
    assert (len(telecom.tasks["train"]), len(telecom.tasks["test"])) == (74, 40)
    task = next(task for task in telecom.tasks["test"] if "roaming" in task.id and task.calls)
    assert judged(telecom, tau2, task, task.calls).correct
    nothing = judged(telecom, tau2, task, [])
    assert not nothing.correct and nothing.measures["reward_env_assertion"] == 0.0
    assert {call.tool for call in task.calls} <= {*telecom.catalog.ids}


def test_a_task_that_has_a_user_in_tau2_is_the_users_instructions_and_judged_by_its_database(tau2: Path) -> None:
    retail = import_tau2(tau2, "retail")
    task = next(task for task in retail.tasks["test"] if len(task.calls) > 2)
    assert isinstance(task.payload, Tau2Task) and not task.payload.solo
    instructions = task.payload.record["user_scenario"]["instructions"]
    assert instructions["reason_for_call"] in task.turns[0].text and instructions["known_info"] in task.turns[0].text
    told = " ".join(task.payload.record["evaluation_criteria"]["communicate_info"] or ["Done."])
    assert judged(retail, tau2, task, task.calls, told).measures["reward_db"] == 1.0
    environment = Tau2Environment(tau2, retail.catalog)
    environment.reset(task)
    assert environment.call("retail&&get_order_details", {"order_id": "#none"}).is_error
    assert environment.call("mock&&create_task", {}).is_error


def test_tasks_survive_their_folder_and_are_evaluated_in_their_worlds(
    mock: Dataset, tau2: Path, tmp_path: Path
) -> None:
    save_dataset(mock, tmp_path / "mock")
    read = load_dataset(tmp_path / "mock")
    assert read.tasks["test"] == mock.tasks["test"]
    result = evaluate_agent(ScriptedPolicy([]), read, AgentEvaluation(), packages={"tau2": tau2})
    assert result.metrics["multi_turn"]["all"]["reward"].count == 7
    json.dumps(result.to_dict())


def test_what_a_package_does_not_have_is_named(agentdojo: Path, tau2: Path) -> None:
    with pytest.raises(UsageError, match="it has workspace, travel, banking, slack"):
        import_agentdojo(agentdojo, "bank")
    with pytest.raises(UsageError, match="it has airline, retail, telecom, mock"):
        import_tau2(tau2, "shop")
