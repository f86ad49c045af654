"""`toolgen search` and `toolgen evaluate retrieval` over a dataset folder: no model, no weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from toolgen.catalog import Catalog, Tool
from toolgen.cli import evaluate, report, search
from toolgen.cli.app import CommandGroup
from toolgen.datasets import Dataset, Query, save_dataset
from toolgen.evaluation import AgentResult, RetrievalResult, load_result
from toolgen.testing import tiny_catalog, tiny_checkpoint, tiny_dataset

WORDS = ("weather", "currency", "[bold]mail", "calendar", "music", "maps", "news")


@pytest.fixture
def app() -> typer.Typer:
    made = typer.Typer(cls=CommandGroup, pretty_exceptions_enable=False)
    for module in (search, evaluate, report):
        module.register(made)
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tools = [Tool(id=f"p&&{w}", provider="p", name=w, description=f"Everything about {w}") for w in WORDS]
    queries = [Query(id=w, text=f"tell me about {w}", tools=(f"p&&{w}",)) for w in WORDS]
    dataset = Dataset(
        name="demo",
        version="1",
        source="test",
        licence="Apache-2.0",
        catalog=Catalog(tools),
        queries={"train": tuple(queries[:3]), "test": tuple(queries[2:])},
    )
    save_dataset(dataset, tmp_path / "dataset")
    return tmp_path / "dataset"


def run(app: typer.Typer, *arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, " ".join(result.stderr.split())


def test_one_request_prints_a_table_with_the_tools(app: typer.Typer, folder: Path) -> None:
    code, out, _ = run(app, "search", folder, "which music", "-k", 2)
    assert code == 0
    assert "p&&music" in out and "Everything about music" in out


def test_what_a_tool_is_called_is_not_read_as_markup(app: typer.Typer, folder: Path) -> None:
    assert "p&&[bold]mail" in run(app, "search", folder, "mail", "-k", 1)[1]


def test_a_part_of_the_tools_can_be_searched(app: typer.Typer, folder: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    tiny_checkpoint().save(model)
    for place in (folder, model):
        everything, only, without = (
            {*json.loads(run(app, "search", place, "mail music", "-k", 99, "--json", *part)[1])["tools"]} - {"no_tool"}
            for part in ([], ["--include", "mail"], ["--exclude", "mail"])
        )
        assert only and all("mail" in tool for tool in only) and not any("mail" in tool for tool in without)
        assert only | without == everything and without
    code, _, err = run(app, "search", folder, "mail", "--include", "provider:q")
    assert code == 2 and "error: none of the 7 tools is left by --include and --exclude" in err


def test_json_is_for_programs(app: typer.Typer, folder: Path) -> None:
    code, out, _ = run(app, "search", folder, "which music", "-k", 3, "--json", "--retriever", "bm25")
    answer = json.loads(out)
    assert code == 0
    assert (answer["retriever"], answer["unit"], answer["tools"][0]) == ("bm25", "BM25 score", "p&&music")
    assert len(answer["scores"]) == len(answer["tools"]) == 1


def test_a_file_of_requests_becomes_a_file_of_rankings(app: typer.Typer, folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "rankings.jsonl"
    code, _, err = run(app, "search", folder, "--queries", folder / "queries.test.jsonl", "-o", output, "-k", 4)
    assert code == 0
    lines = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert [line["id"] for line in lines] == list(WORDS[2:])
    assert all(set(line) == {"id", "tools", "scores"} and len(line["tools"]) == 4 for line in lines)
    assert all(line["scores"] == sorted(line["scores"], reverse=True) for line in lines)
    assert "wrote 5 rankings" in err


def test_a_model_gives_probabilities_and_no_tool_is_a_result(app: typer.Typer, tmp_path: Path) -> None:
    tiny_checkpoint().save(tmp_path / "ckpt")
    (tmp_path / "queries.jsonl").write_text('{"id": 7, "text": "a\u2028taxi"}\n', encoding="utf-8")
    code, out, _ = run(app, "search", tmp_path / "ckpt", "a taxi", "-k", 100, "--json")
    answer = json.loads(out)
    assert code == 0 and answer["unit"] == "probability"
    assert len(answer["tools"]) == len(tiny_catalog()) + 1 and "no_tool" in answer["tools"]
    assert answer["scores"] == sorted(answer["scores"], reverse=True) and sum(answer["scores"]) == pytest.approx(1)
    table = run(app, "search", tmp_path / "ckpt", "a taxi", "-k", 100)[1]
    assert "probability" in table and "(no tool fits)" in table
    line = json.loads(run(app, "search", tmp_path / "ckpt", "--queries", tmp_path / "queries.jsonl", "-k", 100)[1])
    assert line["id"] == "7" and "no_tool" in line["tools"]


def test_a_request_of_which_no_tool_has_a_word_finds_nothing(app: typer.Typer, folder: Path) -> None:
    code, out, _ = run(app, "search", folder, "qwertz")
    assert (code, out.strip()) == (0, "no tool found: none shares a word with this request")
    assert json.loads(run(app, "search", folder, "qwertz", "--json")[1])["tools"] == []


def test_without_an_output_file_the_rankings_go_to_stdout(app: typer.Typer, folder: Path) -> None:
    _, out, _ = run(app, "search", folder, "--queries", folder / "queries.test.jsonl")
    assert json.loads(out.splitlines()[0])["id"] == WORDS[2]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ([], 2, "give either a request"),
        (["text", "--queries", "x.jsonl"], 2, "give either a request"),
        ([" "], 2, "the request is empty"),
        (["text", "--retriever", "bm52"], 2, "there is no retriever 'bm52'"),
        (["text", "--retriever", "generative"], 2, "needs a checkpoint"),
        (["--queries", "nowhere.jsonl"], 1, "there is no file"),
    ],
)
def test_wrong_usage_is_one_line(app: typer.Typer, folder: Path, arguments: list[str], code: int, says: str) -> None:
    found, _, err = run(app, "search", folder, *arguments)
    assert found == code
    assert says in err


def test_a_line_that_is_no_request_is_named(app: typer.Typer, folder: Path, tmp_path: Path) -> None:
    queries = tmp_path / "queries.jsonl"
    queries.write_text('{"id": 1, "text": "fine"}\n\n{"id": 2}\n', encoding="utf-8")
    code, _, err = run(app, "search", folder, "--queries", queries)
    assert code == 1
    assert "line 3" in err
    for record, said in (
        ('{"id": 1, "text": null}', 'expected a text as "text"; got null'),
        ('{"id": null, "text": "a"}', 'expected a text as "id"; got null'),
        ('{"id": true, "text": "a"}', "got true"),
        ('{"id": 1, "text": ["a"]}', 'got ["a"]'),
        ("[1]", "expected an object, got list"),
        ("{", "not JSON"),
    ):
        queries.write_text(f"{record}\n", encoding="utf-8")
        code, _, err = run(app, "search", folder, "--queries", queries)
        assert code == 1 and "line 1" in err and said in err
    queries.write_text("\n", encoding="utf-8")
    assert "holds no request" in run(app, "search", folder, "--queries", queries)[2]


def test_a_folder_that_is_neither_checkpoint_nor_dataset_is_named(app: typer.Typer, tmp_path: Path) -> None:
    code, _, err = run(app, "search", tmp_path, "text")
    assert code == 1
    assert "neither a checkpoint (toolgen.json) nor a dataset (dataset.json)" in err


def test_retrieval_is_evaluated_and_saved(app: typer.Typer, folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "bm25.json"
    code, out, err = run(app, "evaluate", "retrieval", folder, folder, "--retriever", "bm25", "-o", output)
    assert code == 0, err
    assert "NDCG@1" in out and "unasked" in out and "100.0 (100.0–100.0)" in out
    result = load_result(output)
    assert isinstance(result, RetrievalResult)
    assert result.metrics["unasked"]["ndcg@1"].count == 4


def test_an_evaluation_as_json_has_no_records(app: typer.Typer, folder: Path) -> None:
    _, out, _ = run(app, "evaluate", "retrieval", folder, folder, "--json", "--limit", 2)
    answer = json.loads(out)
    assert answer["metrics"]["all"]["ndcg@1"]["count"] == 2
    assert "records" not in answer


def test_an_agent_is_evaluated_with_several_tasks_together(app: typer.Typer, tmp_path: Path) -> None:
    dataset, checkpoint, output = tmp_path / "tiny", tmp_path / "ckpt", tmp_path / "agent.json"
    save_dataset(tiny_dataset(), dataset)
    tiny_checkpoint(catalog=tiny_dataset().catalog, max_position_embeddings=2048).save(checkpoint)
    options = ("--split", "train", "--kind", "irrelevance", "--concurrency", 2)
    code, _, err = run(app, "evaluate", "agent", checkpoint, dataset, *options, "-o", output)
    assert code == 0, err
    result = load_result(output)
    assert isinstance(result, AgentResult)
    assert result.provenance.config["concurrency"] == 2
    assert [record.id for record in result.records] == ["train-none-0", "train-none-1"]


def test_an_agent_needs_a_checkpoint(app: typer.Typer, folder: Path) -> None:
    code, _, err = run(app, "evaluate", "agent", folder, folder)
    assert code == 2
    assert "needs a trained checkpoint" in err
