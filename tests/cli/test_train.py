"""`toolgen train`: settings, progress, interrupts and what is said about them."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import AutoConfig
from typer.testing import Result

from toolgen.cli import training_options
from toolgen.cli.training_progress import Speed, duration
from toolgen.datasets import load_dataset, save_dataset
from toolgen.inference.row_maker import RowMaker
from toolgen.testing import tiny_checkpoint
from toolgen.training import STAGES, Stage, StageConfig, resolve_config

Invoke = Callable[..., Result]
SMALL = ("--set", "steps=4", "--set", "batch_size=4", "--set", "precision=fp32")


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("train") / "start"
    tiny_checkpoint().save(folder)
    return folder


@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)
def test_the_resolved_settings_are_shown_without_a_checkpoint_and_are_a_recipe(
    toolgen: Invoke, tmp_path: Path, stage: Stage
) -> None:
    shown = toolgen("train", stage.name, "--show-config", "--set", "steps=7", "--set", "shares.description=0.5")
    assert shown.exit_code == 0, shown.output
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(shown.stdout)
    assert resolve_config(stage, recipe) == resolve_config(stage, None, ["steps=7", "shares.description=0.5"])
    assert (
        json.loads(toolgen("train", stage.name, "--show-config", "--json").stdout) == resolve_config(stage).model_dump()
    )


def test_a_recipe_and_settings_are_differences_and_the_later_one_wins(toolgen: Invoke, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("steps: 3\nseed: 9\n")
    shown = toolgen("train", "agent", "--recipe", recipe, "--set", "steps=5", "--show-config")
    settings = StageConfig(**yaml.safe_load(shown.stdout))
    assert (settings.steps, settings.seed) == (5, 9)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--set", "stepps=3", "--show-config"], 2, "did you mean 'steps'?"),
        (["--set", "steps=none", "--show-config"], 2, "steps"),
        (["--recipe", "missing.yaml", "--show-config"], 1, "missing.yaml"),
        ([], 2, "needs CKPT, DATASET and --output"),
    ],
)
def test_a_mistake_is_one_line(toolgen: Invoke, arguments: list[str], code: int, says: str) -> None:
    result = toolgen("train", "memorization", *arguments)
    assert result.exit_code == code
    assert says in result.stderr and result.stderr.count("\n") == 1


def test_a_stage_says_what_it_inherits_what_is_overridden_and_how_it_ended(
    toolgen: Invoke, start: Path, dataset_folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "first"
    result = toolgen("train", "memorization", start, dataset_folder, "-o", output, *SMALL)
    assert result.exit_code == 0, result.output
    assert f"from {start}: base tiny-llama, 13 tool tokens" in result.stderr
    assert "trained so far: nothing" in result.stderr
    assert f"except steps {resolve_config(STAGES['memorization']).steps} -> 4; batch_size" in result.stderr
    assert "memorization: step 4/4, loss " in result.stderr
    assert f"next: toolgen train retrieval {output} {dataset_folder} -o CKPT" in result.stderr
    assert result.stdout.startswith(f"wrote {output}: memorization, 4 steps, loss ")

    refused = toolgen("train", "memorization", start, dataset_folder, "-o", output, *SMALL)
    assert refused.exit_code == 2 and "--overwrite" in refused.stderr

    again = toolgen("train", "retrieval", output, dataset_folder, "-o", output, *SMALL, "--overwrite", "--json")
    assert "trained so far: memorization (4 steps)" in again.stderr
    answer = json.loads(again.stdout)
    assert (answer["stage"], answer["step"], answer["checkpoint"]) == ("retrieval", 4, str(output))

    settings = (*SMALL, "--set", "steps=12", "--set", "stop_below=1e9")
    learned = toolgen("train", "memorization", start, dataset_folder, "-o", tmp_path / "learned", *settings)
    assert "memorization, 10 of 12 steps, loss " in learned.stdout


def test_ctrl_c_saves_the_state_and_the_same_command_goes_on(
    toolgen: Invoke, start: Path, dataset_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("train", "memorization", start, dataset_folder, "-o", tmp_path / "out", *SMALL)

    @contextmanager
    def interrupting(stage: str, steps: int) -> Iterator[Callable[[Mapping[str, Any]], None]]:
        del stage, steps

        def on_step(record: Mapping[str, Any]) -> None:
            if record["step"] == 2:
                signal.raise_signal(signal.SIGINT)

        yield on_step

    with monkeypatch.context() as patched:
        patched.setattr(training_options, "training_progress", interrupting)
        stopped = toolgen(*arguments)
    assert stopped.exit_code == 130
    assert "stopped; step 2 is saved" in stopped.stderr
    assert "run the same command again to resume" in stopped.stderr

    other = toolgen(*arguments, "--set", "seed=5")
    assert other.exit_code == 2 and "--restart" in other.stderr

    resumed = toolgen(*arguments)
    assert resumed.exit_code == 0, resumed.output
    assert "resuming after step 2" in resumed.stderr
    assert not (tmp_path / "out.unfinished").exists()


def test_speed_counts_only_what_was_seen() -> None:
    speed = Speed()
    speed.add({"step": 101, "tokens": 50_000, "seconds": 600.0})
    assert (speed.tokens_per_second, speed.seconds_left(200)) == (0.0, None)
    speed.add({"step": 111, "tokens": 51_000, "seconds": 610.0})
    assert (speed.tokens_per_second, speed.seconds_left(211)) == (100.0, 100.0)


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.4, "0 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (3900, "1 h 5 min")]
)
def test_durations_are_for_people(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_a_teacher_is_made_from_its_name_and_recorded(
    toolgen: Invoke, start: Path, dataset_folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "taught"
    taught = ("--set", "teacher=[generative, bm25]", "--set", f"teacher_checkpoint={start}")
    result = toolgen("train", "retrieval", start, dataset_folder, "-o", output, *SMALL, *taught)
    assert result.exit_code == 0, result.output
    assert "teacher none -> generative+bm25" in result.stderr
    config = json.loads((output / "toolgen.json").read_text())["stages"][-1]["config"]
    assert (config["teacher"], config["teacher_share"]) == (["generative", "bm25"], 0.5)


@pytest.mark.parametrize(
    ("teacher", "says"),
    [
        ("bm52", "there is no retriever 'bm52'"),
        ("toolretriever", "toolretriever needs --encoder"),
        ("re-invoke", "the scores of 're-invoke' are no logits"),
    ],
)
def test_a_teacher_that_cannot_be_made_is_one_line(
    toolgen: Invoke, start: Path, dataset_folder: Path, tmp_path: Path, teacher: str, says: str
) -> None:
    result = toolgen(
        "train", "retrieval", start, dataset_folder, "-o", tmp_path / "out", *SMALL, "--set", f"teacher=[{teacher}]"
    )
    assert result.exit_code == 2
    assert says in result.stderr and not (tmp_path / "out").exists()


def test_the_rows_of_an_index_stay_unless_it_is_said_otherwise(
    toolgen: Invoke, base_folder: Path, dataset_folder: Path, tmp_path: Path
) -> None:
    base, index = tmp_path / "base", tmp_path / "index"
    shutil.copytree(base_folder, base)
    RowMaker(AutoConfig.from_pretrained(base).hidden_size).save(base)
    assert toolgen("index", dataset_folder, "--base", base, "-o", index, "--no-fit").exit_code == 0
    data = load_dataset(dataset_folder)
    few = {**data.queries, "train": data.queries["train"][:2]}
    save_dataset(replace(data, queries=few, tasks={}, trajectories={}), partly := tmp_path / "partly asked")
    shown = [
        json.loads(toolgen("train", "retrieval", *which, "--show-config", "--json").stdout)["row_learning_rate"]
        for which in ((index, partly), (index, "--set", "row_learning_rate=2e-4"), (index, dataset_folder), ())
    ]
    usual = resolve_config(STAGES["retrieval"]).row_learning_rate
    assert shown == [0, 2e-4, usual, usual]  # the whole dataset asks for every tool
    result = toolgen("train", "retrieval", index, partly, "-o", tmp_path / "trained", *SMALL)
    assert result.exit_code == 0, result.output
    assert "the defaults of retrieval where the rows of tools stay, except" in result.stderr
    origins = {
        one["row"] for one in json.loads(toolgen("tools", "list", tmp_path / "trained", "--json").stdout)["tools"]
    }
    assert origins == {"documentation"}
    assert json.loads(toolgen("search", tmp_path / "trained", "walk the dog", "--json").stdout)["retriever"] == (
        "generative+bm25"
    )
