"""The Seal-Tools importer: a tiny folder in full detail, damaged ones, and the published one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from toolgen.catalog.schema import schema_errors
from toolgen.datasets.seal_tools import import_seal_tools
from toolgen.errors import InputError


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
    ("name", "message"),
    [
        ("tool.jsonl", "there is no file .*tool.jsonl"),
        ("dev.jsonl", "holds no train.jsonl, dev.jsonl or test.jsonl"),
    ],
)
def test_a_folder_without_a_file_is_one_clear_line(folder: Path, name: str, message: str) -> None:
    (folder / name).unlink()
    with pytest.raises(InputError, match=message):
        import_seal_tools(folder)


@pytest.mark.parametrize(
    ("name", "line", "lost", "reason"),
    [
        ("dev.jsonl", b'{"id": ', "dev.jsonl, line 6", "not JSON"),
        ("dev.jsonl", b'{"id": "\xff"}', "dev.jsonl, line 6", "not text in UTF-8"),
        ("dev.jsonl", b'{"id": "x", "query": "x", "calling": [{"api": [], "parameters": {}}]}', "instance x", "expected"),
        ("dev.jsonl", b'{"id": "x", "query": "", "calling": [{"api": "rain", "parameters": "a"}]}', "instance x", "expected"),
        ("dev.jsonl", b'{"id": "dev-easy-0", "query": "x", "calling": []}', "instance dev-easy-0", "occurs again"),
        ("tool.jsonl", b"3", "tool.jsonl, line 5", "expected an object, got int"),
    ],
)  # fmt: skip
def test_one_malformed_line_costs_nothing_else(folder: Path, name: str, line: bytes, lost: str, reason: str) -> None:
    before = import_seal_tools(folder)
    with (folder / name).open("ab") as file:
        file.write(b"\n" + line + b"\n")
    after = import_seal_tools(folder)
    assert (after.catalog.ids, after.queries) == (before.catalog.ids, before.queries)
    (new,) = [loss for loss in after.reports[0].losses if loss not in before.reports[0].losses]
    assert new.name == lost and reason in new.reason


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
