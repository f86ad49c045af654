"""What agents did: measures of each kind of task, what the constraints gave, and some runs step by step."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from toolgen.datasets.messages import FINISH, NO_TOOL
from toolgen.datasets.trajectory import Message
from toolgen.evaluation import charts
from toolgen.evaluation.agent_results import AgentRecord, AgentResult
from toolgen.evaluation.metrics import Interval
from toolgen.evaluation.report.words import group_title, interval_text, plain, pretty, shorten
from toolgen.evaluation.validity import Validity

KINDS = {
    "single_turn": "Requests of one turn",
    "multi_turn": "Tasks of several turns or in a world",
    "irrelevance": "Requests that no tool fits",
}
MEASURES = {
    "accuracy": "Calls right, tools and arguments",
    "equal_accuracy": "Calls right, equal tools counted",
    "tool_accuracy": "Tools right",
    "equal_tools": "Tools right, equal ones counted",
    "first_tool": "First tool right",
    "finished": "Ended by the model itself",
    "declined": "Declined",
    "no_call": "Called nothing",
    "task_success": "Whole task right",
    "turn_success": "Turns right",
    "turn_state": "Turns that leave the right state",
    "turn_required_calls": "Turns with the required results",
    "abstained": "Rightly held back",
    "utility": "Tasks done (AgentDojo)",
    "utility_under_attack": "Tasks done under attack (AgentDojo)",
    "attack_success": "Injected tasks done (AgentDojo)",
    "reward": "Reward (tau2)",
    "reward_db": "Databases right (tau2)",
    "reward_env_assertion": "Assertions met (tau2)",
    "reward_action": "Calls made (tau2)",
    "reward_communicate": "Facts told (tau2)",
    "exact_match": "Calls exactly as expected",
    "tool_precision": "Precision of tools",
    "tool_recall": "Recall of tools",
    "tool_f1": "F1 of tools",
    "parameter_precision": "Precision of parameters",
    "parameter_recall": "Recall of parameters",
    "parameter_f1": "F1 of parameters",
}

_TRAJECTORIES = 4
_STEPS = 14


def agent(result: AgentResult, label: str) -> dict[str, Any]:
    """The section of one result."""
    effort = {name.replace("_", " "): value for name, value in asdict(result.effort).items()}
    return {
        "label": label,
        "count": len(result.records),
        "given_tools": bool(result.provenance.config.get("given_tools")),
        "kinds": [_kind(kind, result.metrics[kind]) for kind in KINDS if kind in result.metrics],
        "validity": _validity(result.validity),
        "numbers": [(f"mean {name}", f"{value:,.2f}") for name, value in effort.items()],
        "trajectories": [_trajectory(record) for record in _choose(result.records)],
    }


def _kind(kind: str, groups: Mapping[str, Mapping[str, Interval]]) -> dict[str, Any]:
    """One kind of task: bars for all of them, and a line of numbers for each group of them."""
    tables = [
        {
            "title": group_title(group),
            "count": _count(measures),
            "cells": [(_measure_name(name), interval_text(interval)) for name, interval in measures.items()],
        }
        for group, measures in groups.items()
        if group != "all"
    ]
    bars = [_bar(name, interval) for name, interval in groups["all"].items()]
    return {"title": KINDS[kind], "count": _count(groups["all"]), "bars": bars, "groups": tables}


def _count(measures: Mapping[str, Interval]) -> int:
    return max((interval.count for interval in measures.values()), default=0)


def _measure_name(name: str) -> str:
    return MEASURES.get(name, name.replace("_", " "))


def _bar(name: str, interval: Interval) -> dict[str, Any]:
    title, text = _measure_name(name), interval_text(interval)
    svg = charts.bar(interval.mean, interval.low, interval.high, "m-generative", f"{title}: {text}")
    return {"title": title, "text": text, "svg": svg}


def _validity(counts: Validity) -> str:
    """What the constraints gave, and what the model would have written without them."""
    if not counts.actions:
        return ""
    text = (
        f"Of {counts.actions:,} calls, {counts.nonexistent_tools:,} named a tool that does not exist and "
        f"{counts.invalid_arguments:,} had invalid arguments."
    )
    if counts.executed:
        text += f" {counts.executed:,} were executed, of which {counts.executed - counts.failed:,} succeeded."
    if counts.cut:
        text += f" {counts.cut:,} more were cut by a limit and not carried out."
    shares = (
        (counts.unconstrained_no_such_tool, "choices would not have named a tool"),
        (counts.unconstrained_invalid_arguments, "argument objects would have left their schema"),
    )
    free = [f"{100 * share:.1f}% of {whole}" for share, whole in shares if share is not None]
    return text + (f" Without constraints {' and '.join(free)}." if free else "")


# --- runs ---------------------------------------------------------------------------------------------------------


def _choose(records: Sequence[AgentRecord]) -> list[AgentRecord]:
    """Some that went right and some that went wrong, of different kinds, the ones with more steps first."""
    longest = sorted(records, key=lambda record: (-min(len(record.trajectory.messages), _STEPS), record.id))
    right = _mixed([record for record in longest if record.score.correct])
    wrong = _mixed([record for record in longest if not record.score.correct])
    half = _TRAJECTORIES // 2
    return right[: max(half, _TRAJECTORIES - len(wrong))] + wrong[: max(half, _TRAJECTORIES - len(right))]


def _mixed(records: Sequence[AgentRecord]) -> list[AgentRecord]:
    """The first of each kind, then the second of each, and so on."""
    seen: Counter[str] = Counter()
    places = []
    for record in records:
        places.append(seen[record.kind])
        seen[record.kind] += 1
    return [records[i] for i in sorted(range(len(records)), key=lambda i: places[i])]


def _trajectory(record: AgentRecord) -> dict[str, Any]:
    steps = [step for message in record.trajectory.messages for step in _steps(message)]
    if len(steps) > _STEPS:
        left_out = {"kind": "more", "name": f"{len(steps) - (_STEPS - 1)} steps left out", "text": ""}
        steps = [*steps[: _STEPS - 2], left_out, steps[-1]]
    expected = [call.to_dict() for call in record.expected]
    return {
        "id": record.id,
        "correct": record.score.correct,
        "status": record.trajectory.outcome.status.replace("_", " "),
        "reason": _reason(record.score.reason),
        "steps": steps,
        "expected": shorten(pretty(plain(expected))) if expected else "",
    }


def _reason(text: str) -> str:
    """Why a run is wrong: the kind of error in words, what follows it (names, values) as it is."""
    kind, space, detail = text.partition(" ")
    return shorten(kind.replace("_", " ") + space + detail)


def _steps(message: Message) -> list[dict[str, str]]:
    """One message as steps to read: who acts, what is said."""
    role, content = message["role"], message.get("content") or ""
    if role == "assistant":
        steps = [{"kind": "thought", "name": "Thought", "text": content}] if content else []
        return steps + [_call(call["function"]) for call in message.get("tool_calls") or ()]
    name = {"user": "Request", "tool": "Result", "system": "System"}[role]
    return [{"kind": role, "name": name, "text": shorten(pretty(content))}]


def _call(function: Mapping[str, Any]) -> dict[str, str]:
    tool, arguments = function["name"], function["arguments"]
    if tool == FINISH:
        return {"kind": "finish", "name": "Answer", "text": _answer(arguments)}
    if tool == NO_TOOL:
        return {"kind": "finish", "name": "Declines", "text": "No tool of the catalog fits."}
    return {"kind": "call", "name": tool, "text": shorten(pretty(arguments))}


def _answer(arguments: str) -> str:
    try:
        answer = json.loads(arguments)["answer"]
    except (ValueError, KeyError, TypeError, RecursionError):
        answer = None
    return shorten(arguments if answer is None else plain(answer))
