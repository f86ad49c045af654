"""`toolgen train STAGE`: one stage, checkpoint in, checkpoint out; and the trainings beside the stages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import BaseModel

from toolgen.catalog import Catalog
from toolgen.checkpoint.layout import saved_step
from toolgen.cli.console import JsonOption, emit, message
from toolgen.cli.outputs import checkpoint_output, hint
from toolgen.cli.train_distill import distill
from toolgen.cli.train_encoder import encoder
from toolgen.cli.training_progress import duration, training_progress
from toolgen.datasets import load_dataset
from toolgen.errors import UsageError
from toolgen.retrieval import Resources, make_sum
from toolgen.training import STAGES, Stage, StageConfig, resolve_config

if TYPE_CHECKING:
    from toolgen.checkpoint import Checkpoint, StageRecord
    from toolgen.training.teacher import LogitsOfAll
# Optional in the signature, so that --show-config works without them; a run says what is missing.
CheckpointArgument = Annotated[
    Path | None, typer.Argument(metavar="CKPT", show_default=False, help="The checkpoint to start from.")
]
DatasetArgument = Annotated[
    Path | None, typer.Argument(metavar="DATASET", show_default=False, help="A dataset folder with the same catalog.")
]
OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="CKPT2", help="The checkpoint folder to write.")
]
RecipeOption = Annotated[
    Path | None, typer.Option("--recipe", metavar="FILE", help="A YAML file with what differs from the defaults.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="One more difference, for instance steps=200; may be repeated."),
]
ShowOption = Annotated[bool, typer.Option("--show-config", help="Print the resolved configuration as YAML and exit.")]
RestartOption = Annotated[bool, typer.Option("--restart", help="Start over instead of resuming an unfinished run.")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace an existing checkpoint CKPT2.")]
TensorboardOption = Annotated[
    bool, typer.Option("--tensorboard", help="Also log for TensorBoard, into CKPT2/tensorboard.")
]


def register(app: typer.Typer) -> None:
    """Adds `train` with the stages and the trainings beside them."""
    group = typer.Typer(no_args_is_help=True)
    for stage in STAGES.values():
        example = f"Example: toolgen train {stage.name} CKPT DATASET -o CKPT2 --set steps=200"
        group.command(stage.name, help=stage.help, epilog=example)(_command(stage))
    group.command("distill", epilog="Example: toolgen train distill CKPT DATASET -o CKPT2 --encoder ENCODER")(distill)
    group.command("encoder", epilog="Example: toolgen train encoder DATASET -o ENCODER")(encoder)
    app.add_typer(
        group,
        name="train",
        help="Train a checkpoint in three stages that can be resumed; distill; train a writer or the baseline encoder.",
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
        emit(answer, as_json, lambda: _text(answer))
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
    for line in (inherited(folder, checkpoint), overridden(stage, config), _resumed(output, restart)):
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
        message(_interrupted(output))
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


def show_settings(config: BaseModel, as_json: bool) -> None:
    """Prints the resolved configuration as YAML, which is a valid recipe, or as JSON."""
    import yaml

    values = config.model_dump()
    text: str = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    emit(values, as_json, lambda: text.rstrip().split("\n"))


def inherited(folder: Path, checkpoint: Checkpoint) -> str:
    """What the stage takes over from the checkpoint before it."""
    history = ", ".join(map(_past, checkpoint.stages))
    vocabulary = checkpoint.vocabulary
    spelled = "tool tokens" if vocabulary.is_atomic else f"tools by {vocabulary.indexing} indexing"
    return (
        f"from {folder}: base {checkpoint.base}, {len(vocabulary):,} {spelled}, prompt protocol; "
        f"trained so far: {history or 'nothing'}"
    )


def _past(entry: StageRecord) -> str:
    size = f"{entry.config['steps']} steps" if "steps" in entry.config else f"{sum(entry.examples.values())} texts"
    return f"{entry.stage} ({size})"


def overridden(stage: Stage, config: StageConfig) -> str:
    """What differs from the stage's defaults."""
    defaults, values = resolve_config(stage).model_dump(), config.model_dump()
    changed = [
        f"{key} {_short(defaults[key])} -> {_short(values[key])}" for key in values if values[key] != defaults[key]
    ]
    return f"settings: the defaults of {stage.name}" + (f", except {'; '.join(changed)}" if changed else "")


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {part:g}" for key, part in value.items()) or "none"
    if isinstance(value, list):
        return "+".join(value) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value) or "none"


def _resumed(output: Path, restart: bool) -> str:
    """Where an unfinished run is taken up again."""
    step = saved_step(output)
    return f"resuming after step {step}" if step and not restart else ""


def _interrupted(output: Path) -> str:
    step = saved_step(output)
    return f"stopped; step {step} is saved" if step else "stopped before anything was worth saving"


def _text(answer: Mapping[str, Any]) -> str:
    return (
        f"wrote {answer['checkpoint']}: {answer['stage']}, {answer['step']:,} steps, loss {answer['loss']:.3f}, "
        f"{answer['tokens']:,} tokens in {duration(answer['seconds'])}"
    )
