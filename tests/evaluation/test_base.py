"""What is left of a base: the same model loses nothing, a damaged one does, and the figures are those of plain transformers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from toolgen.checkpoint import Checkpoint
from toolgen.errors import UsageError
from toolgen.evaluation.base import QUESTIONS, WINDOW, code, evaluate_base, prose
from toolgen.fetching.opening import open_model, open_tokenizer
from toolgen.testing import tiny_base, tiny_catalog

CHAT = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("base") / "tiny", max_position_embeddings=1024)


def opened(folder: Path) -> tuple[Any, Any]:
    tokenizer = open_tokenizer(folder)
    tokenizer.chat_template = tokenizer.chat_template or CHAT
    return open_model(folder, dtype=torch.float32).eval(), tokenizer


def made_from(folder: Path) -> Checkpoint:
    return Checkpoint.create(folder, tiny_catalog())


def test_rows_alone_change_little_and_the_figures_are_plain_ones(folder: Path) -> None:
    model, tokenizer = opened(folder)
    told: list[tuple[int, int]] = []
    found = evaluate_base(made_from(folder), (model, tokenizer), on_progress=lambda *count: told.append(count))
    assert {*found.texts} == {"prose", "code"} and len(found.questions) == len(QUESTIONS)
    assert told[-1][0] == told[-1][1]
    ids = tokenizer(prose(), add_special_tokens=False)["input_ids"]
    losses, count = 0.0, 0
    for start in range(0, len(ids), WINDOW):
        window = torch.tensor([ids[start : start + WINDOW]])
        with torch.no_grad():
            part = model(input_ids=window, labels=window).loss
        losses, count = losses + float(part) * (window.shape[1] - 1), count + window.shape[1] - 1
    assert found.texts["prose"].tokens == count
    assert found.texts["prose"].base_perplexity == pytest.approx(math.exp(losses / count), rel=1e-3)
    # New rows take some probability; what is likeliest among the base's own tokens stays.
    assert found.texts["prose"].ratio >= 1 - 1e-6
    assert found.to_dict()["texts"]["prose"]["ratio"] == found.texts["prose"].ratio


def test_a_damaged_trunk_agrees_less(folder: Path) -> None:
    damaged = made_from(folder)
    with torch.no_grad():
        for parameter in damaged.model.base_model.layers.parameters():
            parameter += 0.5 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    whole, broken = (evaluate_base(one, opened(folder)).texts["code"] for one in (made_from(folder), damaged))
    assert broken.agreement < whole.agreement


def test_another_base_is_refused(folder: Path, tmp_path: Path) -> None:
    other = opened(tiny_base(tmp_path / "other", tokenizer="unigram"))
    with pytest.raises(UsageError, match="other tokens"):
        evaluate_base(made_from(folder), other)


def test_a_text_that_ends_with_a_token_of_its_own_window_is_measured_without_it(folder: Path) -> None:
    model, tokenizer = opened(folder)
    ids = tokenizer("a b " * 400, add_special_tokens=False)["input_ids"]
    text = tokenizer.decode(ids[: WINDOW + 1])
    cut = len(tokenizer(text, add_special_tokens=False)["input_ids"]) % WINDOW
    found = evaluate_base(made_from(folder), (model, tokenizer), more={"mine": text})
    assert cut == 1 and found.texts["mine"].tokens == WINDOW - 1
    with pytest.raises(UsageError, match="code is the name of a text that is measured anyway"):
        evaluate_base(made_from(folder), (model, tokenizer), more={"code": text})


def test_the_texts_are_long_enough_and_of_their_kind() -> None:
    assert len(prose().split()) > 400 and "def " in code() and len(code()) > 4000
