"""`toolgen train STAGE`: one stage, checkpoint in, checkpoint out; and the trainings beside the stages."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from toolgen.catalog import Catalog
from toolgen.checkpoint.layout import ROW_MAKER, is_checkpoint, keeps_documentation_rows, read_metadata
from toolgen.cli import train_preference, train_reinforce
from toolgen.cli.train_distill import distill
from toolgen.cli.train_encoder import encoder
from toolgen.cli.training_options import answer_of, told, training_command
from toolgen.datasets import load_dataset
from toolgen.retrieval import Resources, make_sum
from toolgen.training import STAGES, Stage, StageConfig, resolve_config

if TYPE_CHECKING:
    from toolgen.training.teacher import LogitsOfAll


def register(app: typer.Typer) -> None:
    """Adds `train` with the stages and the trainings beside them."""
    group = typer.Typer(no_args_is_help=True)
    for stage in STAGES.values():
        example = f"Example: toolgen train {stage.name} CKPT DATASET -o CKPT2 --set steps=200"
        command = training_command(stage.name, partial(_resolved, stage), partial(run, stage), stage.follow_up)
        group.command(stage.name, help=stage.help, epilog=example)(command)
    example = "Example: toolgen train reinforce CKPT DATASET -o CKPT2 --set steps=20"
    group.command("reinforce", help=train_reinforce.HELP, epilog=example)(train_reinforce.reinforce)
    example = "Example: toolgen train preference CKPT RUNS -o CKPT2 --set beta=0.1"
    group.command("preference", help=train_preference.HELP, epilog=example)(train_preference.preference)
    group.command("distill", epilog="Example: toolgen train distill CKPT DATASET -o CKPT2 --encoder ENCODER")(distill)
    group.command("encoder", epilog="Example: toolgen train encoder DATASET -o ENCODER")(encoder)
    app.add_typer(
        group,
        name="train",
        help="Train a checkpoint in four stages that can be resumed; distill; train a writer or the baseline encoder.",
    )


def _resolved(
    stage: Stage, folder: Path | None, dataset: Path | None, recipe: Path | None, settings: Iterable[str]
) -> StageConfig:
    """The settings of a stage for a checkpoint and a dataset; what is no checkpoint is refused when it is loaded."""
    rows_stay = (
        folder is not None
        and is_checkpoint(folder)
        and keeps_documentation_rows(read_metadata(folder), has_row_maker=(folder / ROW_MAKER).is_file())
        and (dataset is None or load_dataset(dataset, verify=False).has_unasked_tools)
    )
    return resolve_config(stage, recipe, settings, rows_stay=rows_stay)


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
    usual = resolve_config(stage, rows_stay=checkpoint.keeps_documentation_rows and data.has_unasked_tools)
    with told(stage.name, folder, checkpoint, output, usual, config, restart=restart) as on_step:
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
    return answer_of(trained, output)


def _teacher(config: StageConfig, catalog: Catalog) -> LogitsOfAll:
    """The logits of the retrievers that `config.teacher` names."""
    from toolgen.checkpoint import Checkpoint

    resources = Resources(
        checkpoint=Checkpoint.load(config.teacher_checkpoint, catalog=catalog) if config.teacher_checkpoint else None,
        encoder=Path(config.teacher_encoder) if config.teacher_encoder else None,
    )
    teacher = make_sum(config.teacher, resources)
    teacher.index(catalog)
    return teacher.score_all
