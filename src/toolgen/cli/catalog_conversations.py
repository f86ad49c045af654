"""`toolgen catalog conversations`: conversations to train on, made by rules for any catalog."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from toolgen.agent.recording import record_trajectories
from toolgen.cli.console import MAX_SEED, JsonOption, emit, progress
from toolgen.cli.outputs import dataset_output
from toolgen.datasets.conversations import make_conversations
from toolgen.datasets.folder import load_dataset, save_dataset
from toolgen.errors import InputError


def register(group: typer.Typer) -> None:
    """Adds the command to the group `catalog`."""
    group.command(epilog="Example: toolgen catalog conversations data/mine -o data/mine-more --count 20000")(
        conversations
    )


def conversations(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="A dataset folder.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The dataset folder to write.")],
    count: Annotated[int, typer.Option(min=1, help="Conversations, at most.")] = 10_000,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Seed of the conversations.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Add conversations to the training split: one call, several calls, a detail that is missing, nothing that a tool is for.

    By rules, from names, types, enumerations and examples of the parameters. Every call fits its tool's schema; results
    are made up from the response schema, else from the tool's name.
    """
    dataset_output(output, dataset)
    loaded = load_dataset(dataset)
    tasks = tuple(make_conversations(loaded.catalog, count, seed))
    if not tasks:
        raise InputError(
            f"{dataset}: no conversation could be made; it needs tools with parameters that can be guessed"
        )
    made = replace(loaded, queries={}, tasks={"train": tasks}, trajectories={})
    with progress("making conversations") as on_progress:
        made = record_trajectories(made, on_progress=on_progress)
    whole = replace(
        loaded,
        tasks={**loaded.tasks, "train": (*loaded.tasks["train"], *made.tasks["train"])},
        trajectories={**loaded.trajectories, "train": (*loaded.trajectories["train"], *made.trajectories["train"])},
    )
    save_dataset(whole, output)
    kinds = dict(Counter(task.category for task in tasks))
    tools = len({tool for task in tasks for tool in task.tools})
    answer = {"dataset": str(output), "conversations": len(tasks), "tools": tools, "kinds": kinds}
    listed = ", ".join(f"{number:,} {kind}" for kind, number in kinds.items())
    emit(answer, as_json, lambda: f"wrote {output}: {len(tasks):,} more conversations ({listed}) with {tools:,} tools")
