"""Stage 4 end to end: it earns more, a stopped run goes on as if it had not been, and the checkpoint says what made it."""

from __future__ import annotations

import os
import signal
import statistics
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from toolgen.catalog import Catalog
from toolgen.checkpoint import Checkpoint
from toolgen.datasets import Dataset
from toolgen.errors import UsageError
from toolgen.reinforcement.objective import METHODS
from toolgen.reinforcement.rewards import PARTS
from toolgen.reinforcement.run import reinforce
from toolgen.testing import tiny_checkpoint

from .conftest import Runner, tiny_config


def curve(checkpoint: Checkpoint) -> list[dict[str, Any]]:
    return [
        {key: value for key, value in record.items() if not key.endswith("seconds")} for record in checkpoint.metrics
    ]


def interrupt_at(step: int) -> Callable[[Mapping[str, Any]], None]:
    def on_step(record: Mapping[str, Any]) -> None:
        if record["step"] == step:
            os.kill(os.getpid(), signal.SIGINT)

    return on_step


@pytest.mark.parametrize("method", METHODS)
def test_the_reward_rises(run: Runner, checkpoint: Checkpoint, method: str) -> None:
    settings = {"learning_rate": 3e-3, "row_learning_rate": 5e-3, "levels": {"one_call": 1.0}, "kl_weight": 0.0}
    trained = run(checkpoint, steps=24, batch_size=6, method=method, **settings)
    early, late = (
        {name: statistics.fmean(record[name] for record in part) for name in ("reward", "success")}
        for part in (trained.metrics[:6], trained.metrics[-6:])
    )
    assert late["reward"] > 2 * early["reward"]
    assert late["success"] > 2 * early["success"] > 0


def test_a_step_records_what_was_earned_and_how_far_the_policy_went(run: Runner, checkpoint: Checkpoint) -> None:
    trained = run(checkpoint, updates=3, kl_weight=0.1)
    for record in trained.metrics:
        assert {*PARTS, "reward", "telling", "loss", "divergence", "clipped", "sampling_gap", "drawn"} <= record.keys()
        assert record["sampling_gap"] < 1e-4, "the first update sees the probabilities of the draws"
        assert record["reward"] == pytest.approx(
            record["success"]
            + 0.5 * record["tools"]
            + 0.5 * record["arguments"]
            + 0.25 * record["declining"]
            + 0.1 * record["steps"],
            abs=1e-5,
        )
    assert trained.metrics[0]["log_ratio"] > 1e-3, "the third does not"
    assert trained.metrics[-1]["divergence"] > 0


def test_the_divergence_holds_the_model_to_what_it_began_with(run: Runner, dataset: Dataset) -> None:
    moved = []
    for weight in (0.0, 30.0):
        checkpoint = tiny_checkpoint(catalog=dataset.catalog)
        before = checkpoint.tool_rows.detach().clone()
        trained = run(
            checkpoint, f"out-{weight}", steps=8, kl_weight=weight, learning_rate=1e-3, row_learning_rate=5e-3
        )
        moved.append(float((trained.tool_rows - before).detach().norm()))
    assert moved[1] < 0.7 * moved[0]


def test_a_stopped_run_goes_on_as_if_it_had_not_been_stopped(run: Runner, dataset: Dataset) -> None:
    settings: dict[str, Any] = {"steps": 5, "concurrency": 1, "kl_weight": 0.1}
    whole = run(tiny_checkpoint(catalog=dataset.catalog), "whole", **settings)
    with pytest.raises(KeyboardInterrupt):
        run(tiny_checkpoint(catalog=dataset.catalog), "stopped", on_step=interrupt_at(2), **settings)
    resumed = run(tiny_checkpoint(catalog=dataset.catalog), "stopped", **settings)
    assert curve(resumed) == curve(whole)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value), name


def test_the_checkpoint_says_what_made_it(run: Runner, checkpoint: Checkpoint, tmp_path: Path) -> None:
    trained = run(checkpoint)
    loaded = Checkpoint.load(tmp_path / "out")
    (entry,) = loaded.stages
    assert (entry.stage, entry.dataset["name"], entry.dataset["version"]) == ("reinforcement", "house", "1")
    assert entry.examples == {"nothing_to_call": 1, "one_call": 3, "several_calls": 1, "several_turns": 0}
    assert entry.config == tiny_config().model_dump(mode="json")
    assert entry.result == loaded.metrics[-1] == trained.metrics[-1]
    assert not (tmp_path / "out.unfinished").exists()
    for name, value in trained.model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], value), name


def test_frozen_layers_and_the_rows_of_the_base_stay_bit_for_bit(run: Runner, dataset: Dataset) -> None:
    checkpoint = tiny_checkpoint(catalog=dataset.catalog)
    before = {name: value.clone() for name, value in checkpoint.model.state_dict().items()}
    after = run(checkpoint, frozen_share=0.5).model.state_dict()
    first = checkpoint.vocabulary.new_token_ids.start
    assert torch.equal(before["model.embed_tokens.weight"][:first], after["model.embed_tokens.weight"][:first])
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert any(".layers.1." in name for name in changed) and not any(".layers.0." in name for name in changed)


def test_with_the_right_tools_given_arguments_are_learned(run: Runner, checkpoint: Checkpoint) -> None:
    settings = {"task_tokens": 64, "argument_tokens": 24, "learning_rate": 3e-3, "row_learning_rate": 5e-3}
    levels = {"one_call": 1, "nothing_to_call": 1}
    trained = run(checkpoint, steps=12, batch_size=4, levels=levels, kl_weight=0.0, given_tools=True, **settings)
    assert all(record["tools"] == record["declining"] == 1 for record in trained.metrics)
    early, late = (
        statistics.fmean(one["success"] for one in part) for part in (trained.metrics[:4], trained.metrics[-4:])
    )
    assert late > early
    assert trained.stages[0].examples["nothing_to_call"] == 0


def test_the_runs_of_the_first_step_are_learned_from(run: Runner, checkpoint: Checkpoint) -> None:
    before = checkpoint.tool_rows.detach().clone()
    trained = run(checkpoint, steps=8)
    assert trained.metrics[0]["learning_rate"] > 0
    assert not torch.equal(trained.tool_rows, before)


def test_a_step_that_tells_nothing_changes_nothing(run: Runner, checkpoint: Checkpoint) -> None:
    before = {name: value.clone() for name, value in checkpoint.model.state_dict().items()}
    trained = run(checkpoint, steps=2, keep_between=(0.9999, 1.0))
    assert [(record["telling"], record["drawn"], record["loss"]) for record in trained.metrics] == [(0, 0, 0)] * 2
    for name, value in before.items():
        assert torch.equal(trained.model.state_dict()[name], value), name


def test_another_catalog_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    other = replace(dataset, catalog=Catalog(dataset.catalog[:2]))
    with pytest.raises(UsageError, match="is not the checkpoint's"):
        reinforce(tiny_checkpoint(catalog=dataset.catalog), other, tiny_config(), tmp_path / "out")
