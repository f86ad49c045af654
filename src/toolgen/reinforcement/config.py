"""The settings of stage 4, from runs and from pairs, and of sampling: defaults and reasons."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator

from toolgen.datasets.payloads import Kind
from toolgen.training.config import TrainingConfig, resolve_settings

STAGE = "reinforcement"
"""The name of the stage in histories and records."""

PREFERENCE = "preference"
"""The same of learning from pairs."""

Method = Literal["grpo", "rejection"]
Level = Literal["nothing_to_call", "one_call", "several_calls", "several_turns"]
Part = Literal["success", "tools", "arguments", "declining", "steps"]
Weight = Annotated[float, Field(ge=0)]

REWARD: Mapping[Part, float] = {"success": 1.0, "tools": 0.5, "arguments": 0.5, "declining": 0.25, "steps": 0.1}
LEVELS: Mapping[Level, float] = {
    "nothing_to_call": 0.15,
    "one_call": 0.35,
    "several_calls": 0.25,
    "several_turns": 0.25,
}
DEFAULTS: Mapping[str, Any] = {
    "steps": 40,
    "batch_size": 8,
    "learning_rate": 3e-5,
    "row_learning_rate": 1e-5,
    "warmup": 0.0,
    "schedule": "constant_with_warmup",
    "weight_decay": 0.0,
    "precision": "fp32",
    "reward": REWARD,
    "levels": LEVELS,
}
"""What stage 4 changes of the settings that every training has: a small rate, since the model teaches itself; fp32, in which
sampling and training compute the same probabilities; no warm-up, which begins at rate 0: that would waste a step's runs."""
PREFERENCE_DEFAULTS: Mapping[str, Any] = {
    "steps": 60,
    "batch_size": 16,
    "learning_rate": 1e-5,
    "row_learning_rate": 1e-5,
    "warmup": 0.1,
    "schedule": "linear",
    "weight_decay": 0.0,
    "precision": "fp32",
}
"""The same for learning from pairs."""


class ReinforceConfig(TrainingConfig):
    """`DEFAULTS` suit a 135M agent on two CPU cores."""

    batch_size: int = Field(8, ge=1, description="tasks a step, each of which is carried out `group_size` times")

    method: Method = Field(
        "grpo",
        description="grpo: each rollout is weighed by how much better than its group it is; rejection: the best of each group "
        "is learned by heart (RAFT, arXiv 2304.06767), a cheap start",
    )
    group_size: int = Field(8, ge=2, description="rollouts of a task in a step")
    updates: int = Field(1, ge=1, description="optimizer steps on the rollouts of a step")
    temperature: float = Field(
        1.0, ge=0.01, le=100, description="of the draws, and so of the probabilities that are learned"
    )
    clip_below: float = Field(
        0.2, gt=0, lt=1, description="how far a token's probability may fall against that at its draw"
    )
    clip_above: float = Field(0.28, gt=0, description="and how far it may rise")
    kl_weight: float = Field(
        0.02, ge=0, description="of the divergence from what the stage began with; 0: no copy of that is kept"
    )
    keep_between: tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(le=1)]] = Field(
        (0.01, 0.99),
        description="a group is left out unless the mean of what it earned, as a share of the most, lies between these",
    )
    reward: dict[Part, Weight] = Field(
        default_factory=lambda: {**REWARD},
        description="weight of each part of the reward: success of the task, tools (Jaccard), arguments (agreement of their "
        "values), declining exactly if nothing is to be called, cost of needless steps",
    )
    levels: dict[Level, Weight] = Field(
        default_factory=lambda: {**LEVELS},
        description="share of each level of tasks; one without tasks leaves its share to the others",
    )
    curriculum: float = Field(
        0.5,
        ge=0,
        le=1,
        description="share of the steps after which all levels are open; before, they open one after another, from one call to "
        "several turns",
    )
    given_tools: bool = Field(
        False,
        description="whether the right tools are handed to the model, so that it learns arguments alone; tasks that no tool "
        "fits are left out",
    )
    task_steps: int = Field(6, ge=1, description="actions in each turn of a rollout")
    task_tokens: int = Field(384, ge=8, description="tokens that a rollout may write")
    thought_tokens: int = Field(
        0, ge=0, description="tokens of a thought before each action, which is learned, too; 0: there is none"
    )
    argument_tokens: int = Field(128, ge=8, description="tokens of one call's arguments")
    concurrency: int = Field(32, ge=1, description="rollouts that share the passes of the model")

    @field_validator("reward", "levels")
    @classmethod
    def _weighs_something(cls, weights: dict[str, float]) -> dict[str, float]:
        if not sum(weight for name, weight in weights.items() if name != "steps"):
            raise ValueError("one of them (of the reward, other than steps) must be above 0")
        return weights


class PreferenceConfig(TrainingConfig):
    """`PREFERENCE_DEFAULTS` suit a 135M agent on two CPU cores."""

    batch_size: int = Field(16, ge=1, description="pairs a step")
    beta: float = Field(
        0.1,
        gt=0,
        le=100,
        description="how soon a pair counts as learned; small: the model may go far from what it began with",
    )
    chosen_weight: float = Field(
        0.0,
        ge=0,
        description="of the cross-entropy of the chosen run beside the preference, so that it does not become less likely, too "
        "(arXiv 2404.19733)",
    )
    max_tokens: int = Field(1024, ge=16, description="pairs of which a conversation is longer are left out")


class SampleConfig(BaseModel):
    """How `toolgen sample` tries tasks, and what of it is kept."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    runs: int = Field(8, ge=2, description="of each task")
    temperature: float = Field(1.0, ge=0.01, le=100, description="of the draws")
    keep: int = Field(4, ge=1, description="conversations of a task, at most, and preferences")
    kinds: tuple[Kind, ...] = Field(get_args(Kind), description="of tasks")
    limit: int | None = Field(None, ge=1, description="tasks, drawn by seed; none: all")
    given_tools: bool = Field(
        False,
        description="whether the right tools are handed to the model, so that its runs differ in arguments alone; tasks that "
        "no tool fits are left out",
    )
    with_given: bool = Field(
        False,
        description="whether the conversations that the dataset has stay; where no run of a task is right they are what the "
        "wrong ones are compared with (SPIN, arXiv 2401.01335)",
    )
    seed: int = 0
    task_steps: int = Field(6, ge=1, description="actions in each turn of a run")
    task_tokens: int = Field(384, ge=8, description="tokens that a run may write")
    argument_tokens: int = Field(128, ge=8, description="tokens of one call's arguments")
    thought_tokens: int = Field(0, ge=0, description="tokens of a thought before each action; 0: there is none")
    concurrency: int = Field(32, ge=1, description="runs that share the passes of the model")


def resolve_preference(recipe: Path | None = None, settings: Iterable[str] = ()) -> PreferenceConfig:
    """Defaults, then the recipe, then each `key=value`; UsageError for what does not fit."""
    return resolve_settings(PreferenceConfig, f"{PREFERENCE} stage", PREFERENCE_DEFAULTS, recipe, settings)


def resolve_reinforcement(recipe: Path | None = None, settings: Iterable[str] = ()) -> ReinforceConfig:
    """Defaults, then the recipe, then each `key=value`; UsageError for what does not fit."""
    return resolve_settings(ReinforceConfig, f"{STAGE} stage", DEFAULTS, recipe, settings)
