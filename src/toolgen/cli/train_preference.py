"""`toolgen train preference`: stage 4 from pairs of a better and a worse run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from toolgen.cli.training_options import answer_of, told, training_command
from toolgen.datasets import load_dataset
from toolgen.reinforcement import PREFERENCE, PreferenceConfig, resolve_preference

HELP = """Stage 4 from pairs: of two runs of a task, the better becomes likelier than the worse (DPO, arXiv 2305.18290).

It reads the preferences of the train split, which toolgen sample writes.
"""


def run(
    folder: Path, dataset: Path, output: Path, config: PreferenceConfig, *, restart: bool, tensorboard: bool
) -> dict[str, Any]:
    """Runs the stage, shows its progress and returns the answer of the command."""
    from toolgen.checkpoint import Checkpoint
    from toolgen.reinforcement.preference import learn_preferences

    data = load_dataset(dataset)
    checkpoint = Checkpoint.load(folder, catalog=data.catalog, device="cpu")
    with told(PREFERENCE, folder, checkpoint, output, resolve_preference(), config, restart=restart) as on_step:
        trained = learn_preferences(
            checkpoint, data, config, output, restart=restart, tensorboard=tensorboard, on_step=on_step
        )
    return answer_of(trained, output)


preference = training_command(
    "preference",
    lambda _folder, _dataset, *given: resolve_preference(*given),
    run,
    "toolgen evaluate agent {output} {dataset} -o RESULT",
)
