"""A conversation with every step in sight: the agent loop over the served model, told as events. Knows no server.

The events of a run, in their order; each has its `type`, and `at`, the milliseconds since the run began:

    choice      step, tool, probability, candidates (tool and probability, best first), documentation (what the model now reads)
    arguments   text: those of the tool that was chosen last
    answer      text: what is new of the answer
    action      tool, arguments, tokens, and stuck and fault where the call could not be completed and is not carried out
    result      status, content
    end         status (finished, gave_up, declined, or the limit that was reached), calls, tokens

Independent calls are made together: then their choices and arguments come first, then their actions, then their results.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from toolgen.agent import Action, AgentEvent, Budget, Environment, GenerativePolicy, run_agent
from toolgen.datasets import Task
from toolgen.datasets.messages import FINISH, NO_TOOL
from toolgen.datasets.trajectory import Message, Trajectory
from toolgen.inference.engine import Work
from toolgen.serving.steps import Piece, Writing

if TYPE_CHECKING:
    from toolgen.decoding import ToolChoice

STEPS = 8
"""Actions for one request of the user."""


@dataclass(frozen=True)
class Conversation:
    """A request to the engine: what follows `text`, said after the messages `before`. Calls go to `environment`."""

    policy: GenerativePolicy
    before: Sequence[Message]
    text: str
    environment: Environment

    def run(self, work: Work) -> Trajectory:
        """Carries out the request; the events are those of the module's docstring."""
        told = _Told(self.policy.conversation(work), self.before, work)
        task, budget = Task.from_text(self.text), Budget(steps=STEPS)
        return run_agent(told, self.environment, task, budget=budget, on_event=told.hear)


@dataclass
class _Told:
    """The model's policy behind what was said before; what it does is told."""

    policy: GenerativePolicy
    before: Sequence[Message]
    work: Work
    started: float = field(default_factory=time.monotonic)
    step: int = 0
    tokens: int = 0
    calls: int = 0

    def act(
        self, messages: Sequence[Message], tools: Sequence[str] | None = None, *, tokens: int | None = None
    ) -> Action:
        writing = Writing((), self._wrote)
        return self.policy.act(
            [*self.before, *messages], tools, tokens=tokens, on_choice=self._chosen, on_text=writing.hear
        )

    def hear(self, event: AgentEvent) -> None:
        if event.kind == "action" and event.action:
            self.tokens += event.action.tokens
            for action in (event.action, *event.action.parallel):
                stuck = {"stuck": action.stuck, "fault": action.fault} if action.stuck else {}
                self._tell("action", tool=action.tool, arguments=dict(action.arguments), tokens=action.tokens, **stuck)
        elif event.kind == "result" and event.result:
            self.calls += 1
            place = max(0, event.call - 1)
            self._tell("result", call=place, status=event.result.status, content=event.result.content)
        elif event.kind == "end":
            self._tell("end", status=event.text, calls=self.calls, tokens=self.tokens)

    def _wrote(self, piece: Piece) -> None:
        if piece.text:
            self._tell("answer" if piece.tool is None else "arguments", text=piece.text)

    def _chosen(self, choice: ToolChoice) -> None:
        is_tool = choice.tool not in (FINISH, NO_TOOL)
        self.step += 1
        self._tell(
            "choice",
            step=self.step,
            tool=choice.tool,
            probability=choice.probability,
            candidates=[{"tool": tool, "probability": share} for tool, share in choice.candidates],
            documentation=self.policy.checkpoint.protocol.documentation(choice.tool) if is_tool else "",
        )

    def _tell(self, kind: str, **what: Any) -> None:
        self.work.emit({"type": kind, "at": round(1000 * (time.monotonic() - self.started)), **what})
