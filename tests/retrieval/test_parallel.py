"""Rankings from several processes: the same results as from one, written once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from toolgen.catalog import Catalog
from toolgen.cli.app import make_app
from toolgen.datasets import save_dataset
from toolgen.errors import ProcessesError
from toolgen.evaluation import RetrievalResult, evaluate_retrieval, load_result
from toolgen.retrieval import BM25Retriever, Ranking
from toolgen.retrieval.parallel import ParallelRetriever, in_parallel
from toolgen.testing import tiny_dataset

Launch = Callable[..., str]


@pytest.fixture
def launch(tmp_path: Path) -> Launch:
    """Runs `toolgen ARGUMENTS` in two processes, over the dataset `data` in the working folder."""
    save_dataset(tiny_dataset(), tmp_path / "data")

    def launcher(*arguments: str) -> str:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "toolgen"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [*command, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return launcher


def test_an_evaluation_in_two_processes_has_the_records_and_metrics_of_one(launch: Launch, tmp_path: Path) -> None:
    printed = json.loads(launch("evaluate", "retrieval", "data", "data", "-o", "result.json", "--json"))
    expected = evaluate_retrieval(BM25Retriever(), tiny_dataset())
    found = load_result(tmp_path / "result.json")
    assert isinstance(found, RetrievalResult)
    assert len(found.records) % 2, "an uneven number of requests shows whether the last ones are lost"
    assert found.records == expected.records
    assert found.metrics == expected.metrics
    assert found.provenance.config["retriever"]["processes"] == 2
    assert printed["metrics"]["all"]["ndcg@1"]["mean"] == expected.metrics["all"]["ndcg@1"].mean


def test_rankings_of_a_file_are_written_once_and_in_the_order_of_the_requests(launch: Launch, tmp_path: Path) -> None:
    requests = [{"id": query.id, "text": query.text} for query in tiny_dataset().queries["test"][:7]]
    (tmp_path / "requests.jsonl").write_text("".join(json.dumps(each) + "\n" for each in requests), encoding="utf-8")
    lines = launch("search", "data", "--queries", "requests.jsonl", "-k", "3").splitlines()
    retriever = BM25Retriever()
    retriever.index(tiny_dataset().catalog)
    rankings = retriever.search([each["text"] for each in requests], 3)
    expected = [ranking.to_dict(each["id"]) for each, ranking in zip(requests, rankings, strict=True)]
    assert [json.loads(line) for line in lines] == expected


def test_one_process_keeps_the_retriever_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    retriever = BM25Retriever()
    assert in_parallel(retriever) is retriever


class Sleepy:
    """A retriever that finds nothing."""

    name = "sleepy"

    def index(self, catalog: Catalog) -> None:
        """Nothing to do."""

    def search(self, queries: Sequence[str], k: int) -> list[Ranking]:
        return [Ranking((), ()) for _ in queries]


def test_the_end_of_another_process_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_found: object, _own: object) -> None:
        raise RuntimeError("[gloo] Connection closed\nby peer")

    answers = {"is_initialized": True, "get_rank": 1, "get_world_size": 2}
    for name, answer in answers.items():
        monkeypatch.setattr(torch.distributed, name, lambda answer=answer: answer)
    monkeypatch.setattr(torch.distributed, "all_gather_object", broken)
    with pytest.raises(ProcessesError, match=r"another process of this search has ended; .*closed by peer"):
        ParallelRetriever(Sleepy()).search(["a", "b"], 1)


@pytest.mark.parametrize("command", ["evaluate agent", "calibrate"])
def test_what_several_processes_do_not_share_is_refused(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    result = CliRunner().invoke(make_app(), [*command.split(), "checkpoint", "data"])
    assert result.exit_code == 2
    assert f"{command} runs in one process, not in 2" in result.stderr
