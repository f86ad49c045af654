"""Depth-first search over actions: where one fails, it is undone and another is tried, else the action before it is.

After ToolLLM's DFSDT (Qin et al., arXiv 2307.16789), whose two children of a step it keeps. Calls that failed or led
nowhere are undone, so it needs an environment that can go back. Knows no policy beyond what it is asked.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from toolgen.agent.environments.protocol import Environment, Reversible
from toolgen.agent.policy import TEMPERATURE, Action, Drawing, Policy
from toolgen.datasets.messages import cut_text, notice_message
from toolgen.datasets.trajectory import Message
from toolgen.errors import UsageError

WIDTH = 2
"""Actions that are tried from one place."""
SHOWN = 200
"""Characters of a failed call, and of why it failed, that the model reads."""


def reversible(environment: Environment) -> Reversible:
    """The environment, whose state can be restored; UsageError for one that cannot go back."""
    if isinstance(environment, Reversible):
        return environment
    raise UsageError(
        f"a search undoes calls, and the environment {environment.name} cannot undo one; search in dry-run, simulated, "
        "recorded:FILE, virtual:URL or a benchmark's world such as bfcl"
    )


@dataclass
class _Place:
    """Where an action is chosen: the messages until then, the state of the environment, and what was tried from here."""

    messages: int
    state: object
    step: int = 0
    failed: list[str] = field(default_factory=list)


class DepthFirst:
    """The search of one turn: a path of places, each with the action that was chosen there last."""

    def __init__(self, environment: Reversible) -> None:
        self._environment = environment
        self._path: list[_Place] = []
        self._returned = False  # whether the last place is one that the search came back to
        self._undone = 0

    @property
    def steps(self) -> tuple[int, ...]:
        """The numbers of the actions that were not undone."""
        return tuple(place.step for place in self._path[: -1 if self._returned else None])

    def begin(self, step: int, messages: Sequence[Message]) -> None:
        """The action of this number is chosen next."""
        if not self._returned:
            self._path.append(_Place(len(messages), self._environment.save()))
        self._returned = False
        self._path[-1].step = step

    def asking(self, policy: Policy, messages: Sequence[Message]) -> tuple[Policy, Sequence[Message]]:
        """Who is asked for the next action and what it reads: where one has failed, it is told so, and draws if it can."""
        failed = self._path[-1].failed
        if not failed:
            return policy, messages
        drawing = policy.attempt(self._undone, TEMPERATURE) if isinstance(policy, Drawing) else policy
        told = " ".join(["This was tried and undone:", *failed, "Do something else."])
        return drawing, [*messages, notice_message(told)]

    def back(self, action: Action, why: str, messages: list[Message]) -> int | None:
        """Undoes the last action, and those before it where all was tried. The number of the action after which it goes on (0:
        none); None where nothing is left to try, and then nothing is undone."""
        for place in reversed(range(len(self._path))):
            found = self._path[place]
            found.failed.append(_shown(action, why) if place == len(self._path) - 1 else "an action that led nowhere.")
            if len(found.failed) < WIDTH:
                del self._path[place + 1 :], messages[found.messages :]
                self._environment.restore(found.state)
                self._returned, self._undone = True, self._undone + 1
                return self._path[place - 1].step if place else 0
        return None


def _shown(action: Action, why: str) -> str:
    given = json.dumps(dict(action.arguments), ensure_ascii=False, default=str)
    return f"{action.tool or 'an action'} {cut_text(given, SHOWN)}: {cut_text(why, SHOWN)}."
