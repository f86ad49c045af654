"""`toolgen catalog mix`: published training sets as one dataset, cleaned, with what it holds and under which licences."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from toolgen.agent.recording import record_trajectories
from toolgen.cli.console import JsonOption, emit, message, progress
from toolgen.cli.outputs import dataset_output
from toolgen.datasets.folder import Dataset, load_dataset, save_dataset
from toolgen.datasets.training_sets.mix import build_mix, texts_of
from toolgen.datasets.training_sets.near_copies import NearCopies
from toolgen.datasets.training_sets.registry import TRAINING_SETS


def register(group: typer.Typer) -> None:
    """Adds the command to the group `catalog`."""
    group.command(epilog="Example: toolgen catalog mix training-sets/ -o data/mix --apart-from data/bfcl")(mix)


def mix(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Holds a folder a set, named like the set.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The dataset folder to write.")],
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME", help="A set to take; may be repeated. Default: all that FOLDER holds."),
    ] = None,
    apart_from: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DATASET", help="Take no near copy of a request of this dataset, in any split. May be repeated."
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the dataset; default: the folder's name.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Read published training sets into one dataset to train on, and report what it holds and what was left out.

    Calls with values that nothing said gives away are not taught, and near copies of test requests are left out. Requests
    whose calls are known become conversations, with made-up results.
    """
    dataset_output(output, folder, *(apart_from or ()))
    near = NearCopies(texts_of(map(load_dataset, apart_from or ())))
    if not near:
        message("no --apart-from: a benchmark's own requests may be among the training texts")
    made = build_mix(folder, sets or (), name or output.resolve().name, near, message)
    with progress("recording trajectories") as on_progress:
        made = record_trajectories(made, keep=True, on_progress=on_progress)
    save_dataset(made, output)
    rows = [_row(made, report.to_dict()) for report in made.reports]
    answer = {"dataset": str(output), "counts": made.counts, "unseen_requests": len(near), "sets": rows}
    emit(answer, as_json, lambda: _table(rows))


def _row(dataset: Dataset, report: dict[str, Any]) -> dict[str, Any]:
    """What the dataset holds of one set."""
    name = report["source"]
    recorded = {trajectory.query for trajectory in dataset.trajectories["train"]}
    of_set = [query for query in dataset.queries["train"] if query.category == name]
    return {
        "set": name,
        "licence": TRAINING_SETS[name].licence,
        "share": TRAINING_SETS[name].share,
        "tools": report["loaded"],
        "requests": len(of_set),
        "with calls": sum(bool(query.calls) for query in of_set),
        "no tool fits": sum(not query.tools for query in of_set),
        "trajectories": sum(task.category == name and task.id in recorded for task in dataset.all_tasks("train")),
        "left out": report["lost"],
        "reasons": report["reasons"],
        "counts": report["counts"],
    }


def _table(rows: list[dict[str, Any]]) -> Table:
    shown = [key for key in rows[0] if key not in ("reasons", "counts")]
    table = Table(*shown, box=None)
    for row in rows:
        table.add_row(*(f"{row[key]:,}" if isinstance(row[key], int) else row[key] for key in shown))
    totals = [sum(row[key] for row in rows) if isinstance(rows[0][key], int) else "" for key in shown]
    table.add_row("all", *(f"{total:,}" if total != "" else "" for total in totals[1:]))
    return table
