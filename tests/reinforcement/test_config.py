"""Settings of stage 4: one part of a mapping can be set, and what cannot be learned from is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from toolgen.errors import UsageError
from toolgen.reinforcement import ReinforceConfig, resolve_preference, resolve_reinforcement
from toolgen.reinforcement.config import DEFAULTS, LEVELS, REWARD
from toolgen.reinforcement.objective import METHODS
from toolgen.reinforcement.rewards import PARTS

RECIPES = Path(__file__).parents[2] / "recipes"
OWN = [
    (resolve, recipe)
    for resolve, folder in ((resolve_reinforcement, "reinforcement"), (resolve_preference, "preference"))
    for recipe in sorted((RECIPES / folder).glob("*.yaml"))
]


def test_one_weight_of_the_reward_can_be_set() -> None:
    config = resolve_reinforcement(None, ["reward.steps=0.3", "levels.several_turns=0"])
    assert config.reward == {**REWARD, "steps": 0.3}
    assert config.levels == {**LEVELS, "several_turns": 0}


def test_the_defaults_are_settings_and_every_part_and_method_has_its_function() -> None:
    config = resolve_reinforcement()
    assert DEFAULTS.keys() <= ReinforceConfig.model_fields.keys()
    assert config.reward.keys() == PARTS.keys()
    assert ReinforceConfig.model_fields["method"].annotation.__args__ == tuple(METHODS)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("method=ppo", "method = 'ppo': Input should be 'grpo' or 'rejection'"),
        ("reward.speed=1", "reward.speed"),
        ("reward={success: 0, tools: 0, arguments: 0, declining: 0}", "must be above 0"),
        ("group_size=1", "group_size = 1"),
        ("shard_rows=true", "no setting 'shard_rows'"),
        ("keep_between=[0.2, 1.5]", "keep_between"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(setting: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve_reinforcement(None, [setting])


@pytest.mark.parametrize(("resolve", "recipe"), OWN, ids=[recipe.name for _, recipe in OWN])
def test_every_recipe_resolves_and_says_what_it_is_for(resolve: Callable[..., Any], recipe: Path) -> None:
    assert recipe.read_text(encoding="utf-8").startswith("# ")
    assert resolve(recipe) != resolve()
