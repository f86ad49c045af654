"""Depth-first search: what fails is undone in messages and state, every branch is told, and the path is marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from toolgen.agent import (
    Action,
    AgentEvent,
    BfclEnvironment,
    Budget,
    ComposedEnvironment,
    DryRunEnvironment,
    Environment,
    PythonEnvironment,
    RecordedEnvironment,
    RunRecorder,
    ScriptedPolicy,
    SimulatedEnvironment,
    ToolResult,
    read_run,
    run_agent,
    unfinished,
)
from toolgen.catalog import Catalog
from toolgen.datasets import Call, Task
from toolgen.datasets.messages import actions_of, calls_by_turn
from toolgen.datasets.trajectory import Message
from toolgen.errors import UsageError

CREATE, CLOSE, GET, TITLES = (
    f"TicketAPI&&{name}" for name in ("create_ticket", "close_ticket", "get_ticket", "titles")
)
GIVE_UP = ("finish", {"answer": "I cannot.", "gave_up": True})
TASK = Task.from_text("Open a ticket.")


class Reading(ScriptedPolicy):
    """A script that notes what it read and with which temperature it drew."""

    def __init__(self, actions: Sequence[Any]) -> None:
        super().__init__(actions)
        self.read: list[list[Message]] = []
        self.attempts: list[int] = []

    def attempt(self, number: int, temperature: float) -> Reading:
        self.attempts.append(number)
        return self

    def act(
        self, messages: Sequence[Message], tools: Sequence[str] | None = None, *, tokens: int | None = None
    ) -> Action:
        self.read.append([*messages])
        return super().act(messages, tools, tokens=tokens)


def test_a_call_that_fails_is_undone_and_another_asked_for(catalog: Catalog) -> None:
    environment = DryRunEnvironment(catalog)
    policy = Reading([(CREATE, {"title": "a"}), (CREATE, {"title": 5}), (CREATE, {"title": "b"})])
    trajectory = run_agent(policy, environment, TASK, search="dfs")
    assert [call.arguments for call in calls_by_turn(trajectory.messages)[0]] == [{"title": "a"}, {"title": "b"}]
    assert [call.arguments["title"] for call in environment.calls] == ["a", "b"], "the environment went back, too"
    assert trajectory.outcome.status == "finished"
    assert (trajectory.outcome.calls, trajectory.outcome.tool_errors) == (3, 1), "what was undone counts"
    told = policy.read[2][-1]
    assert told["role"] == "system" and '{"title": 5}' in told["content"] and "invalid arguments" in told["content"]
    assert policy.read[2][:-1] == policy.read[1] and policy.attempts == [1]


def test_giving_up_is_undone_and_where_all_was_tried_the_action_before_it_is(
    package: Path, catalog: Catalog, task: Task
) -> None:
    one_turn = replace(task, turns=task.turns[:1])
    environment = BfclEnvironment(package, catalog)
    actions: list[Any] = [
        (TITLES, {}),
        (CREATE, {"title": "wrong"}),
        GIVE_UP,
        GIVE_UP,
        (CREATE, {"title": "rain"}),
        (TITLES, {}),
    ]
    events: list[AgentEvent] = []
    trajectory = run_agent(ScriptedPolicy(actions), environment, one_turn, search="dfs", on_event=events.append)
    assert trajectory.messages[-2]["content"] == "['old', 'rain']", "the wrong ticket was never opened"
    assert [ticket["title"] for ticket in environment.instances["TicketAPI"].tickets.values()] == ["old", "rain"]
    assert [(event.step, event.text) for event in events if event.kind == "back"] == [(2, "gave up"), (1, "gave up")]
    assert [event.steps for event in events if event.kind == "path"] == [(1, 5, 6, 7)]
    assert [event.step for event in events if event.kind == "action"] == [1, 2, 3, 4, 5, 6, 7], "every branch is told"


def test_a_search_without_anything_left_ends_as_given_up_with_what_was_said_last(catalog: Catalog) -> None:
    trajectory = run_agent(ScriptedPolicy([GIVE_UP] * 9), DryRunEnvironment(catalog), TASK, search="dfs")
    assert (trajectory.outcome.status, trajectory.outcome.answer) == ("gave_up", "I cannot.")
    assert trajectory.outcome.turns[0].steps == 2
    assert [tool for message in trajectory.messages for tool, _ in actions_of(message)] == ["finish"]
    failing = run_agent(ScriptedPolicy([("no&&tool", {})] * 9), DryRunEnvironment(catalog), TASK, search="dfs")
    assert (failing.outcome.status, failing.outcome.answer, failing.outcome.calls) == ("gave_up", None, 2)


def test_steps_and_tokens_of_all_branches_are_in_the_budget(catalog: Catalog) -> None:
    wrong = [Action(tool=CREATE, arguments={"title": 5 if number % 2 else "x"}, tokens=10) for number in range(20)]
    events: list[AgentEvent] = []
    steps = run_agent(
        ScriptedPolicy(wrong),
        DryRunEnvironment(catalog),
        TASK,
        budget=Budget(steps=4),
        search="dfs",
        on_event=events.append,
    )
    assert (steps.outcome.status, steps.outcome.turns[0].steps) == ("step_limit", 4)
    assert events[-2].steps == (1, 3), "the last action was undone"
    tokens = run_agent(ScriptedPolicy(wrong), DryRunEnvironment(catalog), TASK, budget=Budget(tokens=25), search="dfs")
    assert (tokens.outcome.status, tokens.outcome.tokens) == ("token_limit", 30)


def test_calls_of_one_message_fail_together_and_a_call_that_was_not_completed_is_undone(catalog: Catalog) -> None:
    both = Action(tool=CREATE, arguments={"title": "a"}, parallel=(Action(tool=CREATE, arguments={}),))
    cut = Action(tool=CREATE, stuck="arguments_cut", fault="cut after 2 tokens")
    policy = ScriptedPolicy([cut, (TITLES, {}), both, (CREATE, {"title": "b"})])
    environment = DryRunEnvironment(catalog)
    trajectory = run_agent(policy, environment, TASK, search="dfs")
    assert [call.tool for call in environment.calls] == [TITLES, CREATE]
    assert [message["role"] for message in trajectory.messages] == ["user", *["assistant", "tool"] * 2, "assistant"]


def test_each_turn_of_the_user_is_searched_by_itself(package: Path, catalog: Catalog, task: Task) -> None:
    actions: list[Any] = [
        (CREATE, {"title": "rain"}),
        ("finish", {"answer": "Opened."}),
        GIVE_UP,
        GIVE_UP,
        (TITLES, {}),
    ]
    events: list[AgentEvent] = []
    environment = BfclEnvironment(package, catalog)
    trajectory = run_agent(ScriptedPolicy(actions), environment, task, search="dfs", on_event=events.append)
    assert [turn.status for turn in trajectory.outcome.turns] == ["finished", "gave_up", "finished"]
    assert trajectory.messages[-2]["content"] == "['old', 'rain']", "an earlier turn is never undone"
    assert [event.steps for event in events if event.kind == "path"] == [(1, 2), (2,), (1, 2)]


def test_every_branch_is_in_the_file_of_the_run_which_is_not_resumed(catalog: Catalog, tmp_path: Path) -> None:
    file = tmp_path / "run.jsonl"
    policy = ScriptedPolicy([(CREATE, {"title": 5}), (CREATE, {"title": "a"})])
    with RunRecorder(file) as recorder:
        run_agent(policy, DryRunEnvironment(catalog), TASK, search="dfs", on_event=recorder)
    events = read_run(file)
    assert [event.kind for event in events] == [
        "user",
        *["action", "begin", "result", "back"],
        *["action", "begin", "result", "action", "path", "end"],
    ]
    assert events[-2].steps == (2, 3)
    with pytest.raises(UsageError, match="begin it anew"):
        unfinished(file)
    with pytest.raises(UsageError, match="begin it anew"):
        run_agent(policy, DryRunEnvironment(catalog), TASK, search="dfs", past=events)


def test_recorded_and_simulated_environments_go_back_to_what_they_answered(catalog: Catalog) -> None:
    made = [(Call(tool=CREATE, arguments={"title": "a"}), ToolResult(content=text)) for text in ("first", "second")]
    recorded = RecordedEnvironment(made, catalog)
    simulated = SimulatedEnvironment(catalog)
    for environment in (recorded, simulated):
        saved = environment.save()
        first = environment.call(CREATE, {"title": "a"})
        for _ in range(2):
            environment.restore(saved)
            assert environment.call(CREATE, {"title": "a"}) == first
    assert recorded.call(CREATE, {"title": "a"}).content == "second"


def test_an_environment_that_cannot_go_back_is_refused_before_anything_happens(catalog: Catalog) -> None:
    def add(a: int) -> int:
        """Adds."""
        raise AssertionError("called")

    python: Environment = PythonEnvironment([add])
    for environment in (python, ComposedEnvironment(catalog, {})):
        with pytest.raises(UsageError, match=f"{environment.name} cannot undo one; search in dry-run"):
            run_agent(ScriptedPolicy([("add", {"a": 1})]), environment, TASK, search="dfs")
        environment.close()
