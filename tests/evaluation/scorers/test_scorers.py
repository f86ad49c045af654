"""Scorers: what each kind of task is judged by, on runs written by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from toolgen.agent.environments.bfcl import SOURCE_FOLDER
from toolgen.catalog import Catalog, Tool
from toolgen.catalog.tool import Definition
from toolgen.datasets import Call, Outcome, Query, Task, Trajectory, Turn, TurnOutcome
from toolgen.datasets.messages import FINISH, NO_TOOL, call_message, user_message
from toolgen.datasets.payloads import BfclAnswer, BfclCalls, BfclSystems
from toolgen.datasets.trajectory import Message, Status
from toolgen.evaluation.scorers import Score, scorer_for

CLOSE = Tool(
    id="TicketAPI&&close",
    provider="TicketAPI",
    name="close",
    parameters={"type": "object", "properties": {"count": {"type": "integer"}}},
    endpoint={"kind": "simulated", "environment": "bfcl", "class": "TicketAPI", "method": "close"},
)
CATALOG = Catalog([CLOSE])
SYSTEM = """
class TicketAPI:
    def _load_scenario(self, scenario, long_context=False):
        self.open = scenario["open"]

    def close(self, count):
        self.open -= count
        return {"open": self.open}
"""


def close(count: int) -> Call:
    return Call(tool=CLOSE.id, arguments={"count": count})


def run(*turns: tuple[Call, ...], status: Status = "finished") -> Trajectory:
    """A run with these calls in each turn, which ends the last one with this status."""
    messages: list[Message] = []
    for calls in turns:
        messages.append(user_message("Go on."))
        messages += [call_message(call.tool, call.arguments, "call_1") for call in calls]
        messages.append(call_message(NO_TOOL if status == "declined" else FINISH, {"answer": "Done."}, "call_2"))
    ends = tuple(TurnOutcome(status=status) for _ in turns)
    return Trajectory(id="t", query="t", messages=tuple(messages), outcome=Outcome(turns=ends))


def score(task: Task, trajectory: Trajectory, **packages: Path) -> Score:
    scorer = scorer_for(task, CATALOG, packages)
    assert scorer is not None
    return scorer.score(task, trajectory)


def test_a_request_that_no_tool_fits_is_right_if_it_is_declined_before_any_call() -> None:
    task = Task.from_query(Query(id="n", text="Sing.", tools=()))
    assert score(task, run((), status="declined")) == Score(correct=True, measures={"declined": 1, "no_call": 1})
    talked = score(task, run((), status="finished"))
    assert (talked.correct, talked.reason, talked.measures["no_call"]) == (False, "finished", 1)
    called = score(task, run((close(1),), status="declined"))
    assert (called.correct, called.reason) == (False, "called TicketAPI&&close")


def test_calls_for_a_request_are_right_in_any_order_and_measured_apart_from_their_tools() -> None:
    answers = tuple(BfclAnswer(accepted={"count": [count]}) for count in (1, 2))
    turn = Turn(text="Close one, then two.", calls=(close(1), close(2)))
    task = Task(id="q", turns=(turn,), payload=BfclCalls(answers=answers))
    assert score(task, run((close(2), close(1)))).correct
    wrong = score(task, run((close(2), close(3)), status="step_limit"))
    assert not wrong.correct and wrong.reason == "no_match nothing matches TicketAPI&&close"
    assert wrong.measures == {
        "accuracy": 0,
        "tool_accuracy": 1,
        "equal_accuracy": 0,
        "equal_tools": 1,
        "first_tool": 1,
        "finished": 0,
    }
    assert score(task, run((close(1),))).measures["tool_accuracy"] == 0


def test_calls_are_judged_by_the_definition_that_the_task_means() -> None:
    own = {"type": "object", "properties": {"many": {"type": "integer"}}, "required": ["many"]}
    call = Call(tool="TicketAPI&&close", arguments={"many": 2})
    task = Task(
        id="q",
        turns=(Turn(text="Close two.", calls=(call,)),),
        payload=BfclCalls(answers=(BfclAnswer(accepted={"many": [2]}),)),
        definitions=(Definition(tool=call.tool, description="Closes.", parameters=own),),
    )
    assert score(task, run((call,))).correct
    assert score(replace(task, definitions=()), run((call,))).reason == "unexpected_parameter many"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / SOURCE_FOLDER
    folder.mkdir(parents=True)
    (folder / "ticket_api.py").write_text(SYSTEM)
    return tmp_path


def test_work_in_a_system_is_judged_by_its_state_after_each_turn(package: Path) -> None:
    task = Task(
        id="m",
        turns=(
            Turn(text="Close two.", calls=(close(2),)),
            Turn(text="And some more.", calls=()),
            Turn(text="One more.", calls=(close(1),)),
        ),
        state={"TicketAPI": {"open": 9}},
        payload=BfclSystems(classes=("TicketAPI",)),
    )
    right = score(task, run((close(2),), (), (close(1),)), bfcl=package)
    assert right.correct and right.measures == {
        "task_success": 1, "turn_success": 1, "turn_state": 1, "turn_required_calls": 1, "abstained": 1,
    }  # fmt: skip
    eager = score(task, run((close(2),), (close(4),), (close(1),)), bfcl=package)
    assert (eager.correct, eager.reason) == (False, "turn 3: wrong_state")
    assert (eager.measures["turn_success"], eager.measures["abstained"]) == (0.5, 0)
    early = score(task, run((close(2),)), bfcl=package)
    assert early.reason == "turn 3: no_call"


def test_a_tool_that_is_equal_in_meaning_counts_apart_from_the_rule_of_bfcl() -> None:
    number = {"type": "integer"}
    gcd, other = (
        Tool(
            id=f"{provider}&&gcd",
            provider=provider,
            name="gcd",
            parameters={"type": "object", "properties": dict.fromkeys(names, number), "required": [*names]},
        )
        for provider, names in (("math", ("num1", "num2")), ("number_theory", ("number1", "number2")))
    )
    task = Task(
        id="q",
        turns=(Turn(text="The GCD of 12 and 18?", calls=(Call(tool=gcd.id, arguments={"num1": 12, "num2": 18}),)),),
        payload=BfclCalls(answers=(BfclAnswer(accepted={"num1": [12], "num2": [18]}),)),
    )
    scorer = scorer_for(task, Catalog([gcd, other]), {})
    assert scorer is not None

    def measures(**arguments: int) -> tuple[float, ...]:
        found = scorer.score(task, run((Call(tool=other.id, arguments=arguments),))).measures
        return tuple(found[name] for name in ("accuracy", "tool_accuracy", "equal_accuracy", "equal_tools"))

    assert measures(number1=12, number2=18) == (0, 0, 1, 1)
    assert measures(number1=12, number2=19) == (0, 0, 0, 1)
    assert measures(number1=12, number3=18) == (0, 0, 0, 0)
