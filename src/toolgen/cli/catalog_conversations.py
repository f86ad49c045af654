"""`toolgen catalog conversations`: conversations to train on, made by rules for any catalog."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from toolgen.agent.recording import record_trajectories
from toolgen.agent.walks import walk_conversations, went_as_walked, worlds_of
from toolgen.cli.console import MAX_SEED, JsonOption, emit, message, progress
from toolgen.cli.outputs import dataset_output
from toolgen.cli.run_places import WORLDS
from toolgen.datasets.conversations import make_conversations
from toolgen.datasets.folder import Dataset, load_dataset, save_dataset
from toolgen.datasets.sources import Source, build_dataset, parse_source, source_packages
from toolgen.errors import InputError, UsageError


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
    world: Annotated[
        str | None,
        typer.Option(metavar="SOURCE", help="Walk in a benchmark's world: bfcl:, agentdojo:SUITE or tau2:DOMAIN."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Add conversations to the training split: one call, several calls, a detail that is missing, nothing that a tool is for.

    By rules, from names, types, enumerations and examples of the parameters. Every call fits its tool's schema; results
    are made up from the response schema, else from the tool's name.

    With --world the calls are really carried out where the tools of that source are at home, and their results kept. Then there
    are also calls that fail and are set right, and calls that need what an earlier one came back with.
    """
    dataset_output(output, dataset)
    loaded = load_dataset(dataset)
    made = _walked(loaded, parse_source(world), count, seed) if world else _made(loaded, count, seed)
    tasks = made.tasks["train"]
    if not tasks:
        raise InputError(
            f"{dataset}: no conversation could be made; it needs tools with parameters that can be guessed"
        )
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


def _made(dataset: Dataset, count: int, seed: int) -> Dataset:
    """Conversations by rules."""
    tasks = tuple(make_conversations(dataset.catalog, count, seed))
    made = replace(dataset, queries={}, tasks={"train": tasks}, trajectories={})
    with progress("making conversations") as on_progress:
        return record_trajectories(made, on_progress=on_progress)


def _walked(dataset: Dataset, source: Source, count: int, seed: int) -> Dataset:
    """Conversations from walks in the world of a source."""
    if source.kind not in WORLDS:
        raise UsageError(f"{source} has no world to walk in; give bfcl:, agentdojo:SUITE or tau2:DOMAIN")
    home = build_dataset([source], source.kind, on_message=message)
    if missing := [
        tool for tool in home.catalog.ids if tool not in dataset.catalog and home.catalog.get(tool).endpoint
    ]:
        raise UsageError(
            f"the dataset has no tool {missing[0]}; build it with: toolgen catalog build {source} -o DATASET"
        )
    packages = source_packages(source)
    tasks = tuple(walk_conversations(dataset.catalog, worlds_of(home), packages, count, seed))
    made = replace(dataset, queries={}, tasks={"train": tasks}, trajectories={})
    with progress("recording walks") as on_progress:
        made = record_trajectories(made, packages, on_progress=on_progress)
    pairs = zip(tasks, made.trajectories["train"], strict=True)
    kept = [pair for pair in pairs if went_as_walked(*pair)]
    return replace(
        made, tasks={"train": tuple(task for task, _ in kept)}, trajectories={"train": tuple(one for _, one in kept)}
    )
