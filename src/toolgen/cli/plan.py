"""`toolgen plan`: memory and time of a training, before anything is downloaded or run."""

from __future__ import annotations

import os
import re
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from toolgen.cli.console import JsonOption, emit, message
from toolgen.cli.training_progress import duration
from toolgen.cli.virtualize import TEXT_BASE, IndexingOption
from toolgen.datasets import load_dataset
from toolgen.errors import UsageError
from toolgen.fetching import resolve_base
from toolgen.planning import Machine, ModelShape, Plan, StageCost, Workload, preference_cost, reinforcement_cost
from toolgen.planning import plan as make_plan
from toolgen.planning.cost import UTILIZATION
from toolgen.reinforcement import (
    PREFERENCE,
    PreferenceConfig,
    ReinforceConfig,
    resolve_preference,
    resolve_reinforcement,
)
from toolgen.reinforcement import STAGE as REINFORCEMENT
from toolgen.retrieval.protocol import BEAM
from toolgen.training import PAPER_STAGES, STAGES, resolve_config
from toolgen.training.config import TrainingConfig
from toolgen.training.replay import WINDOW
from toolgen.virtualization import Indexing
from toolgen.virtualization.indexing import expected_size

CHARACTERS_PER_TOKEN = 4.2  # English text and SmolLM2's tokenizer; others differ by some ten percent
TEMPLATE_TOKENS = 9  # turn markers around a request
CONVERSATION_TOKENS = 208  # a recorded one with a call or two: request, token, documentation, arguments, result, answer
KEYWORD_TOKENS = 8  # the name of a tool, or some words of its documentation
USUAL_CHARACTERS = {"request": 130, "description": 80}  # without a dataset: the means of BFCL


def register(app: typer.Typer) -> None:
    """Adds `plan`."""
    app.command("plan", epilog=f"Example: toolgen plan --tools 125000 --base {TEXT_BASE} --memory 8")(plan)


def plan(
    dataset: Annotated[
        Path | None, typer.Argument(metavar="[DATASET]", show_default=False, help="A dataset folder; or --tools.")
    ] = None,
    tools: Annotated[int | None, typer.Option("--tools", min=1, help="Number of tools, without a dataset.")] = None,
    base: Annotated[
        str,
        typer.Option("--base", metavar="BASE", help="A model folder, a config.json, or a name to fetch."),
    ] = TEXT_BASE,
    indexing: IndexingOption = "atomic",
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="[STAGE.]KEY=VALUE", help="As for train, for all stages or for one; may be repeated."
        ),
    ] = None,
    memory: Annotated[
        float | None,
        typer.Option(
            "--memory", metavar="GIB", min=0.01, max=1e6, help="Memory for each process; default: this machine's."
        ),
    ] = None,
    gflops: Annotated[
        float | None,
        typer.Option(
            "--gflops",
            min=0.001,
            max=1e9,
            help="Speed of a matrix product in each process; default: measured here in a second.",
        ),
    ] = None,
    processes: Annotated[int, typer.Option("--processes", min=1, help="Processes that train concurrently.")] = 1,
    utilization: Annotated[
        float | None, typer.Option("--utilization", min=0.01, max=1, help="Share of that rate which training reaches.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Estimate the memory and time of each stage, and say what to change where it does not fit.

    Nothing is trained. Expect the figures to be within 25% of the truth.
    """
    if (dataset is None) == (tools is None):
        raise UsageError("plan needs either a DATASET or --tools N")
    workload = _workload(dataset, tools, indexing)
    shape = ModelShape.read(_config_place(base))
    configs = {stage: resolve_config(stage, None, _settings_of(stage.name, settings or ())) for stage in PAPER_STAGES}
    machine = Machine(
        memory_gib=memory if memory is not None else _memory_gib() / processes,
        gflops=gflops if gflops is not None else _measured_gflops(shape.hidden, shape.intermediate) / processes,
        processes=processes,
        utilization=utilization if utilization is not None else UTILIZATION,
    )
    made = make_plan(shape, workload, configs, machine)
    made = replace(made, stages=(*made.stages, *_from_runs(shape, workload, settings or (), machine)))
    answer = made.to_dict() | {"machine": vars(machine)}
    emit(answer, as_json, lambda: _table(made))
    message(f"estimated with {machine.gflops:,.0f} GFLOPS and {machine.memory_gib:.1f} GiB for each process")
    if not made.fits:
        raise typer.Exit(1)


def _from_runs(
    shape: ModelShape, workload: Workload, settings: Sequence[str], machine: Machine
) -> tuple[StageCost, StageCost]:
    """The stages that learn from the model's own runs."""
    pairs = resolve_preference(None, _settings_of_own(PREFERENCE, PreferenceConfig, settings))
    runs = resolve_reinforcement(None, _settings_of_own(REINFORCEMENT, ReinforceConfig, settings))
    return preference_cost(shape, workload, pairs, machine), reinforcement_cost(shape, workload, runs, machine)


def _settings_of(stage: str, settings: Sequence[str]) -> list[str]:
    """The settings that mean this stage, without its name in front."""
    parted = [(text.partition("."), text) for text in settings]
    apart = {*STAGES, PREFERENCE, REINFORCEMENT}
    return [rest if head in apart else text for (head, _, rest), text in parted if head == stage or head not in apart]


def _settings_of_own(stage: str, config: type[TrainingConfig], settings: Sequence[str]) -> list[str]:
    """The same for a stage with settings of its own: of those for all stages, what it has."""
    known = config.model_fields.keys()
    own = [text for text in settings if text.partition(".")[0] == stage]
    common = [text for text in settings if text not in own and re.split(r"[.=]", text)[0].strip() in known]
    return [*common, *(text.partition(".")[2] for text in own)]


def _workload(dataset: Path | None, tools: int | None, indexing: Indexing) -> Workload:
    count, characters = tools or 0, dict(USUAL_CHARACTERS)
    if dataset is not None:
        data = load_dataset(dataset)
        count = len(data.catalog)
        sample = data.catalog[:: max(1, count // 1000)]
        characters["description"] = round(statistics.mean(min(len(tool.description), 600) for tool in sample))
        if requests := [min(len(query.text), 600) for query in data.queries["train"]]:
            characters["request"] = round(statistics.mean(requests))
    request, description = (
        TEMPLATE_TOKENS + characters[kind] / CHARACTERS_PER_TOKEN for kind in ("request", "description")
    )
    keywords = float(TEMPLATE_TOKENS + KEYWORD_TOKENS)
    tokens = {"requests": request, "abstentions": request, "description": description, "keywords": keywords}
    tokens |= {"name": keywords, "trajectories": float(CONVERSATION_TOKENS), "replay": float(WINDOW)}
    size = expected_size(indexing, count)
    more = size.tokens_per_tool - 1  # in every example, and at most BEAM times in a search
    return Workload(
        tools=count,
        tokens={source: length + more for source, length in tokens.items()},
        prompt_tokens=request + BEAM * more,
        new_rows=size.new_tokens,
    )


def _config_place(base: str) -> Path:
    path = Path(base)
    if path.is_file() or (path / "config.json").is_file():
        return path
    return resolve_base(base, on_message=message)


def _memory_gib() -> float:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    except (ValueError, OSError, AttributeError) as error:
        raise UsageError("the memory of this system cannot be read; give --memory GIB") from error


def _measured_gflops(hidden: int, intermediate: int, seconds: float = 1.0) -> float:
    """The best rate of a float32 product of the model's own shape on this machine."""
    import torch
    from torch.nn import functional

    left, right = torch.randn(1024, hidden), torch.randn(intermediate, hidden)
    best = 0.0
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        started = time.perf_counter()
        functional.linear(left, right)
        best = max(best, 2 * left.numel() * right.shape[0] / (time.perf_counter() - started) / 1e9)
    return best


def _table(made: Plan) -> Any:
    table = Table(title=f"{made.model}, {made.tools:,} tools, {made.parameters:,} parameters", title_justify="left")
    for name in ("", "steps", "tokens", "tokens/s", "time", "memory", ""):
        table.add_column(name, justify="left" if not name else "right")
    for stage in made.stages:
        numbers = (f"{stage.steps:,}", f"{stage.tokens:,}", f"{stage.tokens_per_second:,.0f}", duration(stage.seconds))
        verdict = "fits" if stage.fits else f"does not fit: {stage.advice}"
        table.add_row(stage.stage, *numbers, f"{stage.memory_gib:.1f} GiB", verdict)
    table.add_row("search", "", "", "", f"{made.search_ms:.0f} ms", f"{made.search_gib:.1f} GiB", "")
    table.add_row("checkpoint", "", "", "", "", f"{made.checkpoint_gib:.1f} GiB", "on disk")
    return table
