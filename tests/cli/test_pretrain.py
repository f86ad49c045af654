"""`toolgen pretrain`: what it writes, and what `toolgen virtualize` makes of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from typer.testing import Result

from toolgen.checkpoint import Checkpoint
from toolgen.checkpoint.layout import ROW_MAKER
from toolgen.fetching.shipped import DIFFERENCE
from toolgen.testing import tiny_encoder
from toolgen.training.config import resolve_settings
from toolgen.training.pretraining.config import PretrainConfig

Invoke = Callable[..., Result]

pytest.importorskip("sentence_transformers")

SETTINGS = (
    "steps=2",
    "requests=16",
    "groups=2",
    "conversations=2",
    "replayed=2",
    "replay_texts=2",
    "replay_tokens=8",
    "rank=2",
    "pass_tokens=1024",
    "workers=0",
)


@pytest.fixture
def pretrain(toolgen: Invoke, base_folder: Path, dataset_folder: Path, tmp_path: Path) -> Callable[..., Result]:
    """Runs `toolgen pretrain` with tiny models, writes the folder of this name."""
    sets = [part for one in SETTINGS for part in ("--set", one)]
    encoder = tiny_encoder(tmp_path / "encoder")

    def run(name: str, *more: str | Path) -> Result:
        given = ("-o", tmp_path / name, "--base", base_folder, "--encoder", encoder)
        return toolgen("pretrain", dataset_folder, *given, *sets, *more, "--json")

    return run


def test_a_pretrained_base_makes_the_rows_of_a_catalog_that_it_has_not_seen(
    toolgen: Invoke, pretrain: Callable[..., Result], dataset_folder: Path, tmp_path: Path
) -> None:
    made = pretrain("base2")
    assert made.exit_code == 0, made.output
    answer = json.loads(made.stdout)
    assert (answer["step"], answer["catalogs"], answer["tools"]) == (2, 1, 13)
    assert (tmp_path / "base2" / ROW_MAKER).is_file()
    rows = []
    for init in ((), ("--init", "documentation")):
        output = tmp_path / f"ckpt{len(init)}"
        result = toolgen("virtualize", dataset_folder, "--base", tmp_path / "base2", "-o", output, *init)
        assert result.exit_code == 0, result.output
        rows.append(Checkpoint.load(output).tool_rows.detach())
    assert not torch.allclose(rows[0], rows[1])


def test_a_pretraining_goes_on_from_what_an_earlier_one_has_learned(
    pretrain: Callable[..., Result], tmp_path: Path
) -> None:
    assert pretrain("first").exit_code == 0
    result = pretrain(
        "second", "--start", tmp_path / "first", "--set", "learning_rate=1e-30", "--set", "row_learning_rate=1e-30"
    )
    assert result.exit_code == 0, result.output
    first, second = (load_file(tmp_path / name / DIFFERENCE) for name in ("first", "second"))
    for name, value in first.items():
        torch.testing.assert_close(second[name], value)
    record = json.loads((tmp_path / "second" / "pretraining.json").read_text())
    assert record["before"]["tokens"] == json.loads((tmp_path / "first" / "pretraining.json").read_text())["tokens"]


def test_a_start_without_a_difference_is_refused(pretrain: Callable[..., Result], base_folder: Path) -> None:
    result = pretrain("second", "--start", base_folder)
    assert result.exit_code == 2
    assert "has no difference.safetensors; name a folder that `toolgen pretrain` wrote" in result.stderr


def test_pretrain_without_datasets_says_what_it_needs(toolgen: Invoke) -> None:
    result = toolgen("pretrain")
    assert result.exit_code == 2
    assert "pretrain needs DATASET... and --output BASE2" in result.stderr


def test_the_recipe_for_a_cpu_differs_from_the_defaults_in_each_line() -> None:
    recipe = Path(__file__).parents[2] / "recipes" / "pretraining" / "cpu.yaml"
    config = resolve_settings(PretrainConfig, "pretraining", {}, recipe)
    defaults = PretrainConfig()
    assert all(getattr(config, key) != getattr(defaults, key) for key in yaml.safe_load(recipe.read_text()))
