"""BFCL's own rules for right and wrong, reimplemented from their published behaviour.

Single-turn: a call is right if the function, the presence of its parameters, their types and their values agree with
one of the accepted answers. Multi-turn: after each turn of the user the simulated systems must be in the state that the
ground-truth calls lead to, and every ground-truth result must have come up. The looseness of the original is kept
on purpose (a list of accepted values may hold the empty string, which then also equals an empty list), because only
then are figures comparable. Knows no model.

Source: Patil et al., "The Berkeley Function Calling Leaderboard", ICML 2025; package bfcl-eval 2026.3.23.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolgen.agent.environments.bfcl import BfclEnvironment, execute, find_package, new_instances
from toolgen.catalog.catalog import Catalog
from toolgen.datasets.payloads import BfclAnswer
from toolgen.datasets.query import Call
from toolgen.datasets.task import Task

Schema = Mapping[str, Any]
Accepted = Sequence[Any]

# BFCL compares Python types exactly: bool is no integer, and "any" stands for text unless the answer says otherwise.
PYTHON_TYPES: Mapping[str, type] = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "array": list,
    "object": dict,
}
ANY_TYPE = str


@dataclass(frozen=True)
class Verdict:
    """Whether something is right, and if not, why: `reason` is a short word, `detail` names the place."""

    valid: bool
    reason: str = ""
    detail: str = ""

    def __bool__(self) -> bool:
        return self.valid


RIGHT = Verdict(True)


# --- single-turn --------------------------------------------------------------------------------------------------


def check_single_turn(
    expected: Sequence[Call], answers: Sequence[BfclAnswer], calls: Sequence[Call], catalog: Catalog
) -> Verdict:
    """BFCL's rule for all calls of a single-turn request; `answers` say what is accepted for each expected call.

    The number of calls must agree; with several expected calls their order does not matter.
    """
    if len(calls) != len(expected):
        return Verdict(False, "wrong_count", f"{len(calls)} calls instead of {len(expected)}")
    remaining = list(calls)
    for wanted, answer in zip(expected, answers, strict=True):
        schema = catalog.get(wanted.tool).parameters
        verdicts = [check_call(call, wanted.tool, answer.accepted, schema) for call in remaining]
        match = next((position for position, verdict in enumerate(verdicts) if verdict), None)
        if match is None:
            no_match = Verdict(False, "no_match", f"nothing matches {wanted.tool}")
            return verdicts[0] if len(expected) == 1 else no_match
        del remaining[match]
    return RIGHT


def check_call(call: Call, tool: str, accepted: Mapping[str, Accepted], schema: Schema) -> Verdict:
    """One call against a tool and the accepted values of each parameter; `schema` is the function's argument schema."""
    properties = schema.get("properties") or {}
    if call.tool != tool:
        return Verdict(False, "wrong_function", f"{call.tool} instead of {tool}")
    for name in schema.get("required") or ():
        if name not in call.arguments:
            return Verdict(False, "missing_required", name)
    for name, value in call.arguments.items():
        if name not in properties or name not in accepted:
            return Verdict(False, "unexpected_parameter", name)
        reason = _value_problem(value, accepted[name], properties[name])
        if reason:
            return Verdict(False, reason, f"{name}={value!r}")
    for name, values in accepted.items():
        if name not in call.arguments and "" not in values:
            return Verdict(False, "missing_optional", name)
    return RIGHT


def _value_problem(value: Any, accepted: Accepted, schema: Schema) -> str:
    """Empty if the value is accepted, else "wrong_type" or "wrong_value"."""
    expected = _python_type(schema)
    nested = _python_type(schema["items"]) if expected is list and "items" in schema else None
    if expected is float and type(value) is int:
        value = float(value)
    valid, is_variable = _check_type(value, accepted, expected, nested)
    if not valid:
        return "wrong_type"
    return "" if _is_accepted(value, accepted, expected, nested, is_variable) else "wrong_value"


def _python_type(schema: Schema) -> type:
    name = schema.get("type")
    return PYTHON_TYPES.get(name, ANY_TYPE) if isinstance(name, str) else ANY_TYPE


def _check_type(value: Any, accepted: Accepted, expected: type, nested: type | None) -> tuple[bool, bool]:
    """Whether the type fits, and whether the answer is a "variable": of another type than the function declares.

    Items of a list are looked at one level deep, as in the original.
    """
    answer_type = next((type(answer) for answer in accepted if answer != ""), None)
    is_variable = answer_type is not None and answer_type is not expected
    if type(value) is expected:
        if nested is None:
            return True, is_variable
        return any(_items_fit(value, answer, nested) for answer in accepted), is_variable
    return answer_type is not None and type(value) is answer_type, True


def _items_fit(value: Any, answer: Any, nested: type) -> bool:
    if type(answer) is not list:
        return True
    return all(_check_type(item, answer, nested, None)[0] for item in value)


def _is_accepted(value: Any, accepted: Accepted, expected: type, nested: type | None, is_variable: bool) -> bool:
    if is_variable:
        return value in accepted
    if expected is dict:
        return any(_dict_matches(value, answer) for answer in accepted if answer != "")
    if expected is list and nested is dict:
        return any(_dict_list_matches(value, answer) for answer in accepted)
    if expected is str:
        return standardize(value) in [standardize(answer) for answer in accepted if type(answer) is str]
    if expected is list:
        return list(map(standardize, value)) in [list(map(standardize, answer)) for answer in accepted]
    return value in accepted


def _dict_matches(value: Mapping[str, Any], answer: Any) -> bool:
    """Every key is expected and holds one of its accepted values; a missing one accepts the empty string."""
    if not isinstance(value, Mapping) or not isinstance(answer, Mapping):
        return False
    present = all(
        key in answer and standardize(item) in list(map(standardize, answer[key])) for key, item in value.items()
    )
    return present and all(key in value or "" in values for key, values in answer.items())


def _dict_list_matches(value: Sequence[Any], answer: Any) -> bool:
    """As many objects as expected, each matching the one at its place."""
    return len(value) == len(answer) and all(
        expected != "" and _dict_matches(item, expected) for item, expected in zip(value, answer, strict=True)
    )


def standardize(value: Any) -> Any:
    """Text without blanks, case and `,./-_*^`, with one kind of quote: "April 1, 2024" equals "april 1 2024"."""
    if type(value) is not str:
        return value
    return re.sub(r"[ \,\.\/\-\_\*\^]", "", value).lower().replace("'", '"')


# --- multi-turn ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class TurnVerdict:
    """One turn of a multi-turn task.

    `state`: the simulated systems are where the ground truth leaves them. `responses`: every result that the
    ground-truth calls of this turn give has come up so far (BFCL's notion of required calls). `required_calls`: every
    function that they call has been called so far; informative, not part of BFCL's rule. `abstained`: nothing was
    called. A turn without ground-truth calls (`answerable` False) is always right in BFCL; what was called in it shows
    in the state of the next one.
    """

    state: bool
    responses: bool
    required_calls: bool
    abstained: bool
    answerable: bool
    valid: bool
    reason: str = ""


def check_multi_turn(
    task: Task, calls_by_turn: Sequence[Sequence[Call]], catalog: Catalog, package_root: Path
) -> tuple[TurnVerdict, ...]:
    """Executes the calls and the ground truth side by side and compares them after every turn.

    A turn that was not reached counts as one without calls. The task is right if all turns are; BFCL itself stops at
    the first wrong one.
    """
    package = find_package(package_root)
    environment = BfclEnvironment(package, catalog)
    environment.reset(task)
    truth = new_instances(package, task)
    results: list[str] = []
    called: list[str] = []
    verdicts = []
    for place, turn in enumerate(task.turns):
        calls = calls_by_turn[place] if place < len(calls_by_turn) else ()
        expected = turn.calls or ()
        environment.start_turn(turn)
        results += [environment.call(call.tool, call.arguments).content for call in calls]
        called += [call.tool for call in calls]
        wanted = [_execute_truth(truth, call, catalog) for call in expected]
        verdicts.append(
            _turn_verdict(
                made=len(calls),
                expected=expected,
                state=same_state(environment.instances, truth),
                responses=not missing(wanted, results),
                required_calls=not missing([call.tool for call in expected], called),
            )
        )
    return tuple(verdicts)


def same_state(instances: Mapping[str, Any], truth: Mapping[str, Any]) -> bool:
    """Whether every public attribute that an instance of the ground truth has is equal in the other's."""
    return all(
        getattr(instances[name], attribute, _ABSENT) == value
        for name, instance in truth.items()
        for attribute, value in vars(instance).items()
        if not attribute.startswith("_")
    )


def missing(wanted: Sequence[str], found: Sequence[str]) -> list[str]:
    """What of `wanted` is not in `found`, counting repetitions, whatever the order."""
    rest = list(found)
    absent = []
    for item in wanted:
        if item in rest:
            rest.remove(item)
        else:
            absent.append(item)
    return absent


_ABSENT = object()


def _turn_verdict(
    *, made: int, expected: Sequence[Call], state: bool, responses: bool, required_calls: bool
) -> TurnVerdict:
    reason = ""
    if expected and not made:
        reason = "no_call"
    elif expected and not state:
        reason = "wrong_state"
    elif expected and not responses:
        reason = "missing_response"
    return TurnVerdict(
        state=state,
        responses=responses,
        required_calls=required_calls,
        abstained=made == 0,
        answerable=bool(expected),
        valid=not reason,
        reason=reason,
    )


def _execute_truth(instances: Mapping[str, Any], call: Call, catalog: Catalog) -> str:
    endpoint = catalog.get(call.tool).endpoint or {}
    return execute(instances[endpoint["class"]], endpoint["method"], call.arguments).content
