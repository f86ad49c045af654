"""tau2's tasks, judged by the package's own checks: the databases, assertions about the world, the calls, and what was told."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from toolgen.agent.environments.tau2 import Tau2Environment
from toolgen.catalog.catalog import Catalog
from toolgen.datasets.messages import calls_by_turn
from toolgen.datasets.payloads import Tau2Task
from toolgen.datasets.task import Task
from toolgen.datasets.tau2 import new_world
from toolgen.datasets.trajectory import TURN_DONE, Trajectory
from toolgen.datasets.worlds import world_module
from toolgen.evaluation.scorers.protocol import Score

_BASES = {
    "DB": ("env", "EnvironmentEvaluator"),
    "ENV_ASSERTION": ("env", "EnvironmentEvaluator"),
    "ACTION": ("action", "ActionEvaluator"),
    "COMMUNICATE": ("communicate", "CommunicateEvaluator"),
}
"""Which evaluator of the package judges what a reward rests on."""


class Tau2Scorer:
    """Measures tau2's `reward`, 1 if all that it rests on is right and the agent ended by itself, and each of these apart, such
    as `reward_db`. Assertions in natural language, which need a language model, are in no task's reward."""

    def __init__(self, catalog: Catalog, package: Path) -> None:
        self._catalog, self._package = catalog, package

    def score(self, task: Task, trajectory: Trajectory) -> Score:
        assert isinstance(task.payload, Tau2Task), "the registry gives this scorer to such tasks only"
        judged = world_module(self._package, "tau2.data_model.tasks").Task.model_validate(task.payload.record)
        told = self._messages(task, trajectory)
        bases = sorted({basis.value for basis in judged.evaluation_criteria.reward_basis})
        parts = {f"reward_{basis.lower()}": self._part(basis, judged, task.payload, told) for basis in bases}
        ended = trajectory.outcome.status in TURN_DONE
        reward = float(ended and all(parts.values()))
        wrong = [name.removeprefix("reward_") for name, value in parts.items() if not value]
        reason = "" if reward else f"wrong: {', '.join(wrong)}" if wrong else trajectory.outcome.status
        return Score(correct=bool(reward), reason=reason, measures={"reward": reward, **parts})

    def _part(self, basis: str, judged: Any, payload: Tau2Task, told: list[Any]) -> float:
        """One of what a reward rests on, 0 or 1."""
        module, evaluator = _BASES[basis]
        options: dict[str, Any] = {}
        if module == "env":
            constructor = partial(new_world, self._package, payload.domain)
            options = {"environment_constructor": constructor, "solo_mode": payload.solo}
        judge = getattr(world_module(self._package, f"tau2.evaluator.evaluator_{module}"), evaluator)
        try:
            found = judge.calculate_reward(task=judged, full_trajectory=told, **options)
        except ValueError:  # an assertion about what does not exist
            return 0.0
        parts = {kind.value: value for kind, value in (found.reward_breakdown or {}).items()}
        return float(parts.get(basis, found.reward))

    def _messages(self, task: Task, trajectory: Trajectory) -> list[Any]:
        """The calls, executed again, and the answer as tau2's messages."""
        kinds = world_module(self._package, "tau2.data_model.message")
        environment = Tau2Environment(self._package, self._catalog)
        environment.reset(task)
        told: list[Any] = []
        for number, call in enumerate(calls_by_turn(trajectory.messages)[0]):
            name = self._catalog.get(call.tool).name if call.tool in self._catalog else call.tool
            made = kinds.ToolCall(id=str(number), name=name, arguments=dict(call.arguments))
            told.append(kinds.AssistantMessage(role="assistant", tool_calls=[made]))
            told.append(environment.world.get_response(made))
        if trajectory.outcome.answer:
            told.append(kinds.AssistantMessage(role="assistant", content=trajectory.outcome.answer))
        return told
