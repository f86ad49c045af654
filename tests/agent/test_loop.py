"""The loop: every way a task can end is an outcome that the trajectory records."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from toolgen.agent import (
    Action,
    AgentEvent,
    BfclEnvironment,
    Budget,
    DryRunEnvironment,
    ScriptedPolicy,
    ToolResult,
    run_agent,
)
from toolgen.catalog import Catalog
from toolgen.datasets import Task
from toolgen.datasets.messages import actions_of, calls_by_turn
from toolgen.datasets.trajectory import Message
from toolgen.errors import UsageError

from .conftest import holding_back

CREATE = "TicketAPI&&create_ticket"
TASK = Task.from_text("Open a ticket.")


class Recording:
    """A policy that notes what it was offered."""

    def __init__(self, actions: Sequence[Action]) -> None:
        self.policy = ScriptedPolicy(actions)
        self.offered: list[Sequence[str] | None] = []
        self.allowed: list[int | None] = []

    def act(
        self, messages: Sequence[Message], tools: Sequence[str] | None = None, *, tokens: int | None = None
    ) -> Action:
        self.offered.append(tools)
        self.allowed.append(tokens)
        return self.policy.act(messages, tools)


class Slow(DryRunEnvironment):
    """Answers nothing in time."""

    def call(self, tool_id: str, arguments: Mapping[str, Any], *, within: float = 60) -> ToolResult:
        return ToolResult(content="?", status="timeout")


def test_messages_are_openai_chat_messages_with_one_call_each(catalog: Catalog) -> None:
    policy = ScriptedPolicy([Action(tool=CREATE, arguments={"title": "rain"}, thought="First the ticket.")])
    messages = run_agent(policy, DryRunEnvironment(catalog), TASK).messages
    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "assistant"]
    assert messages[1]["content"] == "First the ticket."
    assert messages[1]["tool_calls"] == [
        {"id": "call_1", "type": "function", "function": {"name": CREATE, "arguments": '{"title": "rain"}'}}
    ]
    assert messages[2] == {"role": "tool", "tool_call_id": "call_1", "content": '{"status": "recorded"}'}
    assert messages[3]["tool_calls"][0]["function"]["name"] == "finish"
    json.dumps(messages)


@pytest.mark.parametrize(
    ("actions", "status"),
    [
        ([], "finished"),
        ([("finish", {"answer": "I cannot.", "gave_up": True})], "gave_up"),
        ([("no_tool", {})], "declined"),
        ([(CREATE, {"title": "x"})] * 9, "step_limit"),
        ([Action(tool=CREATE, arguments={"title": "x"}, tokens=600)] * 9, "token_limit"),
        ([Action(tool="", stuck="context_full")], "token_limit"),
        ([Action(tool=CREATE, stuck="arguments_cut", tokens=600)] * 9, "token_limit"),
        ([Action(tool=CREATE, stuck="arguments_cut")] * 9, "step_limit"),
        ([Action(tool=CREATE, stuck="invalid_arguments")], "finished"),
    ],
)
def test_every_ending_has_its_status(catalog: Catalog, actions: list[Any], status: str) -> None:
    budget = Budget(steps=4, tokens=1000)
    trajectory = run_agent(ScriptedPolicy(actions), DryRunEnvironment(catalog), TASK, budget=budget)
    assert trajectory.outcome.status == status
    assert trajectory.outcome.turns[-1].status == status


def test_time_is_a_budget_too(catalog: Catalog) -> None:
    def wait(_event: AgentEvent) -> None:
        time.sleep(0.02)

    policy = ScriptedPolicy([(CREATE, {"title": "x"})] * 9)
    trajectory = run_agent(policy, DryRunEnvironment(catalog), TASK, budget=Budget(seconds=0.1), on_event=wait)
    assert trajectory.outcome.status == "time_limit"
    assert 0 < trajectory.outcome.calls < 5


@pytest.mark.parametrize(
    ("action", "told"),
    [
        (
            Action(tool=CREATE, stuck="arguments_cut", fault="cut after 2,048 tokens"),
            f"The call of {CREATE} was not carried out: its arguments were cut after 2,048 tokens. Write shorter arguments.",
        ),
        (
            Action(tool=CREATE, stuck="invalid_arguments", fault="5 is not a string"),
            f"The call of {CREATE} was not carried out: its arguments are not valid (5 is not a string).",
        ),
    ],
)
def test_a_call_that_was_not_completed_is_never_carried_out_and_the_model_is_told(
    catalog: Catalog, action: Action, told: str
) -> None:
    environment = DryRunEnvironment(catalog)
    events: list[AgentEvent] = []
    policy = ScriptedPolicy([action, (CREATE, {"title": "x"})])
    trajectory = run_agent(policy, environment, TASK, on_event=events.append)
    assert [call.arguments for call in environment.calls] == [{"title": "x"}]
    assert trajectory.messages[1] == {"role": "system", "content": told}
    assert [message["role"] for message in trajectory.messages] == ["user", "system", "assistant", "tool", "assistant"]
    assert [decision.stuck for decision in trajectory.outcome.decisions] == [action.stuck, "", ""]
    assert events[1].action == action and events[2].kind == "action"
    assert trajectory.outcome.calls == 1


def test_the_policy_knows_how_many_tokens_are_left(catalog: Catalog) -> None:
    policy = Recording([Action(tool=CREATE, arguments={"title": "x"}, tokens=30)])
    run_agent(policy, DryRunEnvironment(catalog), TASK, budget=Budget(tokens=100))
    assert policy.allowed == [100, 70]


def test_tool_errors_and_timeouts_are_counted_and_the_task_goes_on(catalog: Catalog) -> None:
    wrong = ScriptedPolicy([("no&&tool", {}), (CREATE, {"title": 5})])
    outcome = run_agent(wrong, DryRunEnvironment(catalog), TASK).outcome
    assert (outcome.status, outcome.calls, outcome.tool_errors) == ("finished", 2, 2)
    outcome = run_agent(ScriptedPolicy([(CREATE, {})]), Slow(catalog), TASK).outcome
    assert (outcome.status, outcome.timeouts) == ("finished", 1)


def test_turns_of_the_user_are_fed_one_after_another_and_state_is_kept(
    package: Path, catalog: Catalog, task: Task
) -> None:
    environment = BfclEnvironment(package, catalog)
    policy = ScriptedPolicy(
        [
            (CREATE, {"title": "rain"}),
            ("finish", {"answer": "Opened."}),
            ("finish", {"answer": "Which one?", "gave_up": True}),
            ("TicketAPI&&titles", {}),
        ]
    )
    trajectory = run_agent(policy, environment, task)
    users = [message["content"] for message in trajectory.messages if message["role"] == "user"]
    assert users == [turn.text for turn in task.turns]
    assert [turn.status for turn in trajectory.outcome.turns] == ["finished", "gave_up", "finished"]
    assert [len(turn) for turn in calls_by_turn(trajectory.messages)] == [1, 0, 1]
    assert trajectory.messages[-2]["content"] == "['old', 'rain']"


def test_a_limit_ends_the_task_and_later_turns_are_not_begun(package: Path, catalog: Catalog, task: Task) -> None:
    policy = ScriptedPolicy([(CREATE, {"title": "x"})] * 9)
    trajectory = run_agent(policy, BfclEnvironment(package, catalog), task, budget=Budget(steps=2))
    assert [turn.status for turn in trajectory.outcome.turns] == ["step_limit"]


def test_the_policy_is_offered_what_the_environment_can_execute_now(
    package: Path, catalog: Catalog, task: Task
) -> None:
    held = holding_back(task, "TicketAPI&&titles", until=1)
    policy = Recording([])
    run_agent(policy, BfclEnvironment(package, catalog), held)
    assert [len(tools or ()) for tools in policy.offered] == [3, 4, 4]
    free = Recording([])
    run_agent(free, BfclEnvironment(package, catalog), held, restrict=False)
    assert free.offered == [None, None, None]


def test_a_system_message_comes_first(catalog: Catalog) -> None:
    task = replace(TASK, system=" Today is Friday. \n")
    messages = run_agent(ScriptedPolicy([]), DryRunEnvironment(catalog), task).messages
    assert messages[0] == {"role": "system", "content": "Today is Friday."}


def test_calls_of_one_step_are_one_message_before_their_results(catalog: Catalog) -> None:
    calls = [Action(tool=CREATE, arguments={"title": title}, thought="Two.") for title in "ab"]
    policy = ScriptedPolicy([replace(calls[0], parallel=(calls[1],))])
    messages = run_agent(policy, DryRunEnvironment(catalog), TASK).messages
    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "tool", "assistant"]
    assert [given for _, given in actions_of(messages[1])] == [{"title": "a"}, {"title": "b"}]
    assert messages[1]["content"] == "Two."
    assert [call["id"] for call in messages[1]["tool_calls"]] == [one["tool_call_id"] for one in messages[2:4]]


def test_events_tell_what_happens_as_it_happens(catalog: Catalog) -> None:
    events: list[AgentEvent] = []
    run_agent(ScriptedPolicy([(CREATE, {"title": "x"})]), DryRunEnvironment(catalog), TASK, on_event=events.append)
    assert [event.kind for event in events] == ["user", "action", "begin", "result", "action", "end"]
    assert events[3].result is not None and events[3].result.content == '{"status": "recorded"}'
    assert events[-1].text == "finished"


def test_long_results_are_cut_in_the_messages(catalog: Catalog) -> None:
    trajectory = run_agent(ScriptedPolicy([(CREATE, {"title": "x"})]), DryRunEnvironment(catalog), TASK, result_limit=5)
    assert trajectory.messages[2]["content"] == '{"sta... [cut: 17 more characters]'


def test_a_budget_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="above zero"):
        Budget(steps=0)
