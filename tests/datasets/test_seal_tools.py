"""The Seal-Tools importer: a tiny folder in full detail, damaged ones, and the published one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from toolgen.catalog.schema import schema_errors
from toolgen.datasets.seal_tools import import_seal_tools
from toolgen.errors import DatasetError


def lines(*records: Any) -> str:
    return "\n".join(json.dumps(record) for record in records)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    find = {
        "api_name": "findCity",
        "api_description": " Finds it. ",
        "field": "Travel/Maps",
        "parameters": {"name": {"type": "str", "description": "its name"}, "size": {"type": "int", "description": ""}},
        "required": ["name"],
        "responses": {"code": {"type": "str", "description": "its code"}},
    }
    tools = lines(find, {**find, "api_name": "rain", "required": []}, find, {"api_description": "nameless"})
    (tmp_path / "tool.jsonl").write_text(tools)
    nested = [
        {"api": "findCity", "parameters": {"name": "Rome"}, "responses": ["API_call_0"]},
        {"api": "rain", "parameters": {"name": "API_call_0"}, "responses": ["API_call_1"]},
    ]
    instances = [
        {"id": "dev-easy-0", "query": " Rome? ", "calling": nested[:1]},
        {"id": "dev-difficult-1", "query": "Rain in Rome?", "calling": nested},
        {"id": "dev-easy-2", "query": "Size?", "calling": [{"api": "findCity", "parameters": {"size": "3"}}]},
        {"id": "dev-easy-3", "query": "Snow?", "calling": [{"api": "snow", "parameters": {}}]},
        {"id": "dev-easy-4", "query": "What?"},
    ]
    (tmp_path / "dev.jsonl").write_text(lines(*instances))
    return tmp_path


def test_tools_and_calls(folder: Path) -> None:
    dataset = import_seal_tools(folder)
    tool = dataset.catalog.get("findCity")
    assert (tool.category, tool.description, tool.required) == ("Travel/Maps", "Finds it.", ("name",))
    assert tool.properties["size"] == {"type": "integer", "description": ""}
    assert tool.returns is not None and tool.returns["properties"]["code"]["type"] == "string"
    queries = {query.id: query for split in dataset.queries.values() for query in split}
    assert set(queries) == {"dev-easy-0", "dev-difficult-1", "dev-easy-2"}
    nested = queries["dev-difficult-1"]
    assert nested.tools == ("findCity", "rain")
    assert nested.calls is not None and nested.calls[1].arguments == {"name": "API_call_0"}
    assert dataset.reports[0].counts["queries_nested"] == 1
    assert queries["dev-easy-2"].faults == (
        "findCity: $.size: '3' is not of type 'integer'",
        "findCity: $: 'name' is a required property",
    )


def test_losses_are_listed(folder: Path) -> None:
    (report,) = import_seal_tools(folder).reports
    assert {(loss.name, loss.reason) for loss in report.losses} == {
        ("tool findCity", "its name occurs again; the first one was kept"),
        ("tool 4", "expected an object with an 'api_name', got \"{'api_description': 'nameless'}\""),
        ("instance dev-easy-3", "it calls 'snow', which is not in tool.jsonl"),
        ("instance dev-easy-4", "expected query and calling: [{api, parameters}]"),
    }


def test_published_splits_are_kept(folder: Path) -> None:
    instance = {"id": "t", "query": "Rome?", "calling": [{"api": "rain", "parameters": {}}]}
    (folder / "train.jsonl").write_text(lines(instance))
    (folder / "test_out_domain.jsonl").write_text(lines(instance | {"id": "u"}))
    dataset = import_seal_tools(folder)
    assert {split: len(found) for split, found in dataset.queries.items()} == {"train": 1, "dev": 3, "test": 1}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tool.jsonl", None, "has no tool.jsonl"),
        ("dev.jsonl", None, "holds no train.jsonl, dev.jsonl or test.jsonl"),
        ("dev.jsonl", '{"id": ', "dev.jsonl, line 1: not JSON"),
        ("tool.jsonl", "3", "tool.jsonl, line 1: expected an object, got int"),
    ],
)
def test_a_damaged_folder_is_one_clear_line(folder: Path, name: str, content: str | None, message: str) -> None:
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_text(content)
    with pytest.raises(DatasetError, match=message):
        import_seal_tools(folder)


def test_the_published_one(shared_data: Path) -> None:
    dataset = import_seal_tools(shared_data / "seal-tools")
    queries = [query for split in dataset.queries.values() for query in split]
    assert (len(dataset.catalog), len(queries), dataset.reports[0].losses) == (4_076, 700, ())
    assert {split: len(found) for split, found in dataset.queries.items()} == {"train": 489, "dev": 65, "test": 146}
    assert dataset.reports[0].counts["queries_nested"] == 28
    calls = [(query, call) for query in queries for call in query.calls or ()]
    valid = [not schema_errors(call.arguments, dataset.catalog.get(call.tool).parameters) for _, call in calls]
    faulty = sum(bool(query.faults) for query in queries)
    assert all(ok or query.faults for ok, (query, _) in zip(valid, calls, strict=True))
    assert faulty == dataset.reports[0].counts["queries_with_faults"] < 60
