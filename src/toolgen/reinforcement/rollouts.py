"""Rollouts: tasks carried out by the model as it is, with every token that was drawn, and among which tokens.

All of a step run at once through one engine, which reads what their conversations have in common once. Knows no reward.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from toolgen.agent.environments import Environment
from toolgen.agent.loop import Budget, run_agent
from toolgen.agent.policy import GenerativePolicy, GivenTools, right_tools
from toolgen.datasets.messages import FINISH
from toolgen.datasets.task import Task
from toolgen.datasets.trajectory import Trajectory
from toolgen.inference.engine import Engine

if TYPE_CHECKING:
    from toolgen.inference.engine import Work
    from toolgen.inference.session import Allowed, Draw


@dataclass(frozen=True, slots=True)
class DrawnToken:
    """A token that was drawn behind the first `place` tokens of a passage, among those that `allowed` says: a bit for each
    token of the vocabulary, packed by `numpy.packbits`. `log_probability` is that among these, at the draw's temperature."""

    place: int
    token: int
    allowed: bytes
    log_probability: float


@dataclass(slots=True)
class Passage:
    """A conversation as the model read it, and what it drew there."""

    ids: list[int]
    drawn: list[DrawnToken] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ids)


class Recorder:
    """Hears of the draws of one run and makes passages of them, as few as there can be: the next draw joins the last passage if
    its conversation goes on from there. It does not where what was written is read in other tokens later, or where a long
    conversation is shown from a later turn on. So each token is learned behind exactly what it was drawn behind.

    What was forced is no choice, and the words of an answer are not judged by any reward: neither is noted; nor, with
    `given_tools`, is a tool, since it was not chosen. Recorders with one `known` hold each mask once.
    """

    def __init__(
        self, vocabulary_size: int, known: dict[bytes, bytes] | None = None, *, given_tools: bool = False
    ) -> None:
        self.passages: list[Passage] = []
        self._unjudged = {FINISH, ""} if given_tools else {FINISH}
        self._size = vocabulary_size
        self._known = {} if known is None else known

    def __call__(self, draw: Draw) -> None:
        """Notes a draw."""
        if draw.purpose in self._unjudged:
            return
        allowed_V = mask_of(draw.allowed, self._size)
        if allowed_V.sum() < 2:
            return
        bits = np.packbits(allowed_V).tobytes()
        bits = self._known.setdefault(bits, bits)
        ids = draw.ids
        if self.passages and ids[: len(self.passages[-1])] == self.passages[-1].ids:
            self.passages[-1].ids = [*ids]
        else:
            self.passages.append(Passage([*ids]))
        self.passages[-1].drawn.append(DrawnToken(len(ids), draw.token, bits, draw.log_probability))


def mask_of(allowed: Allowed, size: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """What was allowed as a mask over the vocabulary."""
    mask_V = np.full(size, allowed is None)
    if allowed is not None and allowed.dtype == bool:
        mask_V[: len(allowed)] = allowed
    elif allowed is not None:
        mask_V[allowed] = True
    return mask_V


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """One run of a task. `offered` are the tools that could be called in the end."""

    task: Task
    trajectory: Trajectory
    passages: Sequence[Passage]
    offered: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class RolloutMaker:
    """What rollouts are made with; `policy` draws its actions, and `environment` makes the environment of a task. With
    `given_tools` the tools are not chosen but given, in the right order."""

    policy: GenerativePolicy
    environment: Callable[[Task], Environment]
    budget: Budget
    concurrency: int
    given_tools: bool = False

    def groups(self, engine: Engine, tasks: Sequence[Task], size: int, seed: str) -> list[list[Rollout]]:
        """`size` rollouts of each task. What each draws depends on the seed, the task and its number in the group alone, up to
        the rounding of passes."""
        made = dict(self.each_group(engine, tasks, size, seed))
        return [made[place] for place in range(len(tasks))]

    def each_group(
        self, engine: Engine, tasks: Sequence[Task], size: int, seed: str
    ) -> Iterator[tuple[int, list[Rollout]]]:
        """The same as they are done, each with the place of its task."""
        requests = (_Request(self, task, f"{seed}/{task.id}/{number}") for task in tasks for number in range(size))
        begun: dict[int, dict[int, Rollout]] = {}
        for place, rollout in engine.each(requests, self.concurrency):
            group = begun.setdefault(place // size, {})
            group[place % size] = rollout
            if len(group) == size:
                yield place // size, [group[number] for number in range(size)]
                del begun[place // size]

    def roll_out(self, task: Task, seed: str, work: Work) -> Rollout:
        """One run of a task, in an environment of its own."""
        size = self.policy.checkpoint.vocabulary.new_token_ids.stop
        recorder = Recorder(size, given_tools=self.given_tools)
        drawing = self.policy.for_task(task, work, seed=seed, on_draw=recorder)
        policy = GivenTools(drawing, right_tools(task)) if self.given_tools else drawing
        with closing(self.environment(task)) as environment:
            trajectory = run_agent(policy, environment, task, budget=self.budget)
            offered = environment.tools
        return Rollout(task=task, trajectory=trajectory, passages=recorder.passages, offered=offered)


@dataclass(frozen=True)
class _Request:
    """The request to make one rollout."""

    maker: RolloutMaker
    task: Task
    seed: str

    def run(self, work: Work) -> Rollout:
        return self.maker.roll_out(self.task, self.seed, work)
