"""Rewards: what each part sees, and that what only looks like work earns nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from toolgen.datasets.messages import call_message, result_message, user_message
from toolgen.datasets.payloads import BfclAnswer, BfclCalls
from toolgen.datasets.query import Call
from toolgen.datasets.task import Task, Turn
from toolgen.datasets.trajectory import Message, Outcome, Status, Trajectory, TurnOutcome
from toolgen.evaluation.scorers import Score
from toolgen.evaluation.scorers.abstention import AbstentionScorer
from toolgen.evaluation.scorers.calls import CallsScorer
from toolgen.reinforcement.config import REWARD
from toolgen.reinforcement.rewards import PARTS, Attempt, Reward, alike, reward

Calls = Sequence[tuple[str, Mapping[str, Any]]]

MAIL = ("mail", {"to": "Ada Lovelace", "body": "See you at noon on Friday", "copies": 2})
TASK = Task(id="t", turns=(Turn(text="Write to Ada", calls=(Call(tool=MAIL[0], arguments=MAIL[1]),)),))
NOTHING = Task(id="n", turns=(Turn(text="Paint a cow", calls=()),))


def attempt(task: Task, *turns: Calls, ends: Status = "finished") -> Attempt:
    """What calls in each turn, each followed by its end, come to."""
    messages: list[Message] = []
    for turn, calls in zip(task.turns, turns, strict=False):
        messages.append(user_message(turn.text))
        for place, (tool, arguments) in enumerate(calls):
            messages += [call_message(tool, arguments, str(place)), result_message(str(place), "ok")]
    outcomes = tuple(TurnOutcome(status=ends, steps=len(calls) + (ends != "step_limit")) for calls in turns)
    made = Trajectory(id="r", query=task.id, messages=tuple(messages), outcome=Outcome(turns=outcomes))
    scorer = AbstentionScorer() if task.no_tool_fits else CallsScorer()
    score = scorer.score(task, made) if len(task.turns) == 1 else Score(correct=False)
    return Attempt(task=task, trajectory=made, score=score)


def earned(task: Task, *turns: Calls, ends: Status = "finished") -> Reward:
    return reward(attempt(task, *turns, ends=ends), REWARD)


def test_what_is_right_earns_the_most_there_is() -> None:
    for found in (earned(TASK, [MAIL]), earned(NOTHING, [], ends="declined")):
        assert found.share == 1
        assert found.parts == {"success": 1, "tools": 1, "arguments": 1, "declining": 1, "steps": 0}
        assert found.total == sum(weight for name, weight in REWARD.items() if name != "steps")


HACKS: Mapping[str, tuple[Calls, Status]] = {
    "the call again": ([MAIL, MAIL], "finished"),
    "the call until the limit": ([MAIL] * 6, "step_limit"),
    "every tool once": ([MAIL, ("search", {}), ("delete", {}), ("list", {})], "finished"),
    "empty arguments": ([("mail", {})], "finished"),
    "longer texts": ([("mail", {**MAIL[1], "body": "See you at noon on Friday " * 8})], "finished"),
    "all words in every text": (
        [("mail", dict.fromkeys(MAIL[1], "See you at noon on Friday Ada Lovelace 2"))],
        "finished",
    ),
    "further arguments": ([("mail", {**MAIL[1], "cc": "Ada Lovelace", "subject": "Friday"})], "finished"),
    "finishing at once": ([], "finished"),
    "giving up at once": ([], "gave_up"),
    "declining what a tool fits": ([], "declined"),
}


@pytest.mark.parametrize("hack", HACKS)
def test_what_only_looks_like_work_earns_less_than_the_work(hack: str) -> None:
    calls, ends = HACKS[hack]
    found, honest = earned(TASK, calls, ends=ends), earned(TASK, [MAIL])
    assert found.total < honest.total - 0.2
    assert found.parts["success"] == 0
    if hack.endswith("at once") or hack.startswith("declining"):
        assert found.total == 0 <= earned(TASK, [("search", {})]).total, "no better than to try"


def test_a_call_too_many_takes_more_than_it_can_bring() -> None:
    """Whatever was done before, to repeat a call or to add one without arguments never pays."""
    for calls in ([], [MAIL], [("mail", {"to": "Ada"})], [("search", {"words": "Ada"})]):
        for more in (*calls, ("search", {}), ("delete", {"all": True})):
            if calls:
                assert earned(TASK, [*calls, more]).total < earned(TASK, calls).total


def test_each_step_towards_the_right_call_earns_more() -> None:
    nothing: Calls = []
    ladder = [
        nothing,
        [("search", {"words": "Ada"})],
        [("mail", {"to": "Bob"})],
        [("mail", {"to": "Ada Lovelace"})],
        [("mail", {**MAIL[1], "copies": 3})],
        [("mail", {**MAIL[1], "body": "at noon"})],
        [MAIL],
    ]
    totals = [earned(TASK, calls).total for calls in ladder]
    assert totals == sorted(totals) and len({*totals}) == len(totals)


@pytest.mark.parametrize("ends", ["finished", "gave_up", "step_limit"])
def test_to_call_where_nothing_fits_earns_less_than_any_end_without_a_call(ends: Status) -> None:
    assert earned(NOTHING, [MAIL], ends=ends).total < earned(NOTHING, [], ends=ends).total
    assert earned(NOTHING, [], ends=ends).total < earned(NOTHING, [], ends="declined").total


def test_where_a_tool_fits_only_the_weight_of_declining_puts_a_wrong_call_before_declining() -> None:
    wrong, declined = earned(TASK, [("search", {})]), earned(TASK, [], ends="declined")
    assert wrong.total - declined.total == pytest.approx(REWARD["declining"])
    assert declined.total == 0 and earned(NOTHING, [], ends="declined").share == 1


def test_calls_count_in_the_turn_that_asks_for_them() -> None:
    turns = tuple(Turn(text=name, calls=(Call(tool=name, arguments={}),)) for name in ("open", "close"))
    task = Task(id="two", turns=(*turns, Turn(text="more", calls=())))
    right = attempt(task, [("open", {})], [("close", {})], [])
    swapped = attempt(task, [("close", {})], [("open", {})], [])
    early = attempt(task, [("open", {}), ("close", {})], ends="step_limit")
    parts = [{name: part(one) for name, part in PARTS.items()} for one in (right, swapped, early)]
    assert [one["tools"] for one in parts] == [1, 0, pytest.approx(1 / 3)]
    assert [one["arguments"] for one in parts] == [1, 0, pytest.approx(1 / 3)]
    assert [one["declining"] for one in parts] == [1, 1, pytest.approx(2 / 3)]


def test_any_value_that_bfcl_accepts_is_right_and_an_optional_one_may_be_left_out() -> None:
    payload = BfclCalls(answers=(BfclAnswer(accepted={"city": ["New York", "NYC"], "unit": ["", "km"]}),))
    call = Call(tool="find", arguments={"city": "New York"})
    task = Task(id="b", turns=(Turn(text="Find it", calls=(call,)),), payload=payload)
    shares = [
        PARTS["arguments"](attempt(task, [("find", arguments)]))
        for arguments in (
            {"city": "NYC"},
            {"city": "New York", "unit": "km"},
            {"unit": "km"},
            {"city": "NYC", "unit": "m"},
        )
    ]
    assert shares == [1, 1, 0.5, 0.5]


@pytest.mark.parametrize(
    ("value", "wanted", "share"),
    [
        ("New York", "new york", 1),
        ("York", "New York", 2 / 3),
        ("", "", 1),
        ("?", "!", 0),
        (2, 2.0, 1),
        (2, 3, 0),
        (True, 1, 0),
        ("2", 2, 0),
        (None, None, 1),
        ([1, 2], [1, 2, 3, 4], 0.5),
        ([], [], 1),
        ([], [1], 0),
        ({"a": 1, "b": 2}, {"a": 1}, 0.5),
        ({"a": 1}, {"a": [1, 2]}, 1),
    ],
)
def test_values_are_alike_by_words_parts_or_equality(value: Any, wanted: Any, share: float) -> None:
    assert alike(value, wanted) == pytest.approx(share)
