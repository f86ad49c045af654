"""The BEIR importer: a tiny folder in full detail, damaged ones, and the published ToolLens."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from toolgen.datasets import load_dataset, save_dataset
from toolgen.datasets.beir import import_beir
from toolgen.datasets.validate import validate_dataset
from toolgen.errors import InputError

API = (
    "category_name:Food, tool_name:R, api_name:Find, api_description:Finds., required_params: [], optional_params: [], "
    'return_schema: ""'
)


def write(root: Path, corpus: list[Any], queries: list[Any], **qrels: str) -> Path:
    (root / "qrels").mkdir(parents=True)
    (root / "corpus.jsonl").write_text("\n".join(map(json.dumps, corpus)), encoding="utf-8")
    (root / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)), encoding="utf-8")
    for split, text in qrels.items():
        (root / "qrels" / f"{split}.tsv").write_text(text, encoding="utf-8")
    return root


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    function = {"name": "add", "description": "Adds.", "parameters": {"type": "object", "properties": {"a": {}}}}
    corpus = [
        {"_id": "0", "title": "", "text": API},
        {"_id": 1, "title": "", "text": json.dumps(function)},
        {"_id": "2", "title": "Weather", "text": "Tells the weather.\u2028Daily."},
        {"_id": "2", "title": "Again", "text": "x"},
        {"_id": "", "title": "", "text": "nameless"},
    ]
    queries = [{"_id": f"q{n}", "text": f" request {n} "} for n in range(5)] + [{"_id": "empty", "text": " "}]
    return write(
        tmp_path / "tiny",
        corpus,
        queries,
        train="query-id\tcorpus-id\tscore\nq0\t0\t1\nq0\t0\t1\nq0\t1\t1\nq1\t2\t0\nq1\t1\t2",
        test="q2\t2\t1\nq3\t9\t1\nq9\t0\t1\n",
    )


def test_documents_requests_and_judgements(folder: Path) -> None:
    dataset = import_beir(folder)
    assert dataset.catalog.ids == ("R&&Find", "tiny&&add", "tiny&&Weather")
    assert dataset.catalog.get("tiny&&add").properties == {"a": {}}
    assert dataset.catalog.get("tiny&&Weather").description == "Tells the weather.\u2028Daily."
    found = {query.id: query for split in dataset.queries.values() for query in split}
    assert {name: query.tools for name, query in found.items()} == {
        "q0": ("R&&Find", "tiny&&add"),
        "q1": ("tiny&&add",),
        "q2": ("tiny&&Weather",),
    }
    assert found["q0"].text == "request 0"
    assert [query.id for query in dataset.queries["test"]] == ["q2"]


def test_every_loss_is_listed_and_repetitions_are_counted(folder: Path) -> None:
    (report,) = import_beir(folder).reports
    assert report.counts["repeated_judgements"] == 1
    assert {(loss.name, loss.reason) for loss in report.losses} == {
        ("document 2", "its id occurs again; the first one was kept"),
        ("document 5", "a document needs an _id or a title"),
        ("query empty", "expected an _id and a text"),
        ("query q3", "its document '9' is not in the catalog"),
        ("judgement of query q9", "queries.jsonl has no such query"),
        ("query q4", "no tool is judged relevant to it"),
    }


def test_a_published_development_split_is_kept(tmp_path: Path) -> None:
    corpus, queries = [{"_id": "a", "text": "A"}], [{"_id": str(n), "text": f"t {n}"} for n in range(60)]
    lines = "".join(f"{n}\ta\t1\n" for n in range(59))
    with_dev = import_beir(write(tmp_path / "with", corpus, queries, train=lines, validation="59\ta\t1\n"))
    assert [query.id for query in with_dev.queries["dev"]] == ["59"]
    assert len(with_dev.queries["train"]) == 59 and not with_dev.reports[0].notes
    without = import_beir(write(tmp_path / "without", corpus, queries, train=lines))
    assert 0 < len(without.queries["dev"]) < 20
    assert len(without.queries["dev"]) + len(without.queries["train"]) == 59
    assert "no development split is published" in without.reports[0].notes[0]


@pytest.mark.parametrize(
    ("name", "line", "reason"),
    [
        ("corpus.jsonl", b'{"_id": "0", "te', "not JSON"),
        ("corpus.jsonl", b"[1]", "expected an object, got list"),
        ("corpus.jsonl", b"[" * 100_000, "nested too deeply"),
        ("queries.jsonl", b'{"_id": "\xe9"}', "not text in UTF-8"),
        ("qrels/train.tsv", b"q0 0 1", "expected query-id, corpus-id and score"),
        ("qrels/train.tsv", b"q0\t0\tyes", "expected query-id, corpus-id and score"),
    ],
)
def test_one_malformed_line_costs_nothing_else(folder: Path, name: str, line: bytes, reason: str) -> None:
    before = import_beir(folder)
    with (folder / name).open("ab") as file:
        file.write(b"\n" + line + b"\n")
    after = import_beir(folder)
    assert (after.catalog.ids, after.queries) == (before.catalog.ids, before.queries)
    (new,) = [loss for loss in after.reports[0].losses if loss not in before.reports[0].losses]
    assert new.name.startswith(f"{Path(name).name}, line ") and reason in new.reason and "\n" not in new.reason


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl"])
def test_a_folder_without_a_file_or_with_a_device_in_its_place_is_one_clear_line(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(InputError, match=f"there is no file .*{name}"):
        import_beir(folder)
    (folder / name).symlink_to("/dev/zero")
    with pytest.raises(InputError, match="a pipe or a device"):
        import_beir(folder)


def test_text_that_no_file_can_hold_is_cleaned(tmp_path: Path) -> None:
    corpus = [{"_id": "a\0", "title": "T\ud800", "text": "x\0y"}]
    dataset = import_beir(write(tmp_path / "d", corpus, [{"_id": "q", "text": "hi \udc00"}], test="q\ta\t1"))
    save_dataset(dataset, tmp_path / "saved")
    assert load_dataset(tmp_path / "saved").catalog[0].name == "T?"


def test_the_published_toollens(shared_data: Path, tmp_path: Path) -> None:
    dataset = import_beir(shared_data / "toollens")
    queries = [query for split in dataset.queries.values() for query in split]
    assert (len(dataset.catalog), len(queries), dataset.reports[0].losses) == (464, 16_893, ())
    assert Counter(len(query.tools) for query in queries) == {1: 1_458, 2: 2_898, 3: 12_537}
    assert dataset.reports[0].counts["repeated_judgements"] == 170
    assert (len(dataset.queries["train"]), len(dataset.queries["dev"])) == (15_198, 1_695)
    assert len(dataset.asked_tools) == 464
    assert len(dataset.tool_sets) == 423 and dataset.tool_sets == tuple(dict.fromkeys(dataset.tool_sets))
    assert not validate_dataset(dataset).errors
