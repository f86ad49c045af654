"""The model card of a checkpoint, read back with the Hub's own reader."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import yaml
from huggingface_hub import EvalResultEntry, ModelCard
from huggingface_hub._eval_results import parse_eval_result_entries
from typer.testing import CliRunner

from toolgen.catalog.transforms import select_tools
from toolgen.checkpoint.card import CARD, EVAL_RESULTS, Figure, eval_results, model_card
from toolgen.checkpoint.layout import StageRecord
from toolgen.cli.app import make_app
from toolgen.datasets import save_dataset
from toolgen.foreign.shown import in_markdown
from toolgen.testing import tiny_checkpoint, tiny_dataset

FIGURE = Figure(
    dataset="bfcl 1",
    split="test",
    method="generative",
    metric="ndcg@1",
    value=70.104,
    low=66.0,
    high=74.0,
    count=582,
    date="2026-11-28T10:00:00+00:00",
)


def test_every_saved_checkpoint_has_a_card_that_the_hub_can_read(tmp_path: Path) -> None:
    checkpoint = tiny_checkpoint()
    checkpoint.save(tmp_path / "made")
    card = ModelCard.load(tmp_path / "made" / CARD)
    assert vars(card.data)["library_name"] == "transformers" and vars(card.data)["license"] == "other"
    for said in (f"{len(checkpoint.catalog)} tools", checkpoint.catalog.content_hash[:16], "has not learned to act"):
        assert said in card.text
    assert not (tmp_path / "made" / EVAL_RESULTS).exists()


def test_a_licence_stands_alone_only_where_base_and_data_have_the_same() -> None:
    stage = StageRecord(
        stage="agent", dataset={"name": "a", "version": "1", "licence": "Apache-2.0"}, examples={"x": 3}
    )
    checkpoint = replace(tiny_checkpoint(), base="smollm2-135m-instruct", stages=(stage,))
    same = ModelCard(model_card(checkpoint))
    assert (
        vars(same.data)["license"] == "apache-2.0"
        and vars(same.data)["base_model"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    )
    other = replace(stage, dataset={**stage.dataset, "licence": "CC-BY-4.0"})
    assert vars(ModelCard(model_card(replace(checkpoint, stages=(stage, other)))).data)["license"] == "other"
    assert "has not learned to act" not in same.text


def test_a_shipped_base_names_the_model_that_it_changes() -> None:
    card = ModelCard(model_card(replace(tiny_checkpoint(), base="toolgen-135m")))
    assert vars(card.data)["base_model"] == "HuggingFaceTB/SmolLM2-135M-Instruct"


def test_foreign_names_are_text_and_no_markup() -> None:
    hostile = "x | y\n# z <script>[a](b)`\x1b]0;"
    shown = in_markdown(hostile)
    assert "\n" not in shown and "\x1b" not in shown and "<script>" not in shown.replace("\\<", "")
    stage = StageRecord(stage="agent", dataset={"name": hostile, "version": "---", "licence": "x: y"})
    card = ModelCard(model_card(replace(tiny_checkpoint(), base=hostile, stages=(stage,))))
    assert vars(card.data)["license"] == "other"


def test_figures_with_a_dataset_on_the_hub_are_entries_as_its_library_reads_them() -> None:
    on_hub = replace(FIGURE, hub_dataset="org/bfcl")
    (entry,) = parse_eval_result_entries(yaml.safe_load(yaml.safe_dump(eval_results([FIGURE, on_hub]))))
    assert isinstance(entry, EvalResultEntry)
    assert (entry.dataset_id, entry.task_id, entry.value) == ("org/bfcl", "ndcg@1", 70.1)
    assert "70.1 (66.0–74.0)" in model_card(tiny_checkpoint(), [FIGURE])


def test_measured_figures_come_into_the_card_and_go_with_the_next_save(tmp_path: Path) -> None:
    dataset = tiny_dataset()
    save_dataset(dataset, tmp_path / "data")
    checkpoint = tiny_checkpoint(catalog=dataset.catalog)
    checkpoint.save(tmp_path / "made")

    def toolgen(*words: str) -> str:
        done = CliRunner().invoke(make_app(), [*words])
        assert done.exit_code == 0, done.output
        return done.stdout

    result, made = str(tmp_path / "result.json"), str(tmp_path / "made")
    toolgen("evaluate", "retrieval", made, str(tmp_path / "data"), "--retriever", "generative", "-o", result)
    toolgen("export", "card", made, result, "--hub", "tiny=org/tiny")
    assert "| tiny 1 | test | generative |" in (tmp_path / "made" / CARD).read_text(encoding="utf-8")
    assert "org/tiny" in (tmp_path / "made" / EVAL_RESULTS).read_text(encoding="utf-8")
    checkpoint.save(tmp_path / "made")
    assert "None are written here yet" in (tmp_path / "made" / CARD).read_text(encoding="utf-8")


def test_results_over_another_catalog_are_refused(tmp_path: Path) -> None:
    dataset = tiny_dataset()
    save_dataset(dataset, tmp_path / "data")
    tiny_checkpoint(catalog=select_tools(dataset.catalog, exclude=[dataset.catalog.ids[0]])).save(tmp_path / "made")
    result = str(tmp_path / "result.json")
    app = make_app()
    CliRunner().invoke(app, ["evaluate", "retrieval", str(tmp_path / "data"), str(tmp_path / "data"), "-o", result])
    refused = CliRunner().invoke(app, ["export", "card", str(tmp_path / "made"), result])
    assert refused.exit_code == 1 and "another catalog" in refused.stderr
