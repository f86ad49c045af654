"""Requests and trajectories follow their tools through every transform."""

from __future__ import annotations

from dataclasses import replace

from toolgen.catalog import Catalog, Tool
from toolgen.catalog.loaders import LoadReport
from toolgen.catalog.tool import Definition
from toolgen.datasets import Call, Dataset, Outcome, Preference, Query, Task, Trajectory, Turn, TurnOutcome
from toolgen.datasets.transforms import dedupe, join, prefix, select
from toolgen.datasets.validate import validate_dataset


def _dataset(name: str, description: str = "Does it.", split: str = "train", licence: str = "MIT") -> Dataset:
    query = Query(
        id="q",
        text=f"Do it, {name}",
        tools=("p&&a", "p&&b"),
        calls=(Call(tool="p&&a", arguments={"p&&a": "p&&a"}),),
        category="p&&a",
    )
    turns = (Turn(text="Do it", calls=(), held_back=("p&&b",)), Turn(text="Now", calls=query.calls))
    definitions = (Definition(tool="p&&a", description="Its own.", parameters={"type": "object"}),)
    task = Task(id="t", turns=turns, state={"p&&a": 1}, definitions=definitions)
    call = {"id": "1", "type": "function", "function": {"name": "p&&a", "arguments": "{}"}}
    messages = ({"role": "user", "content": "p&&a"}, {"role": "assistant", "tool_calls": [call]})
    outcome = Outcome(turns=(TurnOutcome(status="finished"),))
    trajectory = Trajectory(id="q", query="q", messages=messages, outcome=outcome)
    answer = {"role": "assistant", "content": "Which one?"}
    pair = Preference(
        id="p", query="q", prompt=messages[:1], chosen=messages[1:], rejected=(answer,), tools=("p&&a", "p&&b")
    )
    return Dataset(
        name=name,
        version="1",
        source=name,
        licence=licence,
        catalog=Catalog(Tool(id=f"p&&{n}", provider="p", name=n, description=description) for n in "ab"),
        queries={split: (query,)},
        tasks={split: (task,)},
        trajectories={split: (trajectory,)},
        preferences={split: (pair,)},
        reports=(LoadReport(source=name, loaded=2),),
    )


def test_two_datasets_with_the_same_ids_are_joined_without_losing_anything() -> None:
    joined = join([_dataset("one"), _dataset("two", licence="unknown")], name="both", source="s")
    assert joined.catalog.ids == ("p&&a", "p&&b", "p&&a#2", "p&&b#2")
    first, second = joined.queries["train"]
    assert (first.id, first.tools) == ("q", ("p&&a", "p&&b"))
    assert (second.id, second.tools) == ("q#2", ("p&&a#2", "p&&b#2"))
    assert second.calls == (Call(tool="p&&a#2", arguments={"p&&a": "p&&a"}),)
    assert second.category == "p&&a"
    task = joined.tasks["train"][1]
    assert (task.id, task.state, task.turns[0].held_back) == ("t#2", {"p&&a": 1}, ("p&&b#2",))
    assert task.calls == second.calls and task.definitions[0].tool == "p&&a#2"
    trajectory = joined.trajectories["train"][1]
    assert (trajectory.id, trajectory.query) == ("q#2", "q#2")
    assert trajectory.messages[0]["content"] == "p&&a"
    assert trajectory.messages[1]["tool_calls"][0]["function"]["name"] == "p&&a#2"
    pair = joined.preferences["train"][1]
    assert (pair.id, pair.query, pair.tools) == ("p#2", "q#2", ("p&&a#2", "p&&b#2"))
    assert pair.called_tools == {"p&&a#2"}
    assert any("'p&&a#2'" in note for note in joined.reports[1].notes)
    assert joined.licence == "MIT (one), the rest unknown"
    assert not validate_dataset(joined).errors


def test_a_request_that_one_dataset_trains_and_another_tests_is_noted() -> None:
    test = replace(_dataset("two", split="test"), queries=_dataset("one", split="test").queries)
    joined = join([_dataset("one"), test], name="both", source="s")
    assert any("in the split train of one source and in test of another" in note for note in joined.reports[1].notes)


def test_after_deduplication_requests_name_the_tool_that_was_kept() -> None:
    joined = dedupe(join([_dataset("one"), _dataset("two")], name="both", source="s"))
    assert joined.catalog.ids == ("p&&a", "p&&b")
    assert [query.tools for query in joined.queries["train"]] == [("p&&a", "p&&b")] * 2
    assert joined.reports[-1].counts["tools_removed"] == 2
    assert [pair.tools for pair in joined.preferences["train"]] == [("p&&a", "p&&b")] * 2
    assert not validate_dataset(joined).errors


def test_a_request_that_needs_a_removed_tool_goes_with_its_trajectory_and_is_counted() -> None:
    kept = select(_dataset("one"), exclude=["b$"])
    assert kept.catalog.ids == ("p&&a",)
    assert not kept.queries["train"] and not kept.trajectories["train"] and not kept.preferences["train"]
    assert [task.id for task in kept.tasks["train"]] == ["t"]
    assert not select(_dataset("one"), exclude=["a$"]).tasks["train"]
    assert kept.reports[-1].counts["requests_removed"] == 1
    assert any("request left out" in note for note in kept.reports[-1].notes)


def test_a_prefix_reaches_requests_and_trajectories() -> None:
    renamed = prefix(_dataset("one"), "acme.")
    assert renamed.queries["train"][0].tools == ("acme.p&&a", "acme.p&&b")
    assert renamed.preferences["train"][0].called_tools == {"acme.p&&a"}
    assert not validate_dataset(renamed).errors
