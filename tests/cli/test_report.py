"""`toolgen report`: from result files, and from the checkpoint that they name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from typer.testing import CliRunner, Result

from toolgen.catalog import Catalog, Tool
from toolgen.cli import report
from toolgen.cli.app import CommandGroup
from toolgen.datasets import Dataset, Query
from toolgen.errors import CheckpointError
from toolgen.evaluation import RetrievalResult, evaluate_retrieval
from toolgen.retrieval import BM25Retriever

CATALOG = Catalog(
    Tool(id=f"p{i % 3}&&t{i}", provider=f"p{i % 3}", name=f"t{i}", source={"dataset": "p0"}) for i in range(9)
)


@pytest.fixture
def result() -> RetrievalResult:
    query = Query(id="q", text="t1", tools=("p1&&t1",))
    dataset = Dataset(
        name="demo",
        version="1",
        source="s",
        licence="l",
        catalog=CATALOG,
        queries={"test": (query,), "train": (query,)},
    )
    return evaluate_retrieval(BM25Retriever(), dataset)


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint folder as the report sees it: training records, and rows that a stand-in for the model returns."""
    torch = pytest.importorskip("torch")
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "toolgen.json").write_text("{}", encoding="utf-8")
    records = [{"stage": "memorization", "step": i, "loss": 3.0 - i / 10} for i in range(10)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
    vectors = torch.randn(9, 4)
    stand_in = SimpleNamespace(catalog=CATALOG, tool_vectors=lambda: vectors)
    monkeypatch.setattr("toolgen.checkpoint.Checkpoint.load", lambda path, device: stand_in)
    return folder


def run(*arguments: object) -> Result:
    app = typer.Typer(cls=CommandGroup, pretty_exceptions_enable=False)
    app.callback()(lambda: None)
    report.register(app)
    return CliRunner().invoke(app, ["report", *(str(argument) for argument in arguments)])


def test_result_files_become_one_page(result: RetrievalResult, tmp_path: Path) -> None:
    result.save(tmp_path / "bm25.json")
    done = run(tmp_path / "bm25.json", "-o", tmp_path / "out" / "report.html", "--title", "Tools & tokens")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "out" / "report.html")
    html = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "<h1>Tools &amp; tokens</h1>" in html
    assert 'id="map"' not in html


def test_a_checkpoint_adds_curves_and_the_map(result: RetrievalResult, tmp_path: Path, checkpoint: Path) -> None:
    result.save(tmp_path / "bm25.json")
    done = run(tmp_path / "bm25.json", "-o", tmp_path / "report.html", "--checkpoint", checkpoint)
    assert done.exit_code == 0, done.stderr
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Memorization: loss" in html
    assert html.count("<circle") == 9
    assert "no provider" in html, "the provider that is only the dataset's name is no provider"


def test_the_checkpoint_that_a_result_names_is_used(result: RetrievalResult, tmp_path: Path, checkpoint: Path) -> None:
    origin = replace(result.provenance, config={"checkpoint": str(checkpoint)})
    replace(result, provenance=origin).save(tmp_path / "generative.json")
    assert run(tmp_path / "generative.json", "-o", tmp_path / "report.html").exit_code == 0
    assert 'id="map"' in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_damaged_checkpoint_fails_only_if_it_was_asked_for(
    result: RetrievalResult, tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(path: Path, device: str) -> None:
        raise CheckpointError("the weights are gone")

    monkeypatch.setattr("toolgen.checkpoint.Checkpoint.load", damaged)
    origin = replace(result.provenance, config={"checkpoint": str(checkpoint)})
    replace(result, provenance=origin).save(tmp_path / "result.json")
    done = run(tmp_path / "result.json", "-o", tmp_path / "report.html")
    assert done.exit_code == 0
    assert "no tool map: the weights are gone" in done.stderr
    assert run(tmp_path / "result.json", "-o", tmp_path / "r.html", "--checkpoint", checkpoint).exit_code == 1


def test_two_results_of_one_method_are_told_apart_by_their_files(result: RetrievalResult, tmp_path: Path) -> None:
    for name in ("before", "after"):
        result.save(tmp_path / f"{name}.json")
    run(tmp_path / "before.json", tmp_path / "after.json", "-o", tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "before − after" in html


def test_a_file_that_is_no_result_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}", encoding="utf-8")
    done = run(tmp_path / "x.json", "-o", tmp_path / "report.html")
    assert done.exit_code == 1
    assert "is not a result file" in " ".join(done.stderr.split())
    assert not (tmp_path / "report.html").exists()
