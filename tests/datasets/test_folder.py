"""The dataset folder: nothing half-written, nothing damaged read in silence."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from toolgen.catalog import Catalog, Tool
from toolgen.catalog.loaders import LoadReport, Loss
from toolgen.catalog.tool import Definition
from toolgen.datasets import (
    Call,
    Dataset,
    Outcome,
    Preference,
    Query,
    Rewritten,
    Synthetic,
    Task,
    Trajectory,
    Turn,
    TurnOutcome,
    load_dataset,
    save_dataset,
)
from toolgen.datasets.messages import call_message
from toolgen.datasets.payloads import BfclAnswer, BfclCalls, BfclSystems
from toolgen.datasets.trajectory import Decision, Diagnostics
from toolgen.errors import DatasetError, ToolgenError, UsageError

CALL = Call(tool="p&&a", arguments={"x": [1, None]})
QUERY = Query(id="q", text="Größe?", tools=("p&&a",), calls=(CALL,), category="c", faults=("odd",))
TASKS = (
    Task(
        id="q",
        turns=(Turn(text="Größe?", calls=(CALL,)),),
        system="Be kind.",
        payload=BfclCalls(answers=(BfclAnswer(accepted={"x": [[1, None], ""]}),)),
        definitions=(Definition(tool="p&&a", description="Other.", parameters={"type": "object"}),),
        faults=("odd",),
    ),
    Task(
        id="m",
        turns=(Turn(text="a", calls=(), held_back=("p&&a",)), Turn(text="b")),
        state={"A": {"n": 1}},
        payload=BfclSystems(classes=("A",), long_context=True),
    ),
)
WRITTEN = (
    Query(id="s", text="a", tools=("p&&a",), origin=Synthetic(style="vague", by="rules")),
    Query(id="r", text="a", tools=("p&&a",), origin=Rewritten(how="short", by="rules", original="a b")),
)
NOTED = Diagnostics(
    tool="p&&a",
    probability=0.5,
    tool_exists=True,
    tool_allowed=False,
    arguments="ok",
    argument_tokens=4,
    masked=1,
    relaxed=False,
)
RUN = Trajectory(
    id="t",
    query="q",
    messages=({"role": "user", "content": "hi"},),
    outcome=Outcome(
        turns=(TurnOutcome(status="finished", answer="Hi.", steps=2), TurnOutcome(status="token_limit")),
        environment="dry-run",
        calls=3,
        tool_errors=1,
        tokens=9,
        seconds=0.5,
        decisions=(
            Decision(turn=0, diagnostics=NOTED),
            Decision(turn=1, stuck="token_limit"),
        ),
    ),
)
ASKED = {"role": "user", "content": "hi"}
BETTER, WORSE = ({"role": "assistant", "content": text} for text in ("Hello.", "No."))
PAIR = Preference(id="p", query="q", prompt=(ASKED,), chosen=(BETTER,), rejected=(WORSE, ASKED), tools=("p&&a",))
DATASET = Dataset(
    name="tiny",
    version="1",
    source="here",
    licence="CC0",
    catalog=Catalog([Tool(id="p&&a", provider="p", name="a")]),
    queries={"train": (QUERY, *WRITTEN), "test": (Query(id="n", text="none", tools=()),)},
    tasks={"train": TASKS},
    trajectories={"train": (RUN,)},
    reports=(LoadReport(source="s", loaded=1, losses=(Loss("b", "broken"),), notes=("n",), counts={"c": 2}),),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_dataset(DATASET, tmp_path / "tiny")
    return tmp_path / "tiny"


def test_a_dataset_survives_its_folder(folder: Path) -> None:
    assert load_dataset(folder) == DATASET


def test_the_folder_has_the_files_of_the_design(folder: Path) -> None:
    names = {
        f"{kind}.{split}.jsonl" for kind in ("queries", "tasks", "trajectories") for split in ("train", "dev", "test")
    }
    assert {file.name for file in folder.iterdir()} == {"dataset.json", "catalog.jsonl", *names}
    metadata = json.loads((folder / "dataset.json").read_text())
    assert metadata["counts"]["queries.train"] == 3 and set(metadata["files"]) == {"catalog.jsonl", *names}


def test_preferences_have_a_file_where_there_are_some(folder: Path) -> None:
    other = replace(DATASET, preferences={"train": (PAIR, replace(PAIR, id="o", tools=None))})
    save_dataset(other, folder)
    assert load_dataset(folder) == other
    assert [file.name for file in folder.glob("preferences.*")] == ["preferences.train.jsonl"]
    assert json.loads((folder / "dataset.json").read_text())["counts"]["preferences.train"] == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"prompt": ()}, "its prompt is empty"),
        ({"chosen": ()}, "chosen must begin with a message of the assistant"),
        ({"rejected": (ASKED,)}, "rejected must begin with a message of the assistant"),
        ({"rejected": (BETTER,)}, "chosen and rejected are the same"),
        ({"chosen": ({"role": "robot", "content": "x"},)}, "preference 'p', chosen, message 1: the role is 'robot'"),
        ({"prompt": (call_message("p&&b", {}, "1"),)}, "calls 'p&&b', which is not among its tools"),
    ],
)
def test_a_pair_that_is_none_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(DatasetError, match=re.escape(said)):
        replace(PAIR, **change)


@pytest.mark.parametrize(
    "name", ["catalog.jsonl", "queries.dev.jsonl", "tasks.train.jsonl", "trajectories.train.jsonl"]
)
def test_a_changed_or_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).write_text((folder / name).read_text() + "\n")
    with pytest.raises(DatasetError, match=name):
        load_dataset(folder)
    (folder / name).unlink()
    with pytest.raises(DatasetError, match=f"{name} is missing"):
        load_dataset(folder)


def test_verification_can_be_left_out(folder: Path) -> None:
    edited = (folder / "queries.train.jsonl").read_text().replace("Größe", "Höhe")
    (folder / "queries.train.jsonl").write_text(edited)
    assert load_dataset(folder, verify=False).queries["train"][0].text == "Höhe?"


def test_a_record_that_cannot_be_read_is_named_by_file_and_line(folder: Path) -> None:
    with (folder / "queries.train.jsonl").open("a") as file:
        file.write('{"id": "x"}\n')
    with pytest.raises(DatasetError, match=r"queries\.train\.jsonl, line 4"):
        load_dataset(folder, verify=False)


@pytest.mark.parametrize("change", [{"format": 1}, {"format": None}, {"name": ...}, {"files": {}}])
def test_another_format_or_a_missing_key_is_an_error(folder: Path, change: dict[str, object]) -> None:
    metadata = json.loads((folder / "dataset.json").read_text()) | change
    metadata = {key: value for key, value in metadata.items() if value is not ...}
    (folder / "dataset.json").write_text(json.dumps(metadata))
    with pytest.raises(DatasetError):
        load_dataset(folder)


@pytest.mark.parametrize("content", [None, "", "[]", "{", "\x00"])
def test_a_folder_that_is_no_dataset_is_an_error(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(DatasetError, match=r"dataset\.json"):
        load_dataset(tmp_path)


def test_saving_again_replaces_the_older_dataset_and_leaves_nothing_behind(folder: Path) -> None:
    save_dataset(DATASET, folder)
    assert load_dataset(folder) == DATASET
    assert [entry.name for entry in folder.parent.iterdir()] == ["tiny"]


def test_saving_leaves_what_is_not_of_the_dataset(folder: Path) -> None:
    save_dataset(replace(DATASET, preferences={"train": (PAIR,)}), folder / "inner")
    save_dataset(replace(DATASET, preferences={"train": (PAIR,)}), folder)
    (folder / "NOTES.txt").write_text("mine")
    save_dataset(DATASET, folder)
    assert (folder / "NOTES.txt").read_text() == "mine" and not (folder / "preferences.train.jsonl").exists()
    assert load_dataset(folder / "inner").preferences["train"] == (PAIR,)


def test_a_dataset_knows_what_it_lacks_of_an_older_one() -> None:
    assert DATASET.lacks(DATASET) == {}
    bare = replace(DATASET, queries={}, tasks={}, trajectories={})
    kinds = ("queries", "tasks", "trajectories")
    assert bare.lacks(DATASET) == {
        kind: len({one.id for some in getattr(DATASET, kind).values() for one in some}) for kind in kinds
    }
    first, *others = DATASET.queries["train"]
    reworded = replace(DATASET, queries={**DATASET.queries, "train": (replace(first, text="other"), *others)})
    assert reworded.lacks(DATASET) == {"queries": 1} and DATASET.lacks(bare) == {}


def test_a_folder_that_is_something_else_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(UsageError, match="exists and is no dataset"):
        save_dataset(DATASET, tmp_path)
    assert (tmp_path / "letter.txt").read_text() == "dear"


def test_a_failing_save_leaves_the_older_dataset_and_nothing_half_written(folder: Path) -> None:
    unwritable = Dataset(**{**vars(DATASET), "queries": {"train": (Query(id="q", text="\ud800", tools=()),)}})
    with pytest.raises(ToolgenError, match="cannot write"):
        save_dataset(unwritable, folder)
    assert load_dataset(folder) == DATASET
    assert [entry.name for entry in folder.parent.iterdir()] == ["tiny"]


def test_an_unknown_split_is_an_error() -> None:
    with pytest.raises(DatasetError, match="validation"):
        Dataset(**{**vars(DATASET), "queries": {"validation": ()}})


@pytest.mark.parametrize("role", ["user<|im_end|>", "documentation", None, 3])
def test_a_message_of_another_role_is_no_part_of_a_trajectory(role: object) -> None:
    outcome = Outcome(turns=(TurnOutcome(status="finished"),))
    whole = Trajectory(id="t", query="q", messages=({"role": "user", "content": "a"},), outcome=outcome)
    record = whole.to_dict() | {"messages": [{"role": role, "content": "a"}]}
    with pytest.raises(DatasetError, match=r"trajectory 't', message 1: the role is .*; expected one of system, user"):
        Trajectory.from_dict(record)
