"""A whole pretraining: what it writes, that it resumes, and that it refuses the state of another run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.training.pretraining.conftest import embed
from transformers import AutoModelForCausalLM

from toolgen.checkpoint import Checkpoint
from toolgen.errors import DivergenceError, UsageError
from toolgen.fetching.shipped import DIFFERENCE
from toolgen.inference.row_maker import RowMaker, write_rows
from toolgen.testing import tiny_catalog
from toolgen.training.pretraining.config import PretrainConfig
from toolgen.training.pretraining.corpus import Corpus, TrainingCatalog
from toolgen.training.pretraining.low_rank import add
from toolgen.training.pretraining.run import pretrain


def test_a_pretrained_base_is_a_model_folder_with_what_it_was_made_from(
    corpus: Corpus, base: Path, config: PretrainConfig, tmp_path: Path
) -> None:
    seen: list[Mapping[str, Any]] = []
    pretrain(base, corpus, embed, config, tmp_path / "out", record={"base": "tiny"}, on_step=seen.append)
    assert [one["step"] for one in seen] == [1, 2, 3, 4]
    assert {"choice_loss", "call_loss", "divergence", "top_1"} <= seen[0].keys()
    record = json.loads((tmp_path / "out" / "pretraining.json").read_text(encoding="utf-8"))
    assert record["base"] == "tiny"
    assert [one["name"] for one in record["catalogs"]] == ["tiny", "again"]
    made, plain = (AutoModelForCausalLM.from_pretrained(folder) for folder in (tmp_path / "out", base))
    add(plain.base_model, load_file(tmp_path / "out" / DIFFERENCE))
    for one, other in zip(made.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one, other)
    assert not (tmp_path / "out.unfinished").exists()


def test_rows_of_another_catalog_come_from_documentation(
    corpus: Corpus, base: Path, config: PretrainConfig, tmp_path: Path
) -> None:
    pretrain(base, corpus, embed, config.model_copy(update={"steps": 1}), tmp_path / "out")
    checkpoint = Checkpoint.create(tmp_path / "out", tiny_catalog())
    maker = RowMaker.load(tmp_path / "out", checkpoint.model.config.hidden_size)
    bags = checkpoint.tool_rows.detach().clone()
    write_rows(checkpoint, maker)
    rows = checkpoint.tool_rows.detach()
    assert not torch.allclose(rows, bags)
    torch.testing.assert_close(rows.norm(dim=1), maker.log_scale.exp().detach().expand(len(rows)))


def stop(record: Mapping[str, Any]) -> None:
    if record["step"] == 2:
        raise KeyboardInterrupt


def test_a_stopped_run_goes_on_as_if_it_had_not_been_stopped(
    corpus: Corpus, base: Path, config: PretrainConfig, tmp_path: Path
) -> None:
    often = config.model_copy(update={"save_minutes": 1e-6})
    pretrain(base, corpus, embed, often, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        pretrain(base, corpus, embed, often, tmp_path / "parts", on_step=stop)
    seen: list[int] = []
    pretrain(base, corpus, embed, often, tmp_path / "parts", on_step=lambda record: seen.append(record["step"]))
    assert seen == [2, 3, 4]
    whole, made = (load_file(tmp_path / name / DIFFERENCE) for name in ("whole", "parts"))
    for name, value in whole.items():
        torch.testing.assert_close(made[name], value, rtol=1e-3, atol=1e-5)


def test_the_state_of_another_run_is_refused_and_can_be_dropped(
    corpus: Corpus, base: Path, config: PretrainConfig, tmp_path: Path
) -> None:
    often = config.model_copy(update={"save_minutes": 1e-6})
    with pytest.raises(KeyboardInterrupt):
        pretrain(base, corpus, embed, often, tmp_path / "out", on_step=stop)
    other = config.model_copy(update={"seed": 1, "steps": 1})
    with pytest.raises(UsageError, match=r"unfinished run with other settings.*\(settings\).*--restart"):
        pretrain(base, corpus, embed, other, tmp_path / "out")
    changed = shutil.copytree(base, tmp_path / "elsewhere" / base.name)
    weights = load_file(changed / "model.safetensors")
    save_file({name: value + 1 for name, value in weights.items()}, changed / "model.safetensors", {"format": "pt"})
    with pytest.raises(UsageError, match=r"unfinished run .*\(base\).*--restart"):
        pretrain(changed, corpus, embed, often, tmp_path / "out")
    shortened = replace(corpus.catalogs[0], requests=corpus.catalogs[0].requests[::-1])
    with pytest.raises(UsageError, match=r"unfinished run .*\(catalogs\).*--restart"):
        pretrain(base, replace(corpus, catalogs=(shortened, *corpus.catalogs[1:])), embed, often, tmp_path / "out")
    pretrain(base, corpus, embed, other, tmp_path / "out", restart=True)


@pytest.mark.parametrize("steps", [1, 4])
def test_a_loss_that_is_no_number_ends_the_run_and_nothing_is_written(
    corpus: Corpus, base: Path, config: PretrainConfig, tmp_path: Path, steps: int
) -> None:
    wild = config.model_copy(update={"steps": steps, "warmup": 0.0, "learning_rate": 1e30, "row_learning_rate": 1e30})
    with pytest.raises(DivergenceError, match=r"diverged at step \d: .* lower the learning rates"):
        pretrain(base, corpus, embed, wild, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.unfinished" / "state").exists()


def test_a_corpus_without_requests_is_refused(base: Path, config: PretrainConfig, tmp_path: Path) -> None:
    empty = Corpus((TrainingCatalog("none", tuple(tiny_catalog()), ()),))
    with pytest.raises(UsageError, match="toolgen catalog queries"):
        pretrain(base, empty, embed, config, tmp_path / "out")
