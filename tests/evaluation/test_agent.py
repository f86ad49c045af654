"""Evaluation of agents: tasks are judged by their kind, validity is counted anew, and results keep their records."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from toolgen.agent import (
    Action,
    Budget,
    DryRunEnvironment,
    GenerativePolicy,
    PromptedPolicy,
    ScriptedPolicy,
    ToolResult,
    ground_truth,
)
from toolgen.catalog import Catalog, Tool
from toolgen.checkpoint import Checkpoint
from toolgen.datasets import Call, Dataset, Outcome, Query, Task, Trajectory, Turn, TurnOutcome
from toolgen.datasets.payloads import BfclAnswer, BfclCalls, BfclSystems
from toolgen.datasets.trajectory import Message
from toolgen.decoding import DecodingOptions, Sampling
from toolgen.errors import DatasetError, UsageError
from toolgen.evaluation.agent import AgentEvaluation, agent_tasks, evaluate_agent
from toolgen.evaluation.agent_results import AgentResult
from toolgen.evaluation.metrics import Interval
from toolgen.evaluation.result_files import load_result
from toolgen.evaluation.scorers import scorer_for
from toolgen.evaluation.validity import count_validity
from toolgen.llm.protocol import ChatMessage
from toolgen.testing import tiny_checkpoint

ADD = Tool(
    id="math&&add",
    provider="math",
    name="add",
    parameters={"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
)
NEG = Tool(id="math&&neg", provider="math", name="neg", parameters=ADD.parameters)


def request(number: int, tool: str = ADD.id) -> Task:
    call = Call(tool=tool, arguments={"a": number})
    return Task(
        id=f"q{number}",
        turns=(Turn(text=f"Number {number}", calls=(call,)),),
        payload=BfclCalls(answers=(BfclAnswer(accepted={"a": [number]}),)),
        category="simple",
    )


@pytest.fixture
def dataset() -> Dataset:
    nothing = Query(id="n", text="Sing.", tools=(), calls=(), category="irrelevance")
    return Dataset(
        name="d",
        version="1",
        source="",
        licence="",
        catalog=Catalog([ADD, NEG]),
        queries={"test": (nothing,)},
        tasks={"train": (request(0),), "test": (request(1), request(2), request(3, NEG.id))},
    )


class Adder:
    """Calls `add` with the number of the request, once; then finishes."""

    def act(
        self, messages: Sequence[Message], tools: Sequence[str] | None = None, *, tokens: int | None = None
    ) -> Action:
        if messages[-1]["role"] == "tool":
            return Action(tool="finish", arguments={"answer": "Done."}, tokens=3)
        words = messages[-1]["content"].split()
        return Action(tool=ADD.id, arguments={"a": int(words[1]) if len(words) > 1 else 0}, tokens=5)


def test_each_kind_has_its_own_measures_and_groups(dataset: Dataset) -> None:
    result = evaluate_agent(Adder(), dataset)
    single = result.metrics["single_turn"]
    assert single["all"]["accuracy"].mean == pytest.approx(2 / 3)
    assert single["asked"]["accuracy"] == Interval(mean=1.0, low=1.0, high=1.0, count=2)
    assert single["unasked"]["tool_accuracy"].mean == 0
    assert result.metrics["irrelevance"]["all"]["declined"].mean == 0
    assert result.effort.tokens == 8
    assert "multi_turn" not in result.metrics
    reasons = {record.id: record.score.reason for record in result.records}
    assert reasons == {
        "q1": "",
        "q2": "",
        "q3": "wrong_function math&&add instead of math&&neg",
        "n": "called math&&add",
    }


def test_declining_is_right_only_where_no_tool_fits(dataset: Dataset) -> None:
    result = evaluate_agent(ScriptedPolicy([("no_tool", {})] * 4), dataset)
    assert {record.id: record.score.correct for record in result.records} == {
        "q1": False,
        "q2": False,
        "q3": False,
        "n": True,
    }


def test_requests_whose_label_is_wrong_are_counted_as_the_source_does_and_left_out_beside_it(dataset: Dataset) -> None:
    wrong = Query(id="w", text="Number 4", tools=(), faults=("math&&add does it",))
    both = replace(dataset, queries={"test": (*dataset.queries["test"], wrong)})
    result = evaluate_agent(ScriptedPolicy([("no_tool", {})] * 4 + [(ADD.id, {"a": 4})]), both)
    groups = result.metrics["irrelevance"]
    assert (groups["all"]["declined"].mean, groups["all"]["declined"].count) == (0.5, 2)
    assert (groups["sound"]["declined"].mean, groups["sound"]["declined"].count) == (1.0, 1)
    assert "sound" not in result.metrics["single_turn"]
    assert AgentResult.from_dict(result.to_dict()) == result


def test_what_was_emitted_is_looked_up_and_validated_anew(dataset: Dataset) -> None:
    actions: list[tuple[str, Mapping[str, Any]]] = [
        (ADD.id, {"a": 1}), (ADD.id, {"a": "one"}), ("no&&such", {}), ("finish", {"gave_up": True}),
    ]  # fmt: skip
    calls = [{"function": {"name": name, "arguments": json.dumps(arguments)}} for name, arguments in actions]
    messages = tuple({"role": "assistant", "tool_calls": [call]} for call in calls)
    outcome = Outcome(turns=(TurnOutcome(status="gave_up"),))
    counts = count_validity(Trajectory(id="t", query="q", messages=messages, outcome=outcome), dataset.catalog)
    assert (counts.actions, counts.nonexistent_tools, counts.invalid_arguments) == (4, 1, 2)


def test_a_cut_call_is_no_call_and_counted_apart(dataset: Dataset) -> None:
    cut = Action(tool=ADD.id, stuck="arguments_cut", fault="cut after 9 tokens", tokens=9)
    result = evaluate_agent(ScriptedPolicy([cut, Action(tool="finish", arguments={"answer": "Done."})] * 4), dataset)
    assert (result.validity.cut, result.validity.not_emitted, result.validity.actions) == (4, 4, 4)
    assert [record.score.correct for record in result.records[:3]] == [False] * 3


def test_a_checkpoint_with_any_weights_emits_nothing_illegal(dataset: Dataset) -> None:
    checkpoint = tiny_checkpoint(catalog=dataset.catalog, initializer_range=1.0, max_position_embeddings=2048)
    budget = Budget(steps=3, tokens=300)
    result = evaluate_agent(checkpoint, dataset, AgentEvaluation(budget=budget))
    validity = result.validity
    assert validity.actions > 0
    assert validity.nonexistent_tools == validity.invalid_arguments == 0
    assert validity.unconstrained_no_such_tool is not None and 0 <= validity.unconstrained_no_such_tool <= 1
    assert validity.unconstrained_invalid_arguments is not None and 0 <= validity.unconstrained_invalid_arguments <= 1


def without_seconds(result: AgentResult) -> list[Any]:
    """The records of a result as JSON values. Sums of several sequences round otherwise: the last of a probability's four
    decimals may be another."""
    records = [asdict(record) for record in result.records]
    for record in records:
        outcome = record["trajectory"]["outcome"]
        del outcome["seconds"]
        for diagnostics in filter(None, (decision["diagnostics"] for decision in outcome["decisions"])):
            diagnostics["probability"] = pytest.approx(diagnostics["probability"], abs=2e-4)
    return records


@pytest.fixture(scope="module")
def opinionated() -> Checkpoint:
    catalog = Catalog([ADD, NEG])
    return tiny_checkpoint(catalog=catalog, initializer_range=1.0, max_position_embeddings=2048)


@pytest.mark.parametrize("given_tools", [False, True])
def test_tasks_together_end_as_one_after_another_in_fewer_passes(
    dataset: Dataset, opinionated: Checkpoint, given_tools: bool
) -> None:
    config = AgentEvaluation(given_tools=given_tools, budget=Budget(steps=3, tokens=300))
    passes = 0

    def count(*_: Any) -> None:
        nonlocal passes
        passes += 1

    handle = opinionated.model.base_model.register_forward_pre_hook(count)
    alone = evaluate_agent(opinionated, dataset, config)
    one_by_one, passes = passes, 0
    progress: list[tuple[int, int]] = []
    together = evaluate_agent(
        opinionated, dataset, config, concurrency=3, on_progress=lambda done, total: progress.append((done, total))
    )
    handle.remove()
    assert without_seconds(together) == without_seconds(alone)
    assert passes < one_by_one
    assert progress == [(done, len(alone.records)) for done in range(1, len(alone.records) + 1)]
    assert (alone.provenance.config["concurrency"], together.provenance.config["concurrency"]) == (1, 3)


def test_sampled_tasks_together_are_repeatable_whatever_the_timing(
    dataset: Dataset, opinionated: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = random.Random(0)
    call = DryRunEnvironment.call

    def slow(*arguments: Any) -> ToolResult:
        time.sleep(clock.random() / 50)
        return call(*arguments)

    monkeypatch.setattr(DryRunEnvironment, "call", slow)
    config = AgentEvaluation(budget=Budget(steps=3, tokens=200))

    def run(seed: int) -> list[Any]:
        options = DecodingOptions(argument_tokens=20, sampling=Sampling(temperature=1.5, seed=seed))
        return without_seconds(
            evaluate_agent(GenerativePolicy(opinionated, options=options), dataset, config, concurrency=3)
        )

    assert run(1) == run(1) != run(2)


def test_a_full_context_ends_one_of_the_tasks_together(dataset: Dataset) -> None:
    small = tiny_checkpoint(catalog=dataset.catalog, max_position_embeddings=256)
    long = request(5)
    long = replace(long, turns=(replace(long.turns[0], text="Number 5 " * 200),))
    dataset = replace(dataset, queries={}, tasks={"test": (request(1), long, request(2))})
    config = AgentEvaluation(budget=Budget(steps=2, tokens=40))
    result = evaluate_agent(small, dataset, config, concurrency=3)
    assert result.records[1].trajectory.outcome.status == "token_limit"
    assert without_seconds(result) == without_seconds(evaluate_agent(small, dataset, config))


class Caller:
    """A language model that calls `add` with the number of the request, then ends; it answers when three ask at once."""

    name = "caller"

    def __init__(self, together: int) -> None:
        self.barrier = threading.Barrier(together)

    def write(
        self, prompts: Sequence[Sequence[ChatMessage]], *, max_tokens: int, temperature: float = 0.7, seed: int = 0
    ) -> list[str]:
        self.barrier.wait(timeout=20)
        said = prompts[0][-1]["content"]
        if said.startswith("Result:"):
            return ["Done."]
        return [json.dumps({"name": ADD.id, "arguments": {"a": int(said.split()[1])}})]


def test_tasks_of_a_language_model_run_together_too(dataset: Dataset) -> None:
    config = AgentEvaluation(kinds=("single_turn",))

    def run(together: int) -> AgentResult:
        policy = PromptedPolicy(Caller(together), dataset.catalog, ground_truth)
        return evaluate_agent(policy, dataset, config, concurrency=together)

    assert without_seconds(run(3)) == without_seconds(run(1))


def test_an_error_of_one_task_ends_those_that_run_with_it(dataset: Dataset) -> None:
    def listing(_task: Task | None, _request: str) -> Sequence[str]:
        raise OSError("no network")

    policy = PromptedPolicy(Caller(1), dataset.catalog, listing)
    with pytest.raises(OSError, match="no network"):
        evaluate_agent(policy, dataset, concurrency=2)


def test_a_policy_that_is_the_same_for_all_tasks_runs_them_one_by_one(dataset: Dataset) -> None:
    for together in (0, 2):
        with pytest.raises(UsageError, match=f"cannot carry out {together} tasks"):
            evaluate_agent(Adder(), dataset, concurrency=together)


def test_given_tools_leave_only_the_arguments_to_the_model(dataset: Dataset) -> None:
    checkpoint = tiny_checkpoint(catalog=dataset.catalog, max_position_embeddings=2048)
    config = AgentEvaluation(given_tools=True)
    result = evaluate_agent(checkpoint, dataset, config)
    assert result.metrics["single_turn"]["all"]["tool_accuracy"].mean == 1
    assert "irrelevance" not in result.metrics
    with pytest.raises(UsageError, match="given_tools"):
        evaluate_agent(Adder(), dataset, config)


def test_a_search_undoes_what_failed_and_a_result_has_the_path_and_counts_all(dataset: Dataset) -> None:
    class Hesitant(Adder):
        """Calls with a wrong argument where it was not told of a failure."""

        def act(
            self, messages: Sequence[Message], tools: Sequence[str] | None = None, *, tokens: int | None = None
        ) -> Action:
            if messages[-1]["role"] == "user":
                return Action(tool=ADD.id, arguments={"a": "?"}, tokens=5)
            told = messages[:-1] if messages[-1]["role"] == "system" else messages
            return super().act(told, tools)

    single = AgentEvaluation(kinds=("single_turn",))
    assert evaluate_agent(Hesitant(), dataset, single).metrics["single_turn"]["all"]["accuracy"].mean == 0
    searched = evaluate_agent(Hesitant(), dataset, replace(single, search="dfs"))
    assert searched.metrics["single_turn"]["all"]["accuracy"].mean == pytest.approx(2 / 3)
    assert searched.validity.failed == 3 and searched.validity.invalid_arguments == 0
    assert searched.provenance.config["search"] == "dfs"


def test_what_a_policy_cannot_do_is_refused(dataset: Dataset) -> None:
    with pytest.raises(UsageError, match="leave out retries and given tools"):
        AgentEvaluation(search="dfs", retries=1)
    with pytest.raises(UsageError, match="nothing is asked again; leave out retries"):
        AgentEvaluation(given_tools=True, retries=1)
    with pytest.raises(UsageError, match="by a method attempt"):
        evaluate_agent(Adder(), dataset, AgentEvaluation(retries=1))


def test_a_result_file_keeps_every_trajectory_and_where_it_came_from(dataset: Dataset, tmp_path: Path) -> None:
    evaluate_agent(Adder(), dataset, name="adder").save(tmp_path / "agent.json")
    result = load_result(tmp_path / "agent.json")
    assert isinstance(result, AgentResult)
    assert (result.name, result.split) == ("adder", "test")
    assert result.records[0].trajectory.messages[0]["content"] == "Number 1"
    assert result.provenance.catalog["hash"] == dataset.catalog.content_hash
    assert result.provenance.config["seed"] == 0


def test_a_result_survives_its_file(dataset: Dataset, opinionated: Checkpoint, tmp_path: Path) -> None:
    result = evaluate_agent(opinionated, dataset, AgentEvaluation(budget=Budget(steps=2, tokens=60)))
    result.save(tmp_path / "agent.json")
    loaded = load_result(tmp_path / "agent.json")
    assert isinstance(loaded, AgentResult)
    assert replace(loaded, provenance=result.provenance) == result
    assert loaded.to_dict() == json.loads(json.dumps(result.to_dict()))


def test_only_tasks_of_which_it_is_known_what_is_right_have_a_scorer(dataset: Dataset) -> None:
    def is_judged(task: Task) -> bool:
        return scorer_for(task, dataset.catalog) is not None

    right, decline = request(1), Task.from_query(Query(id="n", text="Sing.", tools=()))
    assert is_judged(right) and is_judged(decline)
    assert not is_judged(Task.from_text("Sing."))
    assert is_judged(replace(right, payload=None))
    assert not is_judged(replace(right, payload=None, turns=right.turns * 2))
    assert not is_judged(replace(right, turns=(Turn(text="Number 1"),)))
    assert not is_judged(replace(right, payload=BfclSystems(classes=("TicketAPI",))))


def test_a_limit_draws_the_same_tasks_with_the_same_seed(dataset: Dataset) -> None:
    def drawn(seed: int) -> list[str]:
        return [task.id for task in agent_tasks(dataset, AgentEvaluation(limit_per_kind=2, seed=seed))]

    assert drawn(0) == drawn(0) and len(drawn(0)) == 3
    assert len({tuple(drawn(seed)) for seed in range(9)}) > 1
    some = AgentEvaluation(limit_per_kind={"single_turn": 1, "irrelevance": 0})
    assert len(agent_tasks(dataset, some)) == 1


def test_progress_and_records_are_reported_as_they_come(dataset: Dataset) -> None:
    progress: list[tuple[int, int]] = []
    seen: list[str] = []
    evaluate_agent(
        Adder(),
        dataset,
        on_progress=lambda done, total: progress.append((done, total)),
        on_record=lambda record: seen.append(record.id),
    )
    assert progress[-1] == (4, 4) and seen == ["q1", "q2", "q3", "n"]


def test_wrong_requests_are_one_clear_error(dataset: Dataset) -> None:
    with pytest.raises(UsageError, match="single_turn, multi_turn, irrelevance"):
        AgentEvaluation(kinds=["one_turn"])
    with pytest.raises(UsageError, match="no split"):
        evaluate_agent(Adder(), dataset, AgentEvaluation(split="exam"))
    with pytest.raises(DatasetError, match="no task"):
        evaluate_agent(Adder(), dataset, AgentEvaluation(split="dev"))


@pytest.mark.weights
def test_tasks_together_in_bfcls_systems_end_as_one_after_another(cached_bfcl: Path) -> None:
    from toolgen.datasets.bfcl import import_bfcl

    dataset = import_bfcl(cached_bfcl)
    checkpoint = tiny_checkpoint(catalog=dataset.catalog, initializer_range=1.0, max_position_embeddings=8192)
    # The more tokens an object may have, the likelier is a tie that rounding decides: with 2,048 the closest two choices are
    # 1e-5 apart, with 128 4e-4.
    agent = GenerativePolicy(checkpoint, options=DecodingOptions(argument_tokens=128))
    config = AgentEvaluation(kinds=["multi_turn"], limit_per_kind=8, given_tools=True, budget=Budget(steps=4))
    alone, together = (
        evaluate_agent(agent, dataset, config, packages={"bfcl": cached_bfcl}, concurrency=count) for count in (1, 4)
    )
    assert sum(record.trajectory.outcome.calls for record in alone.records) > 8
    assert without_seconds(together) == without_seconds(alone)


@pytest.mark.weights
def test_the_ground_truth_of_bfcl_is_judged_right_by_the_whole_evaluation(cached_bfcl: Path) -> None:
    from toolgen.agent import record_trajectories
    from toolgen.datasets.bfcl import import_bfcl
    from toolgen.datasets.messages import actions_of

    dataset = record_trajectories(import_bfcl(cached_bfcl), {"bfcl": cached_bfcl})
    config = AgentEvaluation(budget=Budget(steps=50))
    recorded = {trajectory.query: trajectory for trajectory in dataset.trajectories["test"]}
    script = [
        action
        for task in agent_tasks(dataset, config, {"bfcl": cached_bfcl})
        for message in recorded[task.id].messages
        for action in actions_of(message)
    ]
    result = evaluate_agent(ScriptedPolicy(script), dataset, config, packages={"bfcl": cached_bfcl})
    assert result.metrics["multi_turn"]["all"]["task_success"].mean == 1
    assert result.metrics["irrelevance"]["all"]["declined"].mean == 1
    # One ground truth of the test split leaves out a parameter that its own function requires.
    wrong = [record.id for record in result.records if not record.score.correct]
    assert len(wrong) <= 1
