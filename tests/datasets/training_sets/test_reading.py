"""What the loaders share: losses with reasons, tools of foreign descriptions and of calls, values in their types."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from toolgen.catalog.schema import schema_errors
from toolgen.datasets.training_sets.conversation import Action, Conversation, Step, Turn
from toolgen.datasets.training_sets.reading import (
    Intake,
    Unusable,
    checked,
    fitted,
    function_tool,
    make_tool,
    observed_schema,
    words_of,
)
from toolgen.errors import DatasetError, InputError

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}, "m": {"type": "integer"}}, "required": ["n", "m"]}
COUNT = make_tool("count", "", "Counts.", SCHEMA, "set")


def counting(identifier: str, arguments: Any) -> Conversation:
    if arguments == "unusable":
        raise Unusable("nothing to count")
    step = Step(actions=(Action(tool="count", arguments=dict(arguments)),))
    return Conversation(id=identifier, tools=(COUNT,), turns=(Turn(text="Count!", steps=(step,)),))


def test_every_record_becomes_a_conversation_or_a_loss_with_its_reason() -> None:
    intake = Intake("set")

    intake.take([("a", {"n": 1}), ("b", "unusable"), ("c", 7)], counting)

    assert [one.id for one in intake.conversations] == ["a"]
    assert [(loss.name, loss.reason.partition(" (")[0]) for loss in intake.losses] == [
        ("b", "nothing to count"),
        ("c", "not in the publisher's form"),
    ]


def test_a_call_of_a_tool_that_is_not_offered_makes_a_record_unusable() -> None:
    stray = Turn(text="Go!", steps=(Step(actions=(Action(tool="go", arguments={}),)),))

    with pytest.raises(Unusable, match="calls 'go', which it does not offer"):
        checked(Conversation(id="x", tools=(COUNT,), turns=(stray,)))


def test_words_before_a_call_stand_in_the_message_of_the_call() -> None:
    action = Action(tool="count", arguments={"n": "3"}, result="3")
    steps = (Step(text="Let me see."), Step(actions=(action,)), Step(text="It is 3."))

    (turn,) = checked(Conversation(id="x", tools=(COUNT,), turns=(Turn(text="Count!", steps=steps),))).turns

    assert [step.text for step in turn.steps] == ["Let me see.", "It is 3."]
    assert turn.actions[0].arguments == {"n": 3}


def test_tools_that_are_not_described_are_made_of_their_calls() -> None:
    intake = Intake("set")
    records = [("a", {"n": 1}), ("b", {"n": 2, "m": "x"}), ("c", "unusable")]

    def undescribed(identifier: str, record: Any) -> Conversation:
        return Conversation(id=identifier, tools=(), turns=counting(identifier, record).turns)

    (tool,) = intake.take_undescribed(records, undescribed, lambda name, schema: make_tool(name, "p", "", schema, "s"))

    assert tool.id == "p&&count"
    assert set(tool.properties) == {"n", "m"}
    assert [(one.tools, one.actions[0].tool) for one in intake.conversations] == [((tool,), "p&&count")] * 2
    assert [loss.name for loss in intake.losses] == ["c"]


def test_names_that_are_called_too_rarely_are_no_tools() -> None:
    intake = Intake("set")

    tools = intake.take_undescribed([("a", {"n": 1})], counting, lambda name, _: COUNT, fewest=2)

    assert tools == ()
    assert intake.losses[0].reason == "it calls 'count', a name that occurs fewer than 2 times"


def test_relaxed_tools_require_what_every_call_gives() -> None:
    intake = Intake("set")
    intake.take([("a", {"n": 1}), ("b", {"n": 2, "m": 3})], counting)

    intake.relax()

    loaded = intake.loaded([COUNT])
    assert {one.tools[0].required for one in loaded.conversations} == {("n",)}
    assert loaded.tools[0].required == ("n",)


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        ("3", "integer", 3),
        ("3.0", "integer", 3),
        (3.0, "integer", 3),
        ("2.5", "number", 2.5),
        ("true", "boolean", True),
        ("['a']", "array", ["a"]),
        ('{"a": 1}', "object", {"a": 1}),
        (7, "string", "7"),
        ("three", "integer", "three"),
        ("2.5", "integer", "2.5"),
        ("1", "boolean", "1"),
        (True, "string", True),
    ],
)
def test_values_get_their_schemas_type_where_only_the_writing_differs(value: Any, kind: str, expected: Any) -> None:
    found = fitted({"x": [value]}, {"properties": {"x": {"type": "array", "items": {"type": kind}}}})

    assert found == {"x": [expected]}
    assert type(found["x"][0]) is type(expected)


def test_an_observed_schema_admits_its_examples_and_requires_what_enough_of_them_give() -> None:
    examples: list[dict[str, Any]] = [
        {"id": n, "tags": ["a", 1], "deep": {"x": n}, "rare": 1 if n == 0 else 2} for n in range(60)
    ]
    for example in examples[1:]:
        del example["rare"]

    schema = observed_schema(examples)

    assert set(schema["properties"]) == {"id", "tags", "deep"}
    assert schema["required"] == ["id", "tags", "deep"]
    assert not any(schema_errors(example, schema) for example in examples)
    assert "required" not in observed_schema(examples[:3])


@pytest.mark.parametrize(
    "parameters",
    [
        {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]},
        {"type": "dict", "properties": {"n": {"type": "integer"}}, "required": ["n"]},
        {"n": {"type": "int"}, "m": {"type": "str, optional"}},
        {"type": "dict", "properties": {"n": {"type": "int"}, "m": {"type": "str, optional"}}},
    ],
)
def test_functions_are_read_in_the_usual_forms(parameters: Any) -> None:
    tool = function_tool({"type": "function", "function": {"name": "f", "parameters": parameters}}, "set", "p")

    assert (tool.id, tool.required, tool.properties["n"]["type"]) == ("p&&f", ("n",), "integer")


def test_names_become_words() -> None:
    assert [words_of(name) for name in ("AddToPlaylist", "add_to-playlist")] == ["Add to playlist"] * 2


def test_lines_are_parted_at_newlines_alone_and_a_broken_one_costs_nothing_else(tmp_path: Path) -> None:
    lines = ['"one\u2028line"', "", '{"cut', "[" * 100_000, '"two"', "NaN"]
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode() + b'\n"\xff"\n"three"'))
    intake = Intake("set")

    read = list(intake.records(tmp_path / "a.jsonl.gz"))

    assert read == [("a-1", "one\u2028line"), ("a-5", "two"), ("a-6", None), ("a-8", "three")]
    assert [loss.name for loss in intake.losses] == [f"a.jsonl.gz, line {number}" for number in (3, 4, 7)]


def test_a_file_that_is_missing_or_damaged_is_named(tmp_path: Path) -> None:
    whole = gzip.compress(json.dumps(list(range(1000))).encode())
    (tmp_path / "b.jsonl.gz").write_bytes(b"no gzip")
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[:-20])
    (tmp_path / "bad.jsonl.gz").write_bytes(whole[:40] + b"\xff" * 40 + whole[80:])
    (tmp_path / "zero.jsonl.gz").symlink_to("/dev/zero")

    with pytest.raises(DatasetError, match=r"has no a\.jsonl\.gz"):
        list(Intake("set").records(tmp_path / "a.jsonl.gz"))
    for name, reason in (("b", "cannot read"), ("cut", "cannot read"), ("bad", "cannot read"), ("zero", "a pipe or a")):
        with pytest.raises(InputError, match=rf"{reason}|{name}.jsonl.gz is {reason}"):
            list(Intake("set").records(tmp_path / f"{name}.jsonl.gz"))
