"""Recording: ground-truth calls carried out in the real environment, written down as trajectories to learn from.

Single-turn requests are recorded in the dry-run environment, multi-turn tasks in BFCL's. Knows no model.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from toolgen.agent.environments.bfcl import BfclEnvironment
from toolgen.agent.environments.dry_run import DryRunEnvironment
from toolgen.agent.environments.protocol import Environment, ToolResult
from toolgen.catalog.catalog import Catalog
from toolgen.datasets.folder import Dataset
from toolgen.datasets.messages import (
    FINISH,
    NO_TOOL,
    RESULT_LIMIT,
    call_message,
    opening,
    result_message,
    user_message,
    user_turns,
)
from toolgen.datasets.query import Call, Query
from toolgen.datasets.trajectory import Message, Trajectory

# The longest result that an answer repeats, in characters.
ANSWER_LIMIT = 160

MISSING_INFORMATION = "Some information is missing. Please give me the details that this needs."


def record_trajectories(
    dataset: Dataset,
    package_root: Path | None = None,
    *,
    result_limit: int = RESULT_LIMIT,
    on_progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """The dataset with one trajectory for each query, `id` that of the query, in the order of the queries.

    - A request with calls: the calls with the dry run's results, then `finish`.
    - A request that no tool fits: `no_tool`.
    - A task of several turns: its ground-truth calls executed in BFCL's environment, each turn ended by `finish`; a
      turn without ground-truth calls ends with `no_tool` where BFCL holds the function back (`miss_func`), else with
      `finish` that gives up and asks for what is missing. `package_root` is needed for these; without it they
      are left out.

    `outcome["errors"]` counts ground-truth calls that the environment answered with an error; such a trajectory is
    kept. Queries without known calls are left out.
    """
    recorder = _Recorder(dataset, package_root, result_limit)
    total, done = sum(map(len, dataset.queries.values())), 0
    trajectories: dict[str, tuple[Trajectory, ...]] = {}
    for split, queries in dataset.queries.items():
        found = []
        for query in queries:
            trajectory = recorder.record(query)
            found += [trajectory] if trajectory else []
            done += 1
            if on_progress:
                on_progress(done, total)
        trajectories[split] = tuple(found)
    return replace(dataset, trajectories=trajectories)


class _Recorder:
    """Records queries of one dataset; the environments are made once."""

    def __init__(self, dataset: Dataset, package_root: Path | None, result_limit: int) -> None:
        self._catalog = dataset.catalog
        self._dry_run = DryRunEnvironment(dataset.catalog, validate=False)
        self._bfcl = BfclEnvironment(package_root, dataset.catalog) if package_root else None
        self._limit = result_limit

    def record(self, query: Query) -> Trajectory | None:
        """The trajectory of a query, or None if its calls are not known or cannot be executed here."""
        if query.is_multi_turn:
            return self._multi_turn(query, self._bfcl) if self._bfcl else None
        if not query.tools:
            return self._declined(query)
        return self._single_turn(query) if query.calls else None

    def _declined(self, query: Query) -> Trajectory:
        transcript = _Transcript(self._catalog, self._limit, [*opening(query), user_message(query.text)])
        transcript.end(NO_TOOL, {}, "declined")
        return transcript.trajectory(query, None)

    def _single_turn(self, query: Query) -> Trajectory:
        transcript = _Transcript(self._catalog, self._limit, [*opening(query), user_message(query.text)])
        self._dry_run.reset(query)
        transcript.execute(query.calls or (), self._dry_run)
        transcript.end(FINISH, {"answer": _recorded_answer(len(query.calls or ()))}, "finished")
        return transcript.trajectory(query, self._dry_run)

    def _multi_turn(self, query: Query, environment: Environment) -> Trajectory:
        transcript = _Transcript(self._catalog, self._limit, opening(query))
        environment.reset(query)
        remaining = list(query.calls or ())
        for turn, (text, count) in enumerate(zip(user_turns(query), query.meta["turn_calls"], strict=True)):
            environment.start_turn(turn)
            transcript.messages.append(user_message(text))
            calls, remaining = remaining[:count], remaining[count:]
            if calls:
                results = transcript.execute(calls, environment)
                transcript.end(FINISH, {"answer": answer_from(results[-1])}, "finished")
            elif str(turn + 1) in (query.meta.get("missed_function") or {}):
                transcript.end(NO_TOOL, {}, "declined")
            else:
                transcript.end(FINISH, {"answer": MISSING_INFORMATION, "gave_up": True}, "gave_up")
        return transcript.trajectory(query, environment)


@dataclass
class _Transcript:
    """Messages as they are written down."""

    catalog: Catalog
    limit: int
    messages: list[Message] = field(default_factory=list)
    turns: list[dict[str, Any]] = field(default_factory=list)
    calls: int = 0
    errors: int = 0

    def execute(self, calls: Sequence[Call], environment: Environment) -> list[ToolResult]:
        """Carries out the calls of one turn."""
        results = []
        for call in calls:
            result = environment.call(call.tool, call.arguments)
            arguments = in_schema_order(call.arguments, self.catalog.get(call.tool).parameters)
            self.messages.append(call_message(call.tool, arguments, self._next_id()))
            self.messages.append(result_message(f"call_{self.calls}", result.content, self.limit))
            self.errors += result.is_error
            results.append(result)
        return results

    def end(self, action: str, arguments: dict[str, Any], status: str) -> None:
        """Ends a turn."""
        self.messages.append(call_message(action, arguments, self._next_id()))
        self.turns.append({"status": status, "answer": arguments.get("answer")})

    def trajectory(self, query: Query, environment: Environment | None) -> Trajectory:
        """What was written down, with its outcome."""
        outcome = {
            "status": self.turns[-1]["status"],
            "answer": self.turns[-1]["answer"],
            "environment": environment.name if environment else None,
            "source": "ground truth",
            "turns": self.turns,
            "errors": self.errors,
        }
        return Trajectory(id=query.id, query=query.id, messages=tuple(self.messages), outcome=outcome)

    def _next_id(self) -> str:
        self.calls += 1
        return f"call_{self.calls}"


def in_schema_order(value: Any, schema: Mapping[str, Any]) -> Any:
    """The value with the keys of its objects in the order of the schema's properties, the order they are decoded in."""
    if isinstance(value, Mapping):
        properties: Mapping[str, Any] = schema.get("properties") or {}
        ordered = {name: in_schema_order(value[name], inner) for name, inner in properties.items() if name in value}
        return ordered | {name: item for name, item in value.items() if name not in ordered}
    if isinstance(value, list) and isinstance(schema.get("items"), Mapping):
        return [in_schema_order(item, schema["items"]) for item in value]
    return value


def answer_from(result: ToolResult) -> str:
    """A short, true sentence about the last result of a turn; the source has no answers of its own."""
    opening_words = "The last call failed." if result.is_error else "Done."
    return f"{opening_words} {_facts(result.content)}".strip()


def _recorded_answer(count: int) -> str:
    return "The call was recorded." if count == 1 else f"The {count} calls were recorded."


def _facts(content: str) -> str:
    """A small flat result as text, `temperature: 21.5, unit: C.`; nothing for what is long or nested."""
    try:
        value = json.loads(content)
    except ValueError:
        value = None
    if not isinstance(value, dict) or any(isinstance(item, (dict, list)) for item in value.values()):
        return ""
    text = ", ".join(f"{key}: {item}" for key, item in value.items() if item not in ("", None)).rstrip(".")
    return f"{text}." if text and len(text) <= ANSWER_LIMIT else ""
