"""What does not fit together in a dataset."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from toolgen.catalog import Catalog, Tool
from toolgen.catalog.tool import Definition
from toolgen.datasets import (
    Call,
    Dataset,
    Outcome,
    Preference,
    Query,
    Task,
    Trajectory,
    Turn,
    TurnOutcome,
    load_dataset,
    save_dataset,
)
from toolgen.datasets.validate import validate_dataset

TOOL = Tool(id="a", provider="", name="a", parameters={"type": "object", "properties": {"x": {"type": "integer"}}})


def _dataset(*queries: Query, trajectory_of: str | None = None) -> Dataset:
    outcome = Outcome(turns=(TurnOutcome(status="finished"),))
    found = Trajectory(id="t", query=trajectory_of or "", messages=(), outcome=outcome)
    return Dataset(
        name="d",
        version="1",
        source="",
        licence="",
        catalog=Catalog([TOOL]),
        queries={"train": queries},
        trajectories={"train": (found,) if trajectory_of else ()},
    )


def _query(name: str, arguments: Mapping[str, Any], tool: str = "a", faults: tuple[str, ...] = ()) -> Query:
    return Query(id=name, text="t", tools=(tool,), calls=(Call(tool=tool, arguments=arguments),), faults=faults)


def test_a_sound_dataset_is_valid() -> None:
    assert validate_dataset(_dataset(_query("q", {"x": 1}), trajectory_of="q")).to_dict()["valid"]


def test_unknown_tools_repeated_ids_invalid_calls_and_lost_trajectories_are_errors() -> None:
    broken = _dataset(_query("q", {"x": "one"}), _query("q", {}), _query("r", {}, tool="gone"), trajectory_of="nobody")
    errors = " | ".join(validate_dataset(broken).errors)
    for said in ("occurs 2 times", "'one' is not of type", "no tool 'gone'", "no query or task 'nobody'"):
        assert said in errors


def test_a_pair_of_no_request_or_with_an_unknown_tool_is_an_error() -> None:
    messages = [({"role": role, "content": role},) for role in ("user", "assistant")]
    pair = Preference(
        id="p", query="gone", prompt=messages[0], chosen=messages[1], rejected=messages[1] * 2, tools=("a", "b")
    )
    errors = validate_dataset(replace(_dataset(), preferences={"train": (pair,)})).errors
    assert errors == (
        "preference p: no query or task 'gone' in the dataset",
        "preference p: no tool 'b' in the catalog",
    )


def test_calls_are_checked_against_the_definition_that_their_task_means() -> None:
    query = _query("q", {"x": "one"})
    definition = Definition(tool="a", description="", parameters={"type": "object"})
    turns = (Turn(text="t", calls=query.calls),)
    task = Task(id="q", turns=turns, definitions=(definition,))
    assert not validate_dataset(replace(_dataset(query), tasks={"train": (task,)})).errors
    other = Task(id="r", turns=turns, definitions=(replace(definition, tool="gone"),))
    assert len(validate_dataset(replace(_dataset(query), tasks={"train": (other,)})).errors) == 2


def test_a_hash_that_is_not_that_of_the_tools_is_an_error(tmp_path: Path) -> None:
    save_dataset(_dataset(), tmp_path / "d")
    file = tmp_path / "d" / "dataset.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"catalog_hash": "0" * 64}))
    assert "the catalog's hash is" in validate_dataset(load_dataset(tmp_path / "d")).errors[0]


def test_a_fault_that_the_source_declares_is_a_warning() -> None:
    result = validate_dataset(_dataset(_query("q", {"x": "one"}, faults=("known",))))
    assert not result.errors and len(result.warnings) == 1


def test_a_task_is_checked_as_a_query_is_and_stays_in_the_split_of_its_query() -> None:
    wrong = Task(id="q", turns=(Turn(text="t", calls=(Call(tool="a", arguments={"x": "one"}),)),))
    dataset = replace(_dataset(_query("q", {"x": 1}), trajectory_of="q"), tasks={"test": (wrong,)})
    errors = " | ".join(validate_dataset(dataset).errors)
    assert "task q: call of a" in errors and "task q is in the split test, its query in train" in errors
