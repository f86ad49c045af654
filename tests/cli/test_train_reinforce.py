"""`toolgen train reinforce`: settings, progress and what it answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import yaml
from typer.testing import Result

from toolgen.checkpoint.layout import METRICS, read_metrics
from toolgen.evaluation.report.training import curves
from toolgen.reinforcement import ReinforceConfig, resolve_reinforcement
from toolgen.testing import tiny_checkpoint

Invoke = Callable[..., Result]
SMALL = ("steps=2", "batch_size=2", "group_size=2", "task_steps=1", "argument_tokens=8", "levels={one_call: 1}")


def settings(*values: str) -> list[str]:
    return [part for value in values for part in ("--set", value)]


def test_the_resolved_settings_are_a_recipe(toolgen: Invoke, tmp_path: Path) -> None:
    shown = toolgen("train", "reinforce", "--show-config", *settings("reward.tools=0.1", "method=rejection"))
    assert shown.exit_code == 0, shown.output
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(shown.stdout)
    expected = resolve_reinforcement(None, ["reward.tools=0.1", "method=rejection"])
    assert resolve_reinforcement(recipe) == expected == ReinforceConfig(**yaml.safe_load(shown.stdout))
    assert toolgen("train", "reinforce").exit_code == 2


def test_it_shows_the_reward_and_answers_with_the_last_step(
    toolgen: Invoke, dataset_folder: Path, tmp_path: Path
) -> None:
    tiny_checkpoint().save(tmp_path / "agent")
    output = tmp_path / "out"
    result = toolgen(
        "train", "reinforce", tmp_path / "agent", dataset_folder, "-o", output, *settings(*SMALL), "--json"
    )
    assert result.exit_code == 0, result.output
    assert "reinforcement: step 2/2, reward " in result.stderr
    assert "settings: the defaults of reinforcement, except steps 40 -> 2; " in result.stderr
    assert f"next: toolgen evaluate agent {output} {dataset_folder} -o RESULT" in result.stderr
    answer = json.loads(result.stdout)
    assert (answer["stage"], answer["step"], answer["checkpoint"]) == ("reinforcement", 2, str(output))
    assert answer["examples"]["one_call"] > 0 <= answer["telling"] <= 1
    (curve,) = curves(read_metrics(output / METRICS))
    assert curve["title"] == "Reinforcement: reward"
