"""The agent loop: a policy acts in an environment until it finishes, declines or a budget is used up.

Everything that can go wrong on the way - a failing tool, no answer in time, no legal call, no budget - is an outcome
that the trajectory records, not an exception. Knows neither what the policy is nor what the environment does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from toolgen.agent.environments.protocol import Environment, ToolResult
from toolgen.agent.policy import Action, Policy
from toolgen.datasets.messages import (
    RESULT_LIMIT,
    call_message,
    cut_text,
    notice_message,
    opening,
    result_message,
    user_message,
)
from toolgen.datasets.task import Task
from toolgen.datasets.trajectory import (
    TURN_DONE,
    Decision,
    Message,
    Outcome,
    Status,
    Trajectory,
    TurnOutcome,
)
from toolgen.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How much a task may take: `steps` actions in each turn of the user, `tokens` generated and `seconds` in all.

    Arguments that would go beyond `tokens` are cut there, and the call is not carried out.
    """

    steps: int = 10
    tokens: int = 4096
    seconds: float = 600.0

    def __post_init__(self) -> None:
        if min(self.steps, self.tokens, self.seconds) <= 0:
            raise UsageError(f"a budget must be above zero; got {self}")


@dataclass(frozen=True, kw_only=True)
class AgentEvent:
    """Something that just happened: `kind` says which of `text`, `action` and `result` is filled."""

    kind: Literal["user", "action", "result", "end"]
    turn: int
    step: int = 0
    text: str = ""
    action: Action | None = None
    result: ToolResult | None = None


OnEvent = Callable[[AgentEvent], None]


def run_agent(
    policy: Policy,
    environment: Environment,
    task: Task,
    *,
    budget: Budget | None = None,
    restrict: bool = True,
    result_limit: int = RESULT_LIMIT,
    on_event: OnEvent | None = None,
) -> Trajectory:
    """Carries out one task, turn by turn, and returns all that was said and done.

    `restrict` lets the policy choose only among what the environment can execute now; without it a call of another tool
    gets an error result. Results are cut to `result_limit` characters.
    """
    notify = on_event or (lambda _event: None)
    return _Run(policy, environment, task, budget or Budget(), restrict, result_limit, notify).trajectory()


class _Run:
    """The state of one task while it runs."""

    def __init__(
        self,
        policy: Policy,
        environment: Environment,
        task: Task,
        budget: Budget,
        restrict: bool,
        result_limit: int,
        on_event: OnEvent,
    ) -> None:
        self._policy = policy
        self._environment = environment
        self._task = task
        self._budget = budget
        self._restrict = restrict
        self._result_limit = result_limit
        self._on_event = on_event
        self._messages: list[Message] = opening(task)
        self._turns: list[TurnOutcome] = []
        self._decisions: list[Decision] = []
        self._results: list[ToolResult] = []
        self._tokens = 0
        self._started = time.monotonic()

    def trajectory(self) -> Trajectory:
        self._environment.reset(self._task)
        for place, turn in enumerate(self._task.turns):
            self._environment.start_turn(turn)
            self._messages.append(user_message(turn.text))
            self._on_event(AgentEvent(kind="user", turn=place, text=turn.text))
            self._take_turn(place)
            if self._turns[-1].status not in TURN_DONE:
                break
        last = self._turns[-1]
        self._on_event(AgentEvent(kind="end", turn=len(self._turns) - 1, text=last.status))
        return Trajectory(
            id=self._task.id, query=self._task.id, messages=tuple(self._messages), outcome=self._outcome()
        )

    def _take_turn(self, turn: int) -> None:
        """Actions until the turn is over; its status and answer go to `self._turns`."""
        status: Status = "step_limit"
        answer: str | None = None
        step = 0
        for step in range(1, self._budget.steps + 1):
            over = self._budget_status()
            if over is not None:
                status, step = over, step - 1
                break
            action = self._act(turn, step)
            ended = self._ending(action)
            if ended is not None:
                status, answer = ended
                break
            if action.stuck:
                self._messages.append(notice_message(cut_text(not_carried_out(action), self._result_limit)))
            else:
                self._call(action, turn, step)
        self._turns.append(TurnOutcome(status=status, answer=answer, steps=step))

    def _budget_status(self) -> Status | None:
        if self._tokens >= self._budget.tokens:
            return "token_limit"
        if time.monotonic() - self._started >= self._budget.seconds:
            return "time_limit"
        return None

    def _act(self, turn: int, step: int) -> Action:
        tools = self._environment.tools if self._restrict else None
        action = self._policy.act(self._messages, tools, tokens=self._budget.tokens - self._tokens)
        self._tokens += action.tokens
        self._decisions.append(Decision(turn=turn, stuck=action.stuck, diagnostics=action.diagnostics))
        self._on_event(AgentEvent(kind="action", turn=turn, step=step, action=action))
        if not action.stuck:
            self._messages.append(call_message(action.tool, action.arguments, self._call_id(), action.thought))
        return action

    @staticmethod
    def _ending(action: Action) -> tuple[Status, str | None] | None:
        """Status and answer if the action ends the turn."""
        if action.stuck:
            return ("token_limit", None) if action.stuck == "context_full" else None
        if action.is_decline:
            return "declined", None
        if action.is_finish:
            return ("gave_up" if action.arguments.get("gave_up") else "finished"), action.arguments.get("answer")
        return None

    def _call(self, action: Action, turn: int, step: int) -> None:
        result = self._environment.call(action.tool, action.arguments)
        self._messages.append(result_message(self._call_id(), result.content, self._result_limit))
        self._results.append(result)
        self._on_event(AgentEvent(kind="result", turn=turn, step=step, action=action, result=result))

    def _call_id(self) -> str:
        return f"call_{len(self._decisions)}"

    def _outcome(self) -> Outcome:
        return Outcome(
            turns=tuple(self._turns),
            environment=self._environment.name,
            calls=len(self._results),
            tool_errors=_count(self._results, "error"),
            timeouts=_count(self._results, "timeout"),
            tokens=self._tokens,
            seconds=round(time.monotonic() - self._started, 3),
            decisions=tuple(self._decisions),
        )


def not_carried_out(action: Action) -> str:
    """What the model is told of a call that it did not complete."""
    why = action.fault or action.stuck.replace("_", " ")
    if action.stuck == "arguments_cut":
        return f"The call of {action.tool} was not carried out: its arguments were {why}. Write shorter arguments."
    return f"The call of {action.tool} was not carried out: its arguments are not valid ({why})."


def _count(results: Sequence[ToolResult], status: str) -> int:
    return sum(result.status == status for result in results)
