"""The importer of function-calling data, in each published form, and the texts of calls."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolgen.catalog.schema import check_schema, schema_errors
from toolgen.datasets.call_text import parse_calls
from toolgen.datasets.folder import Dataset
from toolgen.datasets.function_calls import import_function_calls
from toolgen.datasets.messages import actions_of
from toolgen.datasets.query import Query
from toolgen.datasets.splits import is_kept_unasked
from toolgen.datasets.validate import validate_dataset
from toolgen.errors import InputError

WEATHER = {
    "name": "weather.now",
    "description": "The weather.",
    "parameters": {
        "city": {"description": "where", "type": "str"},
        "days": {"description": "how many", "type": "int, optional", "default": "1"},
        "units": {"description": "", "type": "List[str], optional"},
        "box": {"description": "", "type": "Optional[Tuple[float, float]]"},
        "any": {"description": "", "type": "Union[int, str], optional"},
    },
}
LIST = {
    "name": "List Items/all",
    "description": "Lists.",
    "parameters": {"type": "dict", "properties": {"n": {"type": "int"}}},
}
CITY = {"name": "weather.now", "arguments": {"city": "Rome"}}


def read(path: Path, records: Any, name: str = "xlam.json") -> Dataset:
    file = path / name
    file.write_text(records if isinstance(records, str) else json.dumps(records), encoding="utf-8")
    return import_function_calls(file)


def queries_of(dataset: Dataset) -> dict[str, Query]:
    return {query.id: query for split in dataset.queries.values() for query in split}


def test_records_of_the_xlam_kind(tmp_path: Path) -> None:
    records = [
        {"id": 0, "query": " Rome? ", "tools": json.dumps([WEATHER, LIST]), "answers": json.dumps([CITY, CITY])},
        {"id": 1, "query": "Nothing", "tools": [WEATHER], "answers": "[]"},
        {"id": 2, "query": "Bad", "tools": [WEATHER], "answers": [{"name": "weather.now", "arguments": {"days": "x"}}]},
    ]
    dataset = read(tmp_path, records)
    assert dataset.catalog.ids == ("weather&&now", "xlam&&List Items/all")
    weather = dataset.catalog.get("weather&&now")
    assert weather.parameters == {
        "type": "object",
        "properties": {
            "city": {"description": "where", "type": "string"},
            "days": {"description": "how many", "type": "integer", "default": "1"},
            "units": {"description": "", "type": "array", "items": {"type": "string"}},
            "box": {
                "description": "",
                "type": ["array", "null"],
                "prefixItems": [{"type": "number"}, {"type": "number"}],
                "minItems": 2,
                "maxItems": 2,
            },
            "any": {"description": "", "type": ["integer", "string"]},
        },
        "required": ["city"],
    }
    queries = queries_of(dataset)
    assert queries["xlam-0"].text == "Rome?" and queries["xlam-0"].tools == ("weather&&now",)
    assert [call.arguments for call in queries["xlam-0"].calls or ()] == [{"city": "Rome"}] * 2
    assert queries["xlam-1"].tools == () and queries["xlam-1"].calls == ()
    assert len(queries["xlam-2"].faults) == 2
    assert not validate_dataset(dataset).errors


def test_definitions_of_one_name_are_merged(tmp_path: Path) -> None:
    other = WEATHER | {
        "description": "The weather, at length.",
        "parameters": {"city": {"type": "str", "description": ""}},
    }
    records = [{"query": f"q{n}", "tools": [one], "answers": [CITY]} for n, one in enumerate([WEATHER, other, WEATHER])]
    (tool,) = read(tmp_path, records).catalog
    assert tool.description == "The weather, at length." and tool.source["definitions"] == 2
    assert not schema_errors({"city": "Rome", "days": 2}, tool.parameters)


def test_conversations_of_the_apigen_kind(tmp_path: Path) -> None:
    conversation = [
        {"from": "human", "value": "Rome and its list?"},
        {"from": "function_call", "value": json.dumps(CITY)},
        {"from": "observation", "value": '{"sky": "blue"}'},
        {"from": "gpt", "value": "It is blue."},
        {"from": "human", "value": "Thanks"},
        {"from": "gpt", "value": "Welcome."},
    ]
    record = {"conversations": conversation, "tools": json.dumps([WEATHER]), "system": "Be kind."}
    unfinished = {"conversations": conversation[:2], "tools": [WEATHER]}
    dataset = read(tmp_path, "\n".join(json.dumps(one) for one in (record, unfinished)), "mt.jsonl")
    queries = queries_of(dataset)
    assert [call.arguments for call in queries["mt-1"].calls or ()] == [{"city": "Rome"}]
    (trajectory,) = [one for split in dataset.trajectories.values() for one in split]
    roles = [message["role"] for message in trajectory.messages]
    assert roles == ["user", "assistant", "tool", "assistant", "user", "assistant"]
    actions = [action for message in trajectory.messages for action in actions_of(message)]
    assert actions == [
        ("weather&&now", {"city": "Rome"}),
        ("finish", {"answer": "It is blue."}),
        ("finish", {"answer": "Welcome."}),
    ]
    assert not validate_dataset(dataset).errors


def test_conversations_of_the_toolace_kind(tmp_path: Path) -> None:
    system = f"You are an expert [1]. Here is a list of functions in JSON:\n{json.dumps([WEATHER, LIST])}. \nOutput [f(a=1)]."
    calls = '[weather.now(city="Rome, (old) town", days=2), List Items/all(n=3)]'
    results = '[{"name": "weather.now", "results": 1}, {"name": "List Items/all", "results": 2}]'
    said = [("user", "Rome?"), ("assistant", calls), ("tool", results), ("assistant", "Blue.")]
    records = [
        {"system": system, "conversations": [{"from": role, "value": value} for role, value in said]},
        {
            "system": system,
            "conversations": [{"from": "user", "value": "Hm"}, {"from": "assistant", "value": "Where?"}],
        },
        {"system": "No functions.", "conversations": []},
    ]
    dataset = read(tmp_path, records, "ace.json")
    (query,) = queries_of(dataset).values()
    assert [(call.tool, call.arguments) for call in query.calls or ()] == [
        ("weather&&now", {"city": "Rome, (old) town", "days": 2}),
        ("ace&&List Items/all", {"n": 3}),
    ]
    (trajectory,) = [one for split in dataset.trajectories.values() for one in split]
    assert [m["content"] for m in trajectory.messages if m["role"] == "tool"] == [
        '{"name": "weather.now", "results": 1}',
        '{"name": "List Items/all", "results": 2}',
    ]
    assert [loss.reason.partition(":")[0] for loss in dataset.reports[0].losses] == [
        "it offers no functions",
        "its first answer calls nothing",
    ]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (3, "expected an object, got int"),
        ({"query": "x"}, "expected query, tools and answers"),
        ({"query": "x", "tools": "[", "answers": []}, "its tools are no JSON"),
        ({"query": "x", "tools": "[" * 50_000, "answers": []}, "its tools are no JSON"),
        ({"query": "x", "answers": []}, "expected query, tools and answers"),
        ({"query": None, "tools": [LIST], "answers": []}, "its query is empty or no text"),
        ({"query": "x", "tools": {}, "answers": []}, "it offers a function without a name"),
        ({"query": "x", "tools": [LIST], "answers": [{"name": "w", "arguments": '{"a'}]}, "expected a literal, got"),
        ({"query": "x", "tools": [3], "answers": []}, "it offers what is no function"),
        ({"query": " ", "tools": [LIST], "answers": []}, "its query is empty"),
        ({"query": "x", "tools": [LIST], "answers": [{"name": "other", "arguments": {}}]}, "it calls 'other'"),
        ({"query": "x", "tools": [LIST], "answers": [{"arguments": {}}]}, "expected a call"),
        ({"query": "x", "tools": [LIST], "answers": [{"name": "List Items/all", "arguments": [1]}]}, "expected a call"),
        ({"tools": [LIST], "conversations": [{"from": "gpt", "value": "Hi"}]}, "nobody asks for anything"),
    ],
)
def test_a_record_that_is_none_is_a_loss_and_the_others_are_read(tmp_path: Path, record: Any, reason: str) -> None:
    dataset = read(tmp_path, [record, {"query": "q\0\ud800", "tools": [WEATHER], "answers": [CITY]}])
    assert [query.text for query in queries_of(dataset).values()] == ["q?"]
    (loss,) = dataset.reports[0].losses
    assert reason in loss.reason and "\n" not in loss.reason


@pytest.mark.parametrize("content", ["", "[{", "x\n", "[]"])
def test_a_file_that_is_none_is_one_clear_line(tmp_path: Path, content: str) -> None:
    with pytest.raises(InputError, match=r"neither JSON nor JSON lines|is empty"):
        read(tmp_path, content)


def test_one_malformed_line_costs_nothing_else(tmp_path: Path) -> None:
    records = [json.dumps({"id": n, "query": f"q{n}", "tools": [WEATHER], "answers": [CITY]}) for n in range(3)]
    dataset = read(tmp_path, "\n".join([records[0], '{"id": 9, "query', records[1], records[2]]), "x.jsonl")
    assert len(queries_of(dataset)) == 3
    assert [(loss.name, loss.reason[:8]) for loss in dataset.reports[0].losses] == [("x.jsonl, line 2", "not JSON")]


def test_ten_thousand_parameters_and_deep_schemas(tmp_path: Path) -> None:
    deep: dict[str, Any] = {"type": "object", "properties": {}}
    for _ in range(100):
        deep = {"type": "object", "properties": {"in": deep}}
    deepest = "[" * 900 + "]" * 900
    many = {"name": "many", "parameters": {f"p{n}": {"type": "str"} for n in range(10_000)}}
    records = [{"query": "x", "tools": [many, {"name": "deep", "parameters": deep}], "answers": []}]
    text = json.dumps([*records, "DEEPEST"]).replace('"DEEPEST"', deepest)
    dataset = read(tmp_path, text)
    assert dataset.catalog.ids == ("xlam&&many", "xlam&&deep")
    assert [loss.reason for loss in dataset.reports[0].losses] == ["expected an object, got list"]
    assert any("nested deeper than 200 levels" in note for note in dataset.reports[0].notes)
    for tool in dataset.catalog:
        check_schema(tool.parameters)


def test_splits_do_not_depend_on_the_order_and_hold_tools_out_of_training(tmp_path: Path) -> None:
    def record(n: int) -> dict[str, Any]:
        name = f"tool{n % 40}"
        tools = [{"name": name, "parameters": {}}]
        return {"id": n, "query": f"Question {n}", "tools": tools, "answers": [{"name": name, "arguments": {}}]}

    records = [record(n) for n in range(200)]
    dataset = read(tmp_path, records)
    again = read(tmp_path, records[::-1])
    names = {split: {query.id for query in found} for split, found in dataset.queries.items()}
    assert names == {split: {query.id for query in found} for split, found in again.queries.items()}
    assert all(names.values())
    assert not any(is_kept_unasked(tool) for tool in dataset.asked_tools)


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
literals = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
argument_names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,8}", fullmatch=True)
calls = st.lists(
    st.tuples(
        st.sampled_from(["a", "a b", "get/x.y", "a-b (old)", "Größe"]), st.dictionaries(argument_names, literals)
    ),
    min_size=1,
    max_size=3,
)


@given(calls, st.sampled_from([repr, json.dumps]))
def test_written_calls_are_read_back(written: list[tuple[str, dict[str, Any]]], spell: Any) -> None:
    texts = [f"{name}({', '.join(f'{key}={spell(value)}' for key, value in given.items())})" for name, given in written]
    assert list(parse_calls(f"[{', '.join(texts)}]", ["a", "a b", "get/x.y", "a-b (old)", "Größe"])) == written


@given(st.text(max_size=60))
def test_any_text_is_calls_or_none_or_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        parse_calls(text, ["f", "g h"])


def test_texts_of_calls() -> None:
    assert parse_calls("I cannot do that (yet).", ["f"]) == []
    assert parse_calls("f(a=1) and more", ["f"]) == []
    assert parse_calls("[f(a=[1, true, 'x'], b={'k': null}), f()]", ["f"]) == [
        ("f", {"a": [1, True, "x"], "b": {"k": None}}),
        ("f", {}),
    ]
    assert parse_calls('f(a="""it\'s "b")""", b=\'(\')', ["f"]) == [("f", {"a": 'it\'s "b")', "b": "("})]
    for broken in ("f(a=1", "f(1)", "[f(a=1), g(b=2)]", "f(a=open('x'))", "f(a=b)", "f(a=" + "[" * 5000 + ")"):
        with pytest.raises(ValueError):
            parse_calls(broken, ["f"])
