"""What the commands of `toolgen train` share that take a checkpoint and give one: the command itself, its options, and what is
said before, during and after."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeVar

import typer
from pydantic import BaseModel

from toolgen.checkpoint.layout import saved_step
from toolgen.cli.console import JsonOption, emit, message
from toolgen.cli.outputs import checkpoint_output, hint
from toolgen.cli.training_progress import duration, shown_aim, training_progress
from toolgen.errors import UsageError
from toolgen.training.config import TrainingConfig

if TYPE_CHECKING:
    from toolgen.checkpoint import Checkpoint, StageRecord
    from toolgen.training.loop import OnStep

Config = TypeVar("Config", bound=TrainingConfig)
GivenConfig = TypeVar("GivenConfig", bound=TrainingConfig, contravariant=True)

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


class Training(Protocol[GivenConfig]):
    """Trains the checkpoint in a folder, shows the progress and returns the answer of the command."""

    def __call__(
        self, folder: Path, dataset: Path, output: Path, config: GivenConfig, /, *, restart: bool, tensorboard: bool
    ) -> dict[str, Any]: ...


def training_command(
    name: str,
    resolve: Callable[[Path | None, Path | None, Path | None, Iterable[str]], Config],
    run: Training[Config],
    follow_up: str,
) -> Callable[..., None]:
    """The command `toolgen train NAME`. `resolve` makes the settings for a checkpoint and a dataset, of recipe and differences;
    `follow_up` is the next command, with `{output}` and `{dataset}` to be filled in."""

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
        config = resolve(checkpoint, dataset, recipe, settings or ())
        if show_config:
            show_settings(config, as_json)
            return
        if checkpoint is None or dataset is None or output is None:
            raise UsageError(f"train {name} needs CKPT, DATASET and --output CKPT2; see toolgen train {name} --help")
        with checkpoint_output(output, checkpoint, dataset, recipe, overwrite=overwrite):
            answer = run(checkpoint, dataset, output, config, restart=restart, tensorboard=tensorboard)
        emit(answer, as_json, lambda: ended(answer))
        hint(follow_up, output=output, dataset=dataset)

    return command


@contextmanager
def told(
    name: str, folder: Path, checkpoint: Checkpoint, output: Path, usual: Config, config: Config, *, restart: bool
) -> Iterator[OnStep]:
    """Says what a stage begins with, shows its steps, and says where it stopped if it is interrupted."""
    for line in (inherited(folder, checkpoint), overridden(name, usual, config), resumed(output, restart)):
        if line:
            message(line)
    try:
        with training_progress(name, config.steps) as on_step:
            yield on_step
    except KeyboardInterrupt:
        message(interrupted(output))
        raise


def answer_of(trained: Checkpoint, output: Path) -> dict[str, Any]:
    """The answer of the command that trained the last stage of a checkpoint."""
    entry = trained.stages[-1]
    return {
        "checkpoint": str(output),
        "stage": entry.stage,
        "examples": entry.examples,
        "planned_steps": entry.config["steps"],
        **entry.result,
    }


def show_settings(config: BaseModel, as_json: bool) -> None:
    """Prints the resolved configuration as YAML, which is a valid recipe, or as JSON."""
    import yaml

    values = config.model_dump(mode="json")
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
    size = f"{entry.result['step']} steps" if "step" in entry.result else f"{sum(entry.examples.values())} texts"
    return f"{entry.stage} ({size})"


def overridden(stage: str, usual: BaseModel, config: BaseModel) -> str:
    """What differs from the stage's usual settings."""
    defaults, values = usual.model_dump(), config.model_dump()
    changed = [
        f"{key} {_short(defaults[key])} -> {_short(values[key])}" for key in values if values[key] != defaults[key]
    ]
    where = " where the rows of tools stay" if defaults.get("row_learning_rate") == 0 else ""
    return f"settings: the defaults of {stage}{where}" + (f", except {'; '.join(changed)}" if changed else "")


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {part:g}" for key, part in value.items()) or "none"
    if isinstance(value, list):
        return "+".join(value) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value) or "none"


def resumed(output: Path, restart: bool) -> str:
    """Where an unfinished run is taken up again."""
    step = saved_step(output)
    return f"resuming after step {step}" if step and not restart else ""


def interrupted(output: Path) -> str:
    """Where a run stopped."""
    step = saved_step(output)
    return f"stopped; step {step} is saved" if step else "stopped before anything was worth saving"


def ended(answer: Mapping[str, Any]) -> str:
    """What came out of a training."""
    early = f" of {answer['planned_steps']:,}" if answer["step"] < answer["planned_steps"] else ""
    return (
        f"wrote {answer['checkpoint']}: {answer['stage']}, {answer['step']:,}{early} steps, {shown_aim(answer)}, "
        f"{answer['tokens']:,} tokens in {duration(answer['seconds'])}"
    )
