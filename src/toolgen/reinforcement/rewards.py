"""What a rollout earns: small parts, each a function of a task and of what was done, weighed and added.

A part lies between 0 and 1, `steps` between -1 and 0. None of them pays for length: a further call, a further argument or
further words of a text lower the share that is right. Knows no model.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from toolgen.datasets.messages import calls_by_turn
from toolgen.datasets.payloads import BfclCalls
from toolgen.datasets.query import Call
from toolgen.datasets.task import Task
from toolgen.datasets.trajectory import TURN_DONE, Trajectory
from toolgen.evaluation.scorers import Score
from toolgen.reinforcement.config import Part

LEFT_OUT = ""
"""In BFCL an accepted value that says: this argument may be left out."""

Values = Mapping[str, Sequence[Any]]
"""The accepted values of each argument of a call."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """A task, what was done in it, and how its scorer judged that."""

    task: Task
    trajectory: Trajectory
    score: Score

    @cached_property
    def expected(self) -> list[list[tuple[str, Values]]]:
        """The expected calls of each turn: tool, and accepted values."""
        payload = self.task.payload
        if isinstance(payload, BfclCalls):
            return [[(call.tool, one.accepted) for call, one in zip(self.task.calls, payload.answers, strict=True)]]
        return [
            [(call.tool, {name: [value] for name, value in call.arguments.items()}) for call in turn.calls or ()]
            for turn in self.task.turns
        ]

    @cached_property
    def made(self) -> list[list[Call]]:
        """The calls that were made in each turn of the task; none where it was not reached."""
        made = calls_by_turn(self.trajectory.messages)
        return [*made, *[[] for _ in range(len(self.expected) - len(made))]]


# --- the parts ----------------------------------------------------------------------------------------------------


def success(attempt: Attempt) -> float:
    """The task's own scorer: in a simulated system its state, else the calls."""
    return float(attempt.score.correct)


def tools(attempt: Attempt) -> float:
    """Jaccard similarity of the tools called and those expected, each as often as it is: |A and B| / |A or B|."""
    made = Counter((turn, call.tool) for turn, calls in enumerate(attempt.made) for call in calls)
    wanted = Counter((turn, tool) for turn, calls in enumerate(attempt.expected) for tool, _ in calls)
    either = (made | wanted).total()
    return (made & wanted).total() / either if either else 1.0


def arguments(attempt: Attempt) -> float:
    """How much of all arguments, made and expected, agrees; an argument of a call that has no counterpart does not."""
    right = total = 0.0
    for expected, made in zip(attempt.expected, attempt.made, strict=True):
        left = list(made)
        for tool, values in expected:
            found = [
                (_agreement(call.arguments, values), place) for place, call in enumerate(left) if call.tool == tool
            ]
            (share, size), place = max(found, default=((0.0, _agreement({}, values)[1]), -1))
            right += share * size
            total += size
            if found:
                del left[place]
        total += sum(max(1, len(call.arguments)) for call in left)
    return right / total if total else 1.0


def declining(attempt: Attempt) -> float:
    """The share of turns in which something is called exactly if something is to be called; where no tool fits at all, whether
    it declines without a call."""
    if attempt.task.no_tool_fits:
        return float(attempt.trajectory.outcome.status == "declined" and not any(attempt.made))
    agree = [bool(made) == bool(expected) for made, expected in zip(attempt.made, attempt.expected, strict=True)]
    return sum(agree) / len(agree)


def steps(attempt: Attempt) -> float:
    """The cost of actions beyond those that are needed, as a share of these: -1 for twice as many or more."""
    turns = attempt.trajectory.outcome.turns
    taken = sum(turn.steps - (turn.status in TURN_DONE) for turn in turns)
    needed = sum(map(len, attempt.expected))
    return -min(1.0, max(0, taken - needed) / max(1, needed))


PARTS: Mapping[Part, Callable[[Attempt], float]] = {
    "success": success,
    "tools": tools,
    "arguments": arguments,
    "declining": declining,
    "steps": steps,
}
"""All parts by name. A new one is a function and an entry; its weight is a setting."""


# --- their sum ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reward:
    """`parts` as they are, `total` their weighted sum, and `share` what the total is of the most that can be earned."""

    total: float
    share: float
    parts: Mapping[Part, float]


def reward(attempt: Attempt, weights: Mapping[Part, float]) -> Reward:
    """What an attempt earns."""
    parts = {name: part(attempt) for name, part in PARTS.items()}
    total = sum(weights.get(name, 0.0) * value for name, value in parts.items())
    most = sum(weight for name, weight in weights.items() if name != steps.__name__)
    return Reward(total=total, share=total / most, parts=parts)


# --- values -------------------------------------------------------------------------------------------------------


def _agreement(arguments: Mapping[str, Any], accepted: Values) -> tuple[float, int]:
    """The mean agreement of a call's arguments with those accepted, and how many they are together (at least one)."""
    needed = {name for name, values in accepted.items() if LEFT_OUT not in values}
    names = needed | arguments.keys()
    if not names:
        return 1.0, 1
    found = [
        max((alike(arguments[name], value) for value in accepted.get(name, ())), default=0.0)
        for name in names
        if name in arguments
    ]
    return sum(found) / len(names), len(names)


def alike(value: Any, wanted: Any) -> float:
    """Between 0 and 1: texts by the words that they share (F1), lists and objects by their parts, all else by equality."""
    if isinstance(value, str) and isinstance(wanted, str):
        return _overlap(_words(value), _words(wanted))
    if isinstance(value, Mapping) and isinstance(wanted, Mapping):
        names = value.keys() | wanted.keys()
        return sum(alike(value[name], wanted[name]) for name in value.keys() & wanted.keys()) / max(1, len(names))
    if isinstance(value, list | tuple) and isinstance(wanted, list | tuple):
        longest = max(len(value), len(wanted))
        return sum(map(alike, value, wanted)) / longest if longest else 1.0
    if isinstance(wanted, list | tuple):  # BFCL: one of these
        return max((alike(value, one) for one in wanted), default=0.0)
    return float(value == wanted and isinstance(value, bool) == isinstance(wanted, bool))


def _words(text: str) -> Counter[str]:
    return Counter(re.findall(r"\w+", text.casefold()) or [text])


def _overlap(first: Counter[str], second: Counter[str]) -> float:
    return 2 * (first & second).total() / (first.total() + second.total())
