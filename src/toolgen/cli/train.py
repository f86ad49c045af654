"""`toolgen train STAGE`: one stage, checkpoint in, checkpoint out; and the trainings beside the stages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from toolgen.catalog import Catalog
from toolgen.cli.console import JsonOption, emit, message
from toolgen.cli.outputs import checkpoint_output, hint
from toolgen.cli.train_distill import distill
from toolgen.cli.train_encoder import encoder
from toolgen.cli.train_reinforce import reinforce
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
from toolgen.retrieval import Resources, make_sum
from toolgen.training import STAGES, Stage, StageConfig, resolve_config

if TYPE_CHECKING:
    from toolgen.training.teacher import LogitsOfAll


def register(app: typer.Typer) -> None:
    """Adds `train` with the stages and the trainings beside them."""
    group = typer.Typer(no_args_is_help=True)
    for stage in STAGES.values():
        example = f"Example: toolgen train {stage.name} CKPT DATASET -o CKPT2 --set steps=200"
        group.command(stage.name, help=stage.help, epilog=example)(_command(stage))
    example = "Example: toolgen train reinforce CKPT DATASET -o CKPT2 --set steps=20"
    group.command("reinforce", epilog=example)(reinforce)
    group.command("distill", epilog="Example: toolgen train distill CKPT DATASET -o CKPT2 --encoder ENCODER")(distill)
    group.command("encoder", epilog="Example: toolgen train encoder DATASET -o ENCODER")(encoder)
    app.add_typer(
        group,
        name="train",
        help="Train a checkpoint in four stages that can be resumed; distill; train a writer or the baseline encoder.",
    )


def _command(stage: Stage) -> Callable[..., None]:
    """The command of one stage; they differ in nothing but the stage."""

    def command(
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
        config = resolve_config(stage, recipe, settings or ())
        if show_config:
            show_settings(config, as_json)
            return
        if checkpoint is None or dataset is None or output is None:
            raise UsageError(
                f"train {stage.name} needs CKPT, DATASET and --output CKPT2; see toolgen train {stage.name} --help"
            )
        with checkpoint_output(output, checkpoint, dataset, recipe, overwrite=overwrite):
            answer = run(stage, checkpoint, dataset, output, config, restart=restart, tensorboard=tensorboard)
        emit(answer, as_json, lambda: ended(answer))
        hint(stage.follow_up, output=output, dataset=dataset)

    return command


def run(
    stage: Stage,
    folder: Path,
    dataset: Path,
    output: Path,
    config: StageConfig,
    *,
    restart: bool = False,
    tensorboard: bool = False,
) -> dict[str, Any]:
    """Trains one stage, shows its progress and returns the answer of the command."""
    from toolgen.checkpoint import Checkpoint
    from toolgen.training.run import run_stage

    data = load_dataset(dataset)
    checkpoint = Checkpoint.load(folder, catalog=data.catalog, device="cpu")
    teacher = _teacher(config, data.catalog) if config.teacher else None
    for line in (
        inherited(folder, checkpoint),
        overridden(stage.name, resolve_config(stage), config),
        resumed(output, restart),
    ):
        if line:
            message(line)
    try:
        with training_progress(stage.name, config.steps) as on_step:
            trained = run_stage(
                stage,
                checkpoint,
                data,
                config,
                output,
                teacher=teacher,
                restart=restart,
                tensorboard=tensorboard,
                on_step=on_step,
            )
    except KeyboardInterrupt:
        message(interrupted(output))
        raise
    entry = trained.stages[-1]
    return {"checkpoint": str(output), "stage": stage.name, "examples": entry.examples, **entry.result}


def _teacher(config: StageConfig, catalog: Catalog) -> LogitsOfAll:
    """The logits of the retrievers that `config.teacher` names."""
    from toolgen.checkpoint import Checkpoint

    resources = Resources(
        checkpoint=Checkpoint.load(config.teacher_checkpoint, device="cpu", catalog=catalog)
        if config.teacher_checkpoint
        else None,
        encoder=Path(config.teacher_encoder) if config.teacher_encoder else None,
    )
    teacher = make_sum(config.teacher, resources)
    teacher.index(catalog)
    return teacher.score_all
