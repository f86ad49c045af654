"""What `toolgen train STAGE` and `toolgen train reinforce` share: options, and what is said before, during and after."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import BaseModel

from toolgen.checkpoint.layout import saved_step
from toolgen.cli.console import emit
from toolgen.cli.training_progress import duration, shown_aim

if TYPE_CHECKING:
    from toolgen.checkpoint import Checkpoint, StageRecord

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
    size = f"{entry.config['steps']} steps" if "steps" in entry.config else f"{sum(entry.examples.values())} texts"
    return f"{entry.stage} ({size})"


def overridden(stage: str, usual: BaseModel, config: BaseModel) -> str:
    """What differs from the stage's usual settings."""
    defaults, values = usual.model_dump(), config.model_dump()
    changed = [
        f"{key} {_short(defaults[key])} -> {_short(values[key])}" for key in values if values[key] != defaults[key]
    ]
    return f"settings: the defaults of {stage}" + (f", except {'; '.join(changed)}" if changed else "")


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
    return (
        f"wrote {answer['checkpoint']}: {answer['stage']}, {answer['step']:,} steps, {shown_aim(answer)}, "
        f"{answer['tokens']:,} tokens in {duration(answer['seconds'])}"
    )
