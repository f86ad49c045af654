"""`toolgen train reinforce`: stage 4, an agent learns from what becomes of its own runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from toolgen.cli.console import JsonOption, emit, message
from toolgen.cli.outputs import checkpoint_output, hint
from toolgen.cli.training_options import (
    CheckpointArgument,
    DatasetArgument,
    OutputOption,
    OverwriteOption,
    RecipeOption,
    RestartOption,
    SetOption,
    ShowOption,
    TensorboardOption,
    ended,
    inherited,
    interrupted,
    overridden,
    resumed,
    show_settings,
)
from toolgen.cli.training_progress import training_progress
from toolgen.datasets import load_dataset
from toolgen.errors import UsageError
from toolgen.fetching import fetch_dataset
from toolgen.reinforcement import STAGE, ReinforceConfig, resolve_reinforcement


def reinforce(
    checkpoint: CheckpointArgument = None,
    dataset: DatasetArgument = None,
    output: OutputOption = None,
    recipe: RecipeOption = None,
    settings: SetOption = None,
    show_config: ShowOption = False,
    restart: RestartOption = False,
    overwrite: OverwriteOption = False,
    tensorboard: TensorboardOption = False,
    as_json: JsonOption = False,
) -> None:
    """Stage 4, reinforcement: the agent carries out training tasks and learns from what becomes of its runs.

    Of several runs of a task, those that earn more than the others become likelier (GRPO, arXiv 2402.03300), or the best is
    learned (--set method=rejection). It reads the tasks of the train split whose calls are known.
    """
    config = resolve_reinforcement(recipe, settings or ())
    if show_config:
        show_settings(config, as_json)
        return
    if checkpoint is None or dataset is None or output is None:
        raise UsageError("train reinforce needs CKPT, DATASET and --output CKPT2; see toolgen train reinforce --help")
    with checkpoint_output(output, checkpoint, dataset, recipe, overwrite=overwrite):
        answer = run(checkpoint, dataset, output, config, restart=restart, tensorboard=tensorboard)
    emit(answer, as_json, lambda: ended(answer))
    hint("toolgen evaluate agent {output} {dataset} -o RESULT", output=output, dataset=dataset)


def run(
    folder: Path, dataset: Path, output: Path, config: ReinforceConfig, *, restart: bool, tensorboard: bool
) -> dict[str, Any]:
    """Runs the stage, shows its progress and returns the answer of the command."""
    from toolgen.checkpoint import Checkpoint
    from toolgen.reinforcement.curriculum import level_of
    from toolgen.reinforcement.run import reinforce as learn

    data = load_dataset(dataset)
    checkpoint = Checkpoint.load(folder, catalog=data.catalog, device="cpu")
    needed = sorted(
        {task.package for task in data.tasks["train"] if task.package and config.levels.get(level_of(task))}
    )
    packages = {name: fetch_dataset(name, on_message=message) for name in needed}
    for line in (
        inherited(folder, checkpoint),
        overridden(STAGE, resolve_reinforcement(), config),
        resumed(output, restart),
    ):
        if line:
            message(line)
    try:
        with training_progress(STAGE, config.steps) as on_step:
            trained = learn(
                checkpoint,
                data,
                config,
                output,
                packages=packages,
                restart=restart,
                tensorboard=tensorboard,
                on_step=on_step,
            )
    except KeyboardInterrupt:
        message(interrupted(output))
        raise
    entry = trained.stages[-1]
    return {"checkpoint": str(output), "stage": entry.stage, "examples": entry.examples, **entry.result}
