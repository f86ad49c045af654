"""Several sources become one dataset; what cannot be read is told and the rest is loaded."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest

from toolgen.datasets import Dataset
from toolgen.datasets.sources import KINDS, Source, build_dataset, parse_source
from toolgen.datasets.validate import validate_dataset
from toolgen.errors import DatasetError, UsageError


@pytest.fixture
def functions(tmp_path: Path) -> Path:
    file = tmp_path / "math.json"
    file.write_text(json.dumps([{"name": "square"}, {"name": "cube"}]))
    return file


def test_sources_are_kind_and_place() -> None:
    assert parse_source("bfcl:") == Source("bfcl")
    assert parse_source("openai:C:/x.json") == Source("openai", "C:/x.json")
    assert parse_source("mcp:~/x.json") == Source("mcp", str(Path.home() / "x.json"))


@pytest.mark.parametrize(
    ("text", "said"), [("opanai:x", "openai:"), ("file.json", "bfcl:"), ("python:", "python:tools.py")]
)
def test_an_unknown_source_is_a_usage_error_that_helps(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_source(text)


def test_a_published_dataset_alone_keeps_its_name_and_queries(bfcl_package: Path) -> None:
    dataset = build_dataset([Source("bfcl", str(bfcl_package))], "other")
    assert dataset.name == "bfcl" and dataset.queries["train"]


def test_an_id_of_two_sources_stays_with_the_published_dataset_and_the_other_is_renamed(
    bfcl_package: Path, functions: Path
) -> None:
    dataset = build_dataset([Source("openai", str(functions)), Source("bfcl", str(bfcl_package))], "mine")
    assert dataset.name == "mine"
    assert {"math&&square", "math&&square#2", "math&&cube"} <= set(dataset.catalog.ids)
    assert dataset.catalog.get("math&&square").source["dataset"] == "bfcl"
    assert any("math&&square#2" in note for report in dataset.reports for note in report.notes)
    assert all(tool in dataset.catalog for split in dataset.queries.values() for query in split for tool in query.tools)


def test_a_source_that_cannot_be_read_is_a_loss_and_the_others_are_loaded(functions: Path) -> None:
    dataset = build_dataset([Source("openai", "no/such/file.json"), Source("openai", str(functions))], "mine")
    assert len(dataset.catalog) == 2
    assert dataset.reports[0].losses and not dataset.reports[1].losses


def test_nothing_loaded_is_an_error_with_the_reason() -> None:
    with pytest.raises(DatasetError, match=r"no/such/file\.json"):
        build_dataset([Source("openai", "no/such/file.json")], "mine")


def test_where_nothing_was_loaded_what_was_left_out_is_named(tmp_path: Path) -> None:
    (tmp_path / "again.py").write_text("from textwrap import dedent, fill, indent, shorten, wrap\n")
    named = r"describes none \(dedent: from textwrap; .*__all__ \| fill: .* \| and 2 more\)$"
    with pytest.raises(DatasetError, match=named):
        build_dataset([Source("python", str(tmp_path / "again.py"))], "mine")


def test_two_published_datasets_become_one_with_the_requests_of_both(bfcl_package: Path) -> None:
    source = Source("bfcl", str(bfcl_package))
    one, both = build_dataset([source], "one"), build_dataset([source, source], "mine")
    assert both.counts == {name: 2 * count for name, count in one.counts.items()}
    assert not validate_dataset(both).errors
    assert all("#2" in query.id for query in both.queries["train"][len(one.queries["train"]) :])


def test_a_fault_of_one_loader_is_a_loss_unless_debugging(functions: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(place: object) -> object:
        raise KeyError("oops")

    monkeypatch.setattr("toolgen.catalog.loaders.python_functions.load_python_functions", broken)
    sources = [Source("python", "tools.py"), Source("openai", str(functions))]
    dataset = build_dataset(sources, "mine")
    assert len(dataset.catalog) == 2
    assert "unexpected KeyError in test_sources.py" in dataset.reports[0].losses[0].reason
    with pytest.raises(KeyError):
        build_dataset(sources, "mine", debug=True)


def test_a_published_dataset_can_be_completed_before_it_is_put_together(bfcl_package: Path, functions: Path) -> None:
    seen = []

    def note(source: Source, dataset: Dataset) -> Dataset:
        seen.append(source.kind)
        return replace(dataset, licence="changed")

    sources = [Source("bfcl", str(bfcl_package)), Source("openai", str(functions))]
    assert build_dataset(sources, "mine", on_dataset=note).licence == "changed (bfcl), the rest unknown"
    assert seen == ["bfcl"]


def test_every_kind_names_a_function_that_exists() -> None:
    for kind in KINDS.values():
        assert callable(getattr(import_module(kind.module), kind.function))


def test_a_source_shows_no_folders_and_no_keys_of_an_address(functions: Path) -> None:
    dataset = build_dataset([Source("openai", str(functions)), Source("openai", "https://x.org/a?key=1")], "mine")
    assert dataset.source == "openai:math.json, openai:a"


def test_references_to_other_files_are_followed_only_if_they_are_allowed(tmp_path: Path) -> None:
    (tmp_path / "shared.yaml").write_text("Size: {type: object, properties: {name: {type: string}}}")
    body = {"content": {"application/json": {"schema": {"$ref": "shared.yaml#/Size"}}}}
    description = {
        "openapi": "3.0.0",
        "info": {"title": "t", "version": "1"},
        "paths": {"/x": {"post": {"operationId": "make", "requestBody": body}}},
    }
    (tmp_path / "api.json").write_text(json.dumps(description))
    source = Source("openapi", str(tmp_path / "api.json"))
    assert "name" not in build_dataset([source], "mine").catalog[0].properties
    assert "name" in build_dataset([source], "mine", allow_references=True).catalog[0].properties
