"""Policies that read tools in their prompt: what they are shown, what their answers mean, and that they may be asked again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from toolgen.agent import Action, DryRunEnvironment, PromptedPolicy, RetryingPolicy, ground_truth, run_agent
from toolgen.agent.prompted import action_of
from toolgen.catalog import Catalog
from toolgen.datasets import Call, Task, Turn
from toolgen.llm import ChatMessage

CREATE = "TicketAPI&&create_ticket"
TITLES = "TicketAPI&&titles"


class Scripted:
    """A language model that answers what it is told to, and keeps what it was asked."""

    name = "scripted"

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.prompts: list[Sequence[ChatMessage]] = []
        self.temperatures: list[float] = []

    def write(
        self, prompts: Sequence[Sequence[ChatMessage]], *, max_tokens: int, temperature: float = 0.7, seed: int = 0
    ) -> list[str]:
        self.prompts += prompts
        self.temperatures.append(temperature)
        return [self.answers.pop(0) for _ in prompts]


def test_a_task_is_carried_out_with_the_tools_of_its_ground_truth_alone_in_the_prompt(catalog: Catalog) -> None:
    model = Scripted('{"name": "TicketAPI&&create_ticket", "arguments": {"title": "rain"}}', "It is open.")
    task = Task(id="t", turns=(Turn(text="Open one.", calls=(Call(tool=CREATE, arguments={"title": "rain"}),)),))
    trajectory = run_agent(
        PromptedPolicy(model, catalog, ground_truth).for_task(task), DryRunEnvironment(catalog), task
    )
    assert (trajectory.outcome.status, trajectory.outcome.answer) == ("finished", "It is open.")
    assert trajectory.outcome.calls == 1 and trajectory.outcome.tool_errors == 0
    system, *rest = model.prompts[1]
    assert '"name": "TicketAPI&&create_ticket"' in system["content"] and TITLES not in system["content"]
    assert [message["role"] for message in rest] == ["user", "assistant", "user"]
    assert rest[1]["content"] == '{"name": "TicketAPI&&create_ticket", "arguments": {"title": "rain"}}'
    assert rest[2]["content"] == 'Result: {"status": "recorded"}'
    read = sum(len(message["content"]) // 4 for prompt in model.prompts for message in prompt)
    assert trajectory.outcome.prompt_tokens == read


def test_a_listing_is_asked_with_what_the_user_said_last_and_holds_no_tool_that_cannot_be_called(
    catalog: Catalog,
) -> None:
    asked: list[str] = []

    def listing(_task: Task | None, request: str) -> Sequence[str]:
        asked.append(request)
        return [CREATE, TITLES]

    model = Scripted("hello")
    policy = PromptedPolicy(model, catalog, listing)
    messages = [{"role": "system", "content": "Be brief."}, *({"role": "user", "content": one} for one in "ab")]
    policy.act(messages, [TITLES])
    assert asked == ["b"]
    system = model.prompts[0][0]["content"]
    assert system.startswith("Be brief.") and TITLES in system and CREATE not in system


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("It rains.", Action(tool="finish", arguments={"answer": "It rains."})),
        ("", Action(tool="finish", arguments={"answer": ""})),
        ('{"temperature": 3}', Action(tool="finish", arguments={"answer": '{"temperature": 3}'})),
        ('{"name": "no_tool", "arguments": {}}', Action(tool="no_tool")),
        ('Let me see.\n```json\n{"name": "f", "arguments": {"a": [1]}}\n```',
         Action(tool="f", arguments={"a": [1]}, thought="Let me see.")),
        ('{"name": "f", "arguments": "a=1"}',
         Action(tool="f", stuck="invalid_arguments", fault="the arguments are no object")),
        ('{"name": "finish", "arguments": {"answer": "No.", "gave_up": true}}',
         Action(tool="finish", arguments={"answer": "No.", "gave_up": True})),
        ('[{"name": "f", "arguments": {}}, {"name": "g", "arguments": {"x": 1}}, {"name": "finish"}]',
         Action(tool="f", parallel=(Action(tool="g", arguments={"x": 1}),))),
        ("{" * 5000, Action(tool="finish", arguments={"answer": "{" * 5000})),
    ],
)  # fmt: skip
def test_an_answer_means_calls_where_it_has_them_else_the_end(answer: str, expected: Action) -> None:
    assert action_of(answer) == expected


def test_a_tool_that_does_not_exist_is_an_error_that_the_model_reads(catalog: Catalog) -> None:
    model = Scripted('{"name": "weather", "arguments": {}}', "Then not.")
    trajectory = run_agent(
        PromptedPolicy(model, catalog, ground_truth), DryRunEnvironment(catalog), Task.from_text("Hi")
    )
    assert trajectory.outcome.tool_errors == 1 and "not available" in model.prompts[1][-1]["content"]


def test_a_policy_that_gives_up_is_asked_again_as_often_as_wanted_and_draws_then(catalog: Catalog) -> None:
    up = '{"name": "finish", "arguments": {"answer": "No.", "gave_up": true}}'

    def run(times: int) -> tuple[Any, Scripted]:
        model = Scripted(up, up, "Done.")
        policy = RetryingPolicy(PromptedPolicy(model, catalog, ground_truth), times)
        return run_agent(policy, DryRunEnvironment(catalog), Task.from_text("Hi")).outcome, model

    outcome, model = run(2)
    assert (outcome.status, model.temperatures) == ("finished", [0.0, 0.7, 0.7])
    assert outcome.tokens == 2 * (len(up) // 4) + len("Done.") // 4
    outcome, model = run(1)
    assert (outcome.status, len(model.temperatures)) == ("gave_up", 2)
