"""`toolgen train preference`: settings, progress and what it answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import yaml
from typer.testing import Result

from toolgen.datasets import Preference, save_dataset
from toolgen.datasets.messages import call_message, user_message
from toolgen.reinforcement import PreferenceConfig, resolve_preference
from toolgen.testing import tiny_checkpoint, tiny_dataset

Invoke = Callable[..., Result]


def test_it_learns_from_pairs_and_answers_with_the_last_step(toolgen: Invoke, tmp_path: Path) -> None:
    better, worse = ((call_message(name, {}, "1"),) for name in ("no_tool", "clock&&now"))
    asked = (user_message("Paint a cow"),)
    pair = Preference(id="p", query="q", prompt=asked, chosen=better, rejected=worse, tools=("clock&&now",))
    save_dataset(replace(tiny_dataset(), preferences={"train": (pair,)}), tmp_path / "runs")
    tiny_checkpoint().save(tmp_path / "agent")
    output = tmp_path / "out"
    settings = ("--set", "steps=2", "--set", "batch_size=1", "--set", "max_tokens=256")
    result = toolgen("train", "preference", tmp_path / "agent", tmp_path / "runs", "-o", output, *settings, "--json")
    assert result.exit_code == 0, result.output
    assert "preference: step 2/2, loss 0." in result.stderr
    answer = json.loads(result.stdout)
    assert (answer["stage"], answer["step"], answer["examples"]["pairs"]) == ("preference", 2, 1)


def test_the_resolved_settings_are_a_recipe(toolgen: Invoke, tmp_path: Path) -> None:
    shown = toolgen("train", "preference", "--show-config", "--set", "beta=0.3")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(shown.stdout)
    expected = resolve_preference(None, ["beta=0.3"])
    assert resolve_preference(recipe) == expected == PreferenceConfig(**yaml.safe_load(shown.stdout))
