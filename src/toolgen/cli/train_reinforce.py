"""`toolgen train reinforce`: stage 4, an agent learns from what becomes of its own runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from toolgen.cli.console import message
from toolgen.cli.training_options import answer_of, told, training_command
from toolgen.datasets import load_dataset
from toolgen.fetching import fetch_dataset
from toolgen.reinforcement import STAGE, ReinforceConfig, resolve_reinforcement

HELP = """Stage 4, reinforcement: the agent carries out training tasks and learns from what becomes of its runs.

Of several runs of a task, those that earn more than the others become likelier (GRPO, arXiv 2402.03300), or the best is
learned (--set method=rejection). It reads the tasks of the train split whose calls are known.
"""


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
    usual = resolve_reinforcement()
    with told(STAGE, folder, checkpoint, output, usual, config, restart=restart) as on_step:
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
    return answer_of(trained, output)


reinforce = training_command(
    "reinforce",
    lambda _folder, _dataset, *given: resolve_reinforcement(*given),
    run,
    "toolgen evaluate agent {output} {dataset} -o RESULT",
)
