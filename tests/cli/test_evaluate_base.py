"""`toolgen evaluate base`: a checkpoint beside the base that it was made from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.conftest import Invoke

from toolgen.checkpoint import Checkpoint
from toolgen.fetching.opening import open_tokenizer
from toolgen.testing import tiny_base, tiny_catalog


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tiny_base(tmp_path / "base", max_position_embeddings=1024)
    tokenizer = open_tokenizer(folder)
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    tokenizer.save_pretrained(folder)
    return folder


def test_perplexity_agreement_and_questions_are_told(toolgen: Invoke, base: Path, tmp_path: Path) -> None:
    Checkpoint.create(base, tiny_catalog()).save(tmp_path / "ckpt")
    told = toolgen("evaluate", "base", tmp_path / "ckpt", "-o", tmp_path / "result.json", "--json")
    assert told.exit_code == 0, told.stderr
    answer = json.loads(told.stdout)
    assert answer == json.loads((tmp_path / "result.json").read_text())
    assert {*answer["texts"]} == {"prose", "code"} and answer["base"] == str(base)
    assert 0 < answer["texts"]["code"]["agreement"] <= 1 <= answer["texts"]["prose"]["ratio"] + 1e-6
    shown = " ".join(toolgen("evaluate", "base", tmp_path / "ckpt", "--base", base).stdout.split())
    assert "same next token" in shown and f"answered: 0 of {len(answer['questions'])}, by the base 0" in shown


def test_texts_of_ones_own_are_measured_beside_them(toolgen: Invoke, base: Path, tmp_path: Path) -> None:
    Checkpoint.create(base, tiny_catalog()).save(tmp_path / "ckpt")
    letter, nothing = tmp_path / "letter.txt", tmp_path / "nothing.txt"
    letter.write_text("Dear Ada, the train left without me, and I walked home along the river. " * 20)
    nothing.write_text("")
    told = toolgen("evaluate", "base", tmp_path / "ckpt", "--text", letter, "--json")
    assert told.exit_code == 0, told.stderr
    texts = json.loads(told.stdout)["texts"]
    assert [*texts] == ["prose", "code", str(letter)] and texts[str(letter)]["tokens"] > 200
    refused = toolgen("evaluate", "base", tmp_path / "ckpt", "--text", nothing)
    assert refused.exit_code == 2 and "too short to be measured: it has 0 tokens" in " ".join(refused.stderr.split())
    overwritten = toolgen("evaluate", "base", tmp_path / "ckpt", "--text", letter, "-o", letter)
    assert overwritten.exit_code == 2 and letter.read_text().startswith("Dear Ada")
    missing = toolgen("evaluate", "base", tmp_path / "ckpt", "--text", tmp_path / "letters.txt")
    assert missing.exit_code != 0 and "letters.txt" in missing.stderr


def test_a_dataset_has_no_base(toolgen: Invoke, dataset_folder: Path) -> None:
    result = toolgen("evaluate", "base", dataset_folder)
    assert result.exit_code == 2 and "this needs a checkpoint" in " ".join(result.stderr.split())
