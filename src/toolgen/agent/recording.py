"""Recording: ground-truth calls carried out in each task's environment, written down as trajectories to learn from.

Knows no model and no benchmark.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from random import Random
from typing import Any

from toolgen.agent.environments.dry_run import DryRunEnvironment
from toolgen.agent.environments.protocol import Environment, ToolResult
from toolgen.agent.environments.recorded import SimulatedEnvironment
from toolgen.agent.environments.registry import NO_PACKAGES, Packages, environment_for
from toolgen.catalog.catalog import Catalog
from toolgen.datasets.folder import Dataset
from toolgen.datasets.messages import (
    FINISH,
    NO_TOOL,
    RESULT_LIMIT,
    call_message,
    calls_message,
    opening,
    result_message,
    user_message,
)
from toolgen.datasets.phrasing import spoken
from toolgen.datasets.plausible import words_of
from toolgen.datasets.query import Call
from toolgen.datasets.results import answer_for
from toolgen.datasets.task import Task, Turn
from toolgen.datasets.training_sets.evidence import unevidenced_values
from toolgen.datasets.trajectory import Message, Outcome, Status, Trajectory, TurnOutcome

DRY_RUNS = 0.1
"""Share of the requests without an environment of their own whose calls are recorded and not answered, so that the model also
knows a dry run."""
MISSING_INFORMATION = "Some information is missing. Please give me the details that this needs."


def record_trajectories(
    dataset: Dataset,
    packages: Packages = NO_PACKAGES,
    *,
    keep: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """The dataset with one trajectory for each task and other request, `id` that of the request, in their order. With `keep`,
    the trajectories that it has come first, and only what has none is recorded.

    A turn with calls: the calls with their results, then `finish` with an answer that uses them. A turn without: `no_tool`
    where no tool fits or one is held back, else `finish` that gives up and asks for what is missing. The results are those of
    the task's environment. Where it has none they are made up, from the response schema of a tool that has one, and the
    calls of a turn are taken for independent: they stand in one message.

    `outcome.tool_errors` counts ground-truth calls that the environment answered with an error; such a trajectory is
    kept. Tasks without known calls are left out, and those that need a package which is not among `packages`.
    """
    tasks = {split: dataset.all_tasks(split) for split in dataset.queries}
    total, done = sum(map(len, tasks.values())), 0
    trajectories: dict[str, list[Trajectory]] = {
        split: [*dataset.trajectories[split]] if keep else [] for split in tasks
    }
    for split, found in tasks.items():
        known = {trajectory.query for trajectory in trajectories[split]}
        for task in found:
            if task.id not in known and (trajectory := _record(task, dataset.catalog, packages)):
                trajectories[split].append(trajectory)
            done += 1
            if on_progress:
                on_progress(done, total)
    return replace(dataset, trajectories={split: tuple(found) for split, found in trajectories.items()})


def _record(task: Task, catalog: Catalog, packages: Packages) -> Trajectory | None:
    """The trajectory of a task, or None if its calls are not known or cannot be executed here."""
    if not task.has_known_calls or (task.package and task.package not in packages):
        return None
    catalog = catalog.redefined(task.definitions)
    with closing(recording_environment(task, catalog, packages)) as environment:
        environment.reset(task)
        transcript = _Transcript(catalog, environment, opening(task))
        for turn, following in zip_longest(task.turns, task.turns[1:]):
            environment.start_turn(turn)
            transcript.messages.append(user_message(turn.text))
            if turn.calls:
                transcript.execute(turn.calls, at_once=not task.package)
                transcript.end(FINISH, {"answer": transcript.answer(len(turn.calls))}, "finished")
            elif task.no_tool_fits or turn.held_back:
                transcript.end(NO_TOOL, {}, "declined")
            else:
                transcript.end(FINISH, {"answer": question(turn, following, catalog), "gave_up": True}, "gave_up")
        return transcript.trajectory(task)


def recording_environment(task: Task, catalog: Catalog, packages: Packages) -> Environment:
    """Where conversations to learn from take place, over the catalog that the task means: the task's own environment, else one
    that makes results up or, for some tasks and those whose calls are not valid, a dry run."""
    if task.package:
        return environment_for(task, catalog, packages, validate=False)
    if task.faults or Random(f"dry run {task.id}").random() < DRY_RUNS:
        return DryRunEnvironment(catalog, validate=False)
    return SimulatedEnvironment(catalog, marked=False)


@dataclass
class _Transcript:
    """Messages as they are written down."""

    catalog: Catalog
    environment: Environment
    messages: list[Message]
    turns: list[TurnOutcome] = field(default_factory=list)
    results: list[ToolResult] = field(default_factory=list)
    actions: int = 0

    def execute(self, calls: Sequence[Call], *, at_once: bool) -> None:
        """Carries out the calls of one turn, in one message or one after the other."""
        for together in [calls] if at_once else [[call] for call in calls]:
            made = [
                (call.tool, in_schema_order(call.arguments, self.catalog.get(call.tool).parameters), self._next_id())
                for call in together
            ]
            self.messages.append(calls_message(made))
            for tool, arguments, name in made:
                self.results.append(self.environment.call(tool, arguments))
                self.messages.append(result_message(name, self.results[-1].content, RESULT_LIMIT))

    def answer(self, calls: int) -> str:
        """What is said after the last calls."""
        results = self.results[-calls:]
        if self.environment.name == DryRunEnvironment.name:
            return "The call was recorded." if calls == 1 else f"The {calls} calls were recorded."
        contents = [result.content for result in results]
        return answer_for(contents, Random(contents[-1]), failed=results[-1].is_error)

    def end(self, action: str, arguments: dict[str, Any], status: Status) -> None:
        """Ends a turn."""
        self.messages.append(call_message(action, arguments, self._next_id()))
        steps = self.actions - sum(turn.steps for turn in self.turns)
        self.turns.append(TurnOutcome(status=status, answer=arguments.get("answer"), steps=steps))

    def trajectory(self, task: Task) -> Trajectory:
        """What was written down, with its outcome."""
        outcome = Outcome(
            turns=tuple(self.turns),
            environment=self.environment.name,
            calls=len(self.results),
            tool_errors=sum(result.is_error for result in self.results),
        )
        return Trajectory(id=task.id, query=task.id, messages=tuple(self.messages), outcome=outcome)

    def _next_id(self) -> str:
        self.actions += 1
        return f"call_{self.actions}"


def question(turn: Turn, following: Turn | None, catalog: Catalog) -> str:
    """What is asked where the next turn tells the values that this one lacks."""
    for call in following.calls or () if following else ():
        schema = catalog.get(call.tool).parameters
        required = {name: call.arguments[name] for name in schema.get("required") or () if name in call.arguments}
        paths = unevidenced_values(required, {}, turn.text)
        if lacking := dict.fromkeys(re.split(r"[.\[]", path)[0] for path in paths):
            return f"Please tell me the {spoken([words_of(name) for name in lacking])}."
    return MISSING_INFORMATION


def in_schema_order(value: Any, schema: Mapping[str, Any]) -> Any:
    """The value with the keys of its objects in the order of the schema's properties, the order they are decoded in."""
    if isinstance(value, Mapping):
        properties: Mapping[str, Any] = schema.get("properties") or {}
        ordered = {name: in_schema_order(value[name], inner) for name, inner in properties.items() if name in value}
        return ordered | {name: item for name, item in value.items() if name not in ordered}
    if isinstance(value, list) and isinstance(schema.get("items"), Mapping):
        return [in_schema_order(item, schema["items"]) for item in value]
    return value
