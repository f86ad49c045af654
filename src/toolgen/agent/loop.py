"""The agent loop: a policy acts in an environment until it finishes, declines or a budget is used up.

Everything that can go wrong on the way - a failing tool, no answer in time, no legal call, no budget - is an outcome
that the trajectory records, not an exception. What ends the run from outside, such as Ctrl-C, is told to `on_event` too. Knows
neither what the policy is nor what the environment does.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Literal

from toolgen.agent.calls import Confirm, carry_out, interrupted, refused
from toolgen.agent.environments.protocol import CALL_SECONDS, Environment, Reversible, ToolResult
from toolgen.agent.policy import Action, Policy
from toolgen.agent.search import DepthFirst, reversible
from toolgen.datasets.messages import (
    RESULT_LIMIT,
    calls_message,
    cut_text,
    notice_message,
    opening,
    result_message,
    user_message,
)
from toolgen.datasets.query import Call
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

Search = Literal["chain", "dfs"]
"""How actions follow each other: each after the last one, or with those that fail undone."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How much a task may take: `steps` actions in each turn of the user, `tokens` generated and `seconds` in all, and
    `call_within` seconds for each call. What a search undoes is counted, too.

    Arguments that would go beyond `tokens` are cut there, and the call is not carried out.
    """

    steps: int = 10
    tokens: int = 4096
    seconds: float = 600.0
    call_within: float = CALL_SECONDS

    def __post_init__(self) -> None:
        if min(self.steps, self.tokens, self.seconds, self.call_within) <= 0:
            raise UsageError(f"a budget must be above zero; got {self}")


@dataclass(frozen=True, kw_only=True)
class AgentEvent:
    """Something that just happened: `kind` says which of `text`, `action` and `result` is filled. The text of an `end` is the
    status of the last turn.

    The calls of an action "begin" once they are agreed to. Results come in the order in which calls end: of several at once
    `call` says which, from 1 on; 0 is a call alone.

    A search tells of "back" where it undoes all actions after `step`, with the reason, and at the end of a turn of its "path":
    `steps` are the actions that were not undone.
    """

    kind: Literal["user", "action", "begin", "result", "back", "path", "end"]
    turn: int
    step: int = 0
    call: int = 0
    text: str = ""
    action: Action | None = None
    result: ToolResult | None = None
    steps: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if (lowest := min(self.turn, self.step, self.call, *self.steps)) < 0:
            raise UsageError(f"{lowest} as the number of a turn, step or call; expected one from 0 on")


OnEvent = Callable[[AgentEvent], None]
_Ending = tuple[Status, str | None]  # with the answer


def run_agent(
    policy: Policy,
    environment: Environment,
    task: Task,
    *,
    budget: Budget | None = None,
    restrict: bool = True,
    result_limit: int = RESULT_LIMIT,
    on_event: OnEvent | None = None,
    confirm: Confirm | None = None,
    cancel: threading.Event | None = None,
    past: Sequence[AgentEvent] = (),
    search: Search = "chain",
) -> Trajectory:
    """Carries out one task, turn by turn, and returns all that was said and done.

    `restrict` lets the policy choose only among what the environment can execute now; without it a call of another tool
    gets an error result. Results are cut to `result_limit` characters.

    `on_event` is told of each step, `confirm` is asked before each call, and `cancel` ends the run when it is set. `past` are
    the events of a run of this task that was broken off, which goes on from there: nothing is done or told again. Where it
    ended during a call, the model is told that nobody knows whether that took effect; before it had begun, it is made.

    With the `search` "dfs" an action that fails (a call with an error, one that was not completed, giving up) is undone and
    another one asked for; where two have failed, so has the action before them. The messages are those of the path to the
    answer, while the outcome counts all. UsageError where the environment cannot go back, or for a run that has a past.
    """
    if search == "dfs" and past:
        raise UsageError("a search does not go on with a run that was broken off; it has no effects: begin it anew")
    return _Run(
        policy=policy,
        environment=environment,
        task=task,
        budget=budget or Budget(),
        restrict=restrict,
        result_limit=result_limit,
        on_event=on_event or (lambda _event: None),
        confirm=confirm or (lambda _call: True),
        cancel=cancel or threading.Event(),
        past=deque(event for event in past if event.kind != "end"),
        messages=opening(task),
        reversible=reversible(environment) if search == "dfs" else None,
    ).trajectory()


@dataclass(kw_only=True)
class _Run:
    """The state of one task while it runs."""

    policy: Policy
    environment: Environment
    task: Task
    budget: Budget
    restrict: bool
    result_limit: int
    on_event: OnEvent
    confirm: Confirm
    cancel: threading.Event
    past: deque[AgentEvent]
    messages: list[Message]
    reversible: Reversible | None
    turns: list[TurnOutcome] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    results: list[ToolResult] = field(default_factory=list)
    tokens: int = 0
    thought_tokens: int = 0
    prompt_tokens: int = 0
    is_past: bool = False  # whether the current action was taken in the past
    started: float = field(default_factory=time.monotonic)

    def trajectory(self) -> Trajectory:
        try:
            self._take_turns()
        except BaseException as error:
            # Ctrl-C, or a policy or a listener that fails: what was told so far has an end, too.
            with suppress(Exception):
                self._end("cancelled" if isinstance(error, KeyboardInterrupt) else "error")
            raise
        return Trajectory(id=self.task.id, query=self.task.id, messages=tuple(self.messages), outcome=self._outcome())

    def _take_turns(self) -> None:
        self.environment.reset(self.task)
        for place, turn in enumerate(self.task.turns):
            self.environment.start_turn(turn)
            self.messages.append(user_message(turn.text))
            if self._next_past("user") is None:
                self.on_event(AgentEvent(kind="user", turn=place, text=turn.text))
            self._take_turn(place)
            if self.turns[-1].status not in TURN_DONE:
                break
        self._end(self.turns[-1].status)

    def _end(self, status: Status) -> None:
        self.on_event(AgentEvent(kind="end", turn=max(0, len(self.turns) - 1), text=status))

    def _next_past(self, kind: str) -> AgentEvent | None:
        """The next event of the past, if it is of this kind."""
        return self.past.popleft() if self.past and self.past[0].kind == kind else None

    def _take_turn(self, turn: int) -> None:
        """Actions until the turn is over; its status and answer go to `self.turns`."""
        ending: _Ending = ("step_limit", None)
        search = DepthFirst(self.reversible) if self.reversible else None
        step = 0
        while step < self.budget.steps:
            over = None if self.past else self._limit()
            if over is not None:
                ending = over, None
                break
            step += 1
            if search:
                search.begin(step, self.messages)
            action = self._act(turn, step, search)
            ended, fault = self._ending(action), self._carry_out(action, turn, step)
            step += len(action.parallel)
            if search and fault:
                back = search.back(action, fault, self.messages)
                if back is not None:
                    self.on_event(AgentEvent(kind="back", turn=turn, step=back, text=fault))
                    continue
                ended = ended or ("gave_up", None)
            if ended is not None:
                ending = ended
                break
        self.turns.append(TurnOutcome(status=ending[0], answer=ending[1], steps=step))
        if search:
            self.on_event(AgentEvent(kind="path", turn=turn, steps=search.steps))

    def _carry_out(self, action: Action, turn: int, step: int) -> str:
        """Makes the calls of an action, or tells the model why not; empty unless it failed, and then why."""
        if action.stuck:
            fault = not_carried_out(action)
            if action.stuck != "context_full":
                self.messages.append(notice_message(cut_text(fault, self.result_limit)))
            return fault
        if action.is_call:
            failed = [result.content for result in self._call(action, turn, step) if result.is_error]
            return failed[0] if failed else ""
        return "gave up" if action.is_finish and action.arguments.get("gave_up") else ""

    def _limit(self) -> Status | None:
        """What ends the run before its next action."""
        if self.cancel.is_set():
            return "cancelled"
        if self.tokens >= self.budget.tokens:
            return "token_limit"
        return "time_limit" if self._seconds_left() <= 0 else None

    def _seconds_left(self) -> float:
        return self.budget.seconds - (time.monotonic() - self.started)

    def _act(self, turn: int, step: int, search: DepthFirst | None) -> Action:
        recorded = self._next_past("action")
        self.is_past = recorded is not None
        if recorded is not None and recorded.action is not None:
            action = recorded.action
        else:
            tools = self.environment.tools if self.restrict else None
            asked = search.asking(self.policy, self.messages) if search else (self.policy, self.messages)
            action = asked[0].act(asked[1], tools, tokens=self.budget.tokens - self.tokens)
            action = replace(action, parallel=action.parallel[: self.budget.steps - step])
            self.on_event(AgentEvent(kind="action", turn=turn, step=step, action=action))
        self.tokens += action.tokens
        self.thought_tokens += action.thought_tokens
        self.prompt_tokens += action.prompt_tokens
        made = []
        for one in (action, *action.parallel):
            self.decisions.append(Decision(turn=turn, stuck=one.stuck, diagnostics=one.diagnostics))
            made.append((one.tool, one.arguments, f"call_{len(self.decisions)}"))
        if not action.stuck:
            self.messages.append(calls_message(made, action.thought))
        return action

    @staticmethod
    def _ending(action: Action) -> _Ending | None:
        """Status and answer if the action ends the turn."""
        if action.stuck:
            return ("token_limit", None) if action.stuck == "context_full" else None
        if action.is_decline:
            return "declined", None
        if action.is_finish:
            return ("gave_up" if action.arguments.get("gave_up") else "finished"), action.arguments.get("answer")
        return None

    def _call(self, action: Action, turn: int, step: int) -> list[ToolResult]:
        """Carries out the calls of an action. Results stand in the order of the calls."""
        results = self._results_of((action, *action.parallel), turn, step)
        for number, result in enumerate(results, start=len(self.decisions) - len(action.parallel)):
            self.messages.append(result_message(f"call_{number}", result.content, self.result_limit))
        self.results += results
        return results

    def _results_of(self, actions: Sequence[Action], turn: int, step: int) -> list[ToolResult]:
        """What the calls came back with, or once came back with."""
        results: dict[int, ToolResult] = {}
        has_begun = self.is_past and self._next_past("begin") is not None
        while self.is_past and (event := self._next_past("result")) and event.result:
            results[max(0, event.call - 1)] = event.result
        left = [place for place in range(len(actions)) if place not in results]
        come = ((place, interrupted()) for place in left) if has_begun else self._carried_out(actions, left, turn, step)
        for place, result in come:
            alone, call = replace(actions[place], parallel=()), place + 1 if len(actions) > 1 else 0
            self.on_event(AgentEvent(kind="result", turn=turn, step=step, call=call, action=alone, result=result))
            results[place] = result
        return [results[place] for place in range(len(actions))]

    def _carried_out(
        self, actions: Sequence[Action], places: Sequence[int], turn: int, step: int
    ) -> Iterator[tuple[int, ToolResult]]:
        """The results of the actions at these places, as they come."""
        calls = {place: Call(tool=actions[place].tool, arguments=actions[place].arguments) for place in places}
        asked = time.monotonic()
        agreed = [place for place, call in calls.items() if self.confirm(call)]
        self.started += time.monotonic() - asked  # a person's time to answer is not the run's
        if agreed:
            self.on_event(AgentEvent(kind="begin", turn=turn, step=step))
        yield from ((place, refused()) for place in places if place not in agreed)
        within = max(0.1, min(self.budget.call_within, self._seconds_left()))
        for place, result in carry_out(self.environment, [calls[place] for place in agreed], within, self.cancel):
            yield agreed[place], result

    def _outcome(self) -> Outcome:
        made = [result for result in self.results if result.status != "refused"]
        return Outcome(
            turns=tuple(self.turns),
            environment=self.environment.name,
            calls=len(made),
            tool_errors=_count(made, "error"),
            timeouts=_count(made, "timeout"),
            tokens=self.tokens,
            thought_tokens=self.thought_tokens,
            prompt_tokens=self.prompt_tokens,
            seconds=round(time.monotonic() - self.started, 3),
            decisions=tuple(self.decisions),
        )


def not_carried_out(action: Action) -> str:
    """What the model is told of a call that it did not complete."""
    why = action.fault or action.stuck.replace("_", " ")
    if action.stuck == "context_full":
        return why
    if action.stuck == "arguments_cut":
        return f"The call of {action.tool} was not carried out: its arguments were {why}. Write shorter arguments."
    return f"The call of {action.tool} was not carried out: its arguments are not valid ({why})."


def _count(results: Sequence[ToolResult], status: str) -> int:
    return sum(result.status == status for result in results)
