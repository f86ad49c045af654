"""Several sources become one dataset; what cannot be read is told and the rest is loaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from toolgen.datasets.sources import Source, build_dataset, parse_source
from toolgen.errors import DatasetError, UsageError


@pytest.fixture
def functions(tmp_path: Path) -> Path:
    file = tmp_path / "math.json"
    file.write_text(json.dumps([{"name": "square"}, {"name": "cube"}]))
    return file


def test_sources_are_kind_and_place() -> None:
    assert parse_source("bfcl:") == Source("bfcl")
    assert parse_source("openai:C:/x.json") == Source("openai", "C:/x.json")


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


def test_two_published_datasets_are_a_usage_error() -> None:
    with pytest.raises(UsageError, match="one by one"):
        build_dataset([Source("bfcl", "a"), Source("bfcl", "b")], "mine")
