"""BFCL's rules: by hand, and against the original checker where the package is at hand."""

from __future__ import annotations

import builtins
import copy
import json
import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from toolgen.catalog.catalog import Catalog
from toolgen.catalog.tool import Tool
from toolgen.datasets.bfcl import SINGLE_TURN, find_package, import_bfcl
from toolgen.datasets.folder import Dataset
from toolgen.datasets.payloads import BfclAnswer, BfclCalls
from toolgen.datasets.query import Call
from toolgen.evaluation.scorers.bfcl_rules import (
    check_call,
    check_multi_turn,
    check_single_turn,
    standardize,
)

SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer"},
        "scale": {"type": "number"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "place": {"type": "object", "properties": {"lat": {"type": "number"}, "name": {"type": "string"}}},
        "stops": {"type": "array", "items": {"type": "object"}},
        "extra": {},
    },
    "required": ["city"],
}


def judge(arguments: Mapping[str, Any], accepted: Mapping[str, Any]) -> str:
    verdict = check_call(Call(tool="a&&weather", arguments=arguments), "a&&weather", accepted, SCHEMA)
    assert bool(verdict) == (verdict.reason == "")
    return verdict.reason


def test_text_is_compared_without_case_blanks_and_punctuation() -> None:
    assert standardize("April 1, 2024") == standardize("april 1 2024")
    assert judge({"city": "new-york"}, {"city": ["New York"]}) == ""
    assert judge({"city": "Boston"}, {"city": ["New York", "NYC"]}) == "wrong_value"


def test_a_required_parameter_must_be_given_and_an_unknown_one_must_not() -> None:
    assert judge({}, {"city": ["Oslo"]}) == "missing_required"
    assert judge({"city": "Oslo", "month": 5}, {"city": ["Oslo"]}) == "unexpected_parameter"


def test_an_optional_parameter_may_be_left_out_only_if_the_answer_says_so() -> None:
    assert judge({"city": "Oslo"}, {"city": ["Oslo"], "days": [3, ""]}) == ""
    assert judge({"city": "Oslo"}, {"city": ["Oslo"], "days": [3]}) == "missing_optional"


def test_an_integer_counts_as_a_float_but_not_the_other_way_round() -> None:
    assert judge({"city": "Oslo", "scale": 2}, {"city": ["Oslo"], "scale": [2.0]}) == ""
    assert judge({"city": "Oslo", "days": 2.0}, {"city": ["Oslo"], "days": [2]}) == "wrong_type"
    assert judge({"city": "Oslo", "days": True}, {"city": ["Oslo"], "days": [1]}) == "wrong_type"


def test_lists_keep_their_order_and_their_items_are_standardized() -> None:
    accepted = {"city": ["Oslo"], "tags": [["a", "b c"]]}
    assert judge({"city": "Oslo", "tags": ["A", "b-c"]}, accepted) == ""
    assert judge({"city": "Oslo", "tags": ["b c", "a"]}, accepted) == "wrong_value"
    assert judge({"city": "Oslo", "tags": [1]}, accepted) == "wrong_type"


def test_each_member_of_an_object_has_its_own_accepted_values() -> None:
    accepted = {"city": ["Oslo"], "place": [{"lat": [1.5], "name": ["Home", ""]}]}
    assert judge({"city": "Oslo", "place": {"lat": 1.5}}, accepted) == ""
    assert judge({"city": "Oslo", "place": {"lat": 1.5, "name": "home"}}, accepted) == ""
    assert judge({"city": "Oslo", "place": {"name": "home"}}, accepted) == "wrong_value"
    assert judge({"city": "Oslo", "place": {"lat": 1.5, "x": 1}}, accepted) == "wrong_value"


def test_lists_of_objects_match_place_by_place() -> None:
    accepted = {"city": ["Oslo"], "stops": [[{"at": ["A"]}, {"at": ["B"]}]]}
    assert judge({"city": "Oslo", "stops": [{"at": "a"}, {"at": "b"}]}, accepted) == ""
    assert judge({"city": "Oslo", "stops": [{"at": "b"}, {"at": "a"}]}, accepted) == "wrong_value"
    assert judge({"city": "Oslo", "stops": [{"at": "a"}]}, accepted) == "wrong_value"


def test_a_value_of_the_answers_type_is_a_variable_and_compared_literally() -> None:
    assert judge({"city": "Oslo", "days": "n_days"}, {"city": ["Oslo"], "days": ["n_days"]}) == ""
    assert judge({"city": "Oslo", "extra": 7}, {"city": ["Oslo"], "extra": [7]}) == ""


def test_parallel_calls_match_in_any_order_and_must_be_as_many() -> None:
    catalog = Catalog([Tool(id="a&&weather", provider="a", name="weather", parameters=SCHEMA)])
    answers = [BfclAnswer(accepted={"city": [city]}) for city in ("Oslo", "Rome")]
    oslo, rome = (Call(tool="a&&weather", arguments={"city": city}) for city in ("Oslo", "Rome"))
    assert check_single_turn([oslo, rome], answers, [rome, oslo], catalog)
    assert check_single_turn([oslo, rome], answers, [oslo], catalog).reason == "wrong_count"
    assert check_single_turn([oslo, rome], answers, [oslo, oslo], catalog).reason == "no_match"


# --- against the original -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bfcl_package(cached_bfcl: Path) -> Path:
    return find_package(cached_bfcl)


@pytest.fixture(scope="module")
def bfcl(bfcl_package: Path) -> Dataset:
    return import_bfcl(bfcl_package)


@pytest.fixture(scope="module")
def original(bfcl_package: Path) -> Callable[..., Any]:
    """`ast_checker` of the package; what it imports (every vendor's SDK) is replaced by the few names it uses."""
    language = SimpleNamespace(PYTHON="python", JAVA="java", JAVASCRIPT="javascript")
    names = {
        "Language": language,
        "MODEL_CONFIG_MAPPING": {"model": SimpleNamespace(underscore_to_dot=False)},
        "JAVA_TYPE_CONVERSION": {},
        "JS_TYPE_CONVERSION": {},
        "java_type_converter": None,
        "js_type_converter": None,
    }
    stub = SimpleNamespace(**names)

    def import_stub(name: str, *arguments: Any, **keywords: Any) -> Any:
        return stub if name.startswith("bfcl_eval") else builtins.__import__(name, *arguments, **keywords)

    module = ModuleType("original_ast_checker")
    module.__dict__["__builtins__"] = {**vars(builtins), "__import__": import_stub}
    source = bfcl_package / "eval_checker/ast_eval/ast_checker.py"
    exec(compile(source.read_text(encoding="utf-8"), str(source), "exec"), module.__dict__)
    checker = module.__dict__["ast_checker"]

    def run(functions: list[Any], output: list[Any], answer: list[Any], category: str) -> bool:
        return bool(checker(functions, output, answer, "python", category, "model")["valid"])

    return run


def mutations(calls: tuple[Call, ...], random_: random.Random) -> Iterator[list[Call]]:
    """The calls themselves, and many that are wrong or almost right."""
    yield list(calls)
    yield list(reversed(calls))
    yield [*calls, calls[0]]
    yield list(calls[:-1])
    for position, call in enumerate(calls):
        for arguments in _changed(call.arguments, random_):
            changed = list(calls)
            changed[position] = Call(tool=call.tool, arguments=arguments)
            yield changed


def _changed(arguments: Mapping[str, Any], random_: random.Random) -> Iterator[dict[str, Any]]:
    yield {**arguments, "surely_unknown": 1}
    for name, value in arguments.items():
        yield {key: item for key, item in arguments.items() if key != name}
        for other in _values(value, random_):
            yield {**arguments, name: other}


def _values(value: Any, random_: random.Random) -> Iterator[Any]:
    yield from ("", None, str(value), [], {}, [value], True, 7, 7.5)
    if isinstance(value, str):
        yield from (value.upper(), f" {value}. ", value + "x", value.replace(" ", "_"))
    elif isinstance(value, bool):
        yield not value
    elif isinstance(value, (int, float)):
        yield from (float(value), int(value), value + 1)
    elif isinstance(value, list) and value:
        yield from (value[::-1], value[:-1], [*value, value[0]], [str(item) for item in value])
        yield from ([item, *value[1:]] for item in _values(value[0], random_))
    elif isinstance(value, dict) and value:
        key = random_.choice(list(value))
        yield {k: v for k, v in value.items() if k != key}
        yield {**value, "surely_unknown": 1}
        yield from ({**value, key: item} for item in _values(value[key], random_))


@pytest.mark.weights
def test_single_turn_agrees_with_the_original_on_ground_truth_and_on_mutations(
    bfcl: Dataset, bfcl_package: Path, original: Callable[..., bool]
) -> None:
    names = {tool.id: tool.source["name"] for tool in bfcl.catalog}
    raw = _raw_functions(bfcl_package)
    random_ = random.Random(0)
    compared = right = 0
    differing = []
    every = [(task, task.payload) for tasks in bfcl.tasks.values() for task in tasks]
    requests = [(task, payload) for task, payload in every if isinstance(payload, BfclCalls)]
    # Every fourth request is enough to notice a change; over all of them it is 118,569 lists of calls.
    for task, payload in requests[::4]:
        pairs = zip(task.calls, payload.answers, strict=True)
        answer = [{names[call.tool]: accepting.accepted} for call, accepting in pairs]
        for calls in mutations(task.calls, random_):
            output = [{names[call.tool]: copy.deepcopy(call.arguments)} for call in calls]
            try:
                theirs = original(raw[task.id], output, answer, task.category)
            except (AttributeError, TypeError, KeyError):
                theirs = False  # the original falls over some values, which counts as wrong
            meant = bfcl.catalog.redefined(task.definitions)
            ours = bool(check_single_turn(task.calls, payload.answers, calls, meant))
            compared += 1
            right += theirs
            if ours != theirs:
                differing.append((task.id, [call.to_dict() for call in calls], theirs))
    assert compared > 25_000 and right > 5_000
    assert differing == []


def _raw_functions(package: Path) -> dict[str, Any]:
    found = {}
    for category in SINGLE_TURN:
        path = package / "data" / f"BFCL_v4_{category}.json"
        for line in path.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            found[entry["id"]] = entry["function"]
    return found


@pytest.mark.weights
def test_the_ground_truth_of_every_multi_turn_task_passes_and_a_lost_call_is_noticed(
    bfcl: Dataset, bfcl_package: Path
) -> None:
    tasks = [task for tasks in bfcl.tasks.values() for task in tasks if task.kind == "multi_turn"]
    noticed = 0
    for task in tasks:
        turns = [turn.calls or () for turn in task.turns]
        assert all(verdict.valid for verdict in check_multi_turn(task, turns, bfcl.catalog, bfcl_package)), task.id
        shorter = [turn[:-1] for turn in turns]
        noticed += not all(verdict.valid for verdict in check_multi_turn(task, shorter, bfcl.catalog, bfcl_package))
    assert len(tasks) == 800
    assert noticed == 800
