"""Result files come back as they were saved, and results are compared query by query."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from toolgen.datasets import Dataset
from toolgen.errors import InputError, OutputError, UsageError
from toolgen.evaluation import RetrievalResult, load_result, paired_difference
from toolgen.evaluation.provenance import dataset_hash

Measure = Callable[..., RetrievalResult]


def test_a_saved_result_is_the_same_when_loaded(measure: Measure, tmp_path: Path) -> None:
    result = measure()
    result.save(tmp_path / "deep" / "result.json")
    assert load_result(tmp_path / "deep" / "result.json") == result
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["result.json"]


def test_an_interrupted_save_leaves_the_old_file(
    measure: Measure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "result.json"
    measure().save(path)
    before = path.read_text(encoding="utf-8")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", stop)
    with pytest.raises(KeyboardInterrupt):
        measure("other").save(path)
    assert path.read_text(encoding="utf-8") == before
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_cannot_be_written_is_one_line(measure: Measure, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(OutputError, match="cannot write"):
        measure().save(tmp_path / "file" / "result.json")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"kind": "retrieval"}', '{"kind": "retrieval", "metrics": 3}'])
def test_a_file_that_is_no_result_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "result.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=str(path)):
        load_result(path)


def test_a_result_of_a_newer_format_is_refused(measure: Measure, tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text(json.dumps({**measure().to_dict(), "format": 99}), encoding="utf-8")
    with pytest.raises(InputError, match="format 99"):
        load_result(path)


def test_a_damaged_agent_result_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "agent.json"
    path.write_text('{"format": 1, "kind": "agent", "metrics": {}, "records": []}', encoding="utf-8")
    with pytest.raises(InputError, match="damaged agent result"):
        load_result(path)


def test_the_difference_of_two_results_is_paired_by_query(measure: Measure) -> None:
    better = measure("better", unasked=["p&&t3"])
    difference = paired_difference(better, measure(), "ndcg@1")
    assert difference.mean == pytest.approx(1 / 4)
    assert difference.count == 4
    assert paired_difference(better, measure(), "ndcg@1", "unasked").mean == pytest.approx(1 / 2)
    assert paired_difference(better, measure(), "ndcg@1", "asked").mean == 0.0


def test_results_of_different_queries_are_not_compared(measure: Measure) -> None:
    first = measure()
    second = replace(first, records=first.records[:-1])
    with pytest.raises(UsageError, match="different queries"):
        paired_difference(first, second)
    with pytest.raises(UsageError, match="no metric 'ndcg@7'"):
        paired_difference(first, first, "ndcg@7")


def test_the_dataset_hash_changes_with_what_is_evaluated(dataset: Dataset) -> None:
    assert dataset_hash(dataset) == dataset_hash(replace(dataset, version="2", licence="other"))
    fewer = {**dataset.queries, "test": dataset.queries["test"][:-1]}
    assert dataset_hash(dataset) != dataset_hash(replace(dataset, queries=fewer))
