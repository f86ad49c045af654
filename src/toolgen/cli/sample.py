"""`toolgen sample`: an agent tries its training tasks, and what it did becomes a dataset to learn from."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolgen.checkpoint.layout import work_folder
from toolgen.cli.agent_policies import ThoughtOption, thought_tokens
from toolgen.cli.console import MAX_SEED, JsonOption, emit, message, progress
from toolgen.cli.evaluate import KindsOption
from toolgen.cli.outputs import dataset_output, hint
from toolgen.cli.training_options import RestartOption
from toolgen.datasets import load_dataset, save_dataset
from toolgen.fetching import fetch_dataset
from toolgen.reinforcement import SampleConfig
from toolgen.retrieval.parallel import check_one_process

if TYPE_CHECKING:
    from toolgen.reinforcement.samples import Counts

_DEFAULTS = SampleConfig()


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(epilog="Example: toolgen sample CKPT DATASET -o RUNS --runs 8 --limit 200")(sample)


def sample(
    checkpoint: Annotated[Path, typer.Argument(metavar="CKPT", help="A trained agent.")],
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="A dataset folder with the same catalog.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="RUNS", help="The dataset folder to write.")],
    runs: Annotated[int, typer.Option("--runs", min=2, metavar="N", help="Runs of each task.")] = _DEFAULTS.runs,
    temperature: Annotated[
        float, typer.Option("--temperature", min=0.01, max=100, help="Of the draws: higher, more different runs.")
    ] = _DEFAULTS.temperature,
    keep: Annotated[
        int, typer.Option("--keep", min=1, metavar="N", help="Conversations of each task, at most, and preferences.")
    ] = _DEFAULTS.keep,
    kinds: KindsOption = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="So many tasks, drawn by seed.")
    ] = _DEFAULTS.limit,
    given_tools: Annotated[
        bool, typer.Option("--given-tools", help="Hand the model the right tools: its runs differ in arguments alone.")
    ] = _DEFAULTS.given_tools,
    with_given: Annotated[
        bool,
        typer.Option(
            "--with-given", help="Keep DATASET's training conversations; tasks of which no run is right pair with them."
        ),
    ] = _DEFAULTS.with_given,
    thought: ThoughtOption = "off",
    concurrency: Annotated[
        int,
        typer.Option("--concurrency", min=1, metavar="N", help="Runs at the same time; they share the model's passes."),
    ] = _DEFAULTS.concurrency,
    seed: Annotated[int, typer.Option("--seed", min=0, max=MAX_SEED, help="Of all that is drawn.")] = _DEFAULTS.seed,
    restart: RestartOption = False,
    as_json: JsonOption = False,
) -> None:
    """Let an agent try its training tasks several times, and keep what it did as a dataset to learn from.

    Runs that the task's scorer calls right become conversations for the agent stage (rejection sampling, arXiv 2308.01825). A
    right and a wrong run of a task that begin alike become a preference for train preference. Interrupted, it can be resumed.
    """
    from toolgen.evaluation.agent import check_kinds

    check_one_process("sample")
    dataset_output(output, checkpoint, dataset)
    check_kinds(kinds or ())
    config = SampleConfig(
        runs=runs,
        temperature=temperature,
        keep=keep,
        kinds=tuple(kinds or _DEFAULTS.kinds),
        limit=limit,
        given_tools=given_tools,
        with_given=with_given,
        thought_tokens=thought_tokens(thought),
        concurrency=concurrency,
        seed=seed,
    )
    counts = _sample(checkpoint, dataset, output, config, restart=restart)
    emit({"dataset": str(output), **counts.to_dict()}, as_json, lambda: f"wrote {output}: {_text(counts)}")
    learn = "preference" if counts.preferences else "agent"
    hint(f"toolgen train {learn} {{checkpoint}} {{output}} -o CKPT2", checkpoint=checkpoint, output=output)


def _sample(checkpoint: Path, dataset: Path, output: Path, config: SampleConfig, *, restart: bool) -> Counts:
    from toolgen.checkpoint import Checkpoint
    from toolgen.reinforcement.samples import sample_tasks

    data = load_dataset(dataset)
    needed = sorted({task.package for task in data.tasks["train"] if task.package and task.kind in config.kinds})
    packages = {name: fetch_dataset(name, on_message=message) for name in needed}
    agent = Checkpoint.load(checkpoint, catalog=data.catalog)
    with progress("carrying out tasks") as on_progress:
        sampled, counts = sample_tasks(
            agent, data, config, work_folder(output), packages=packages, restart=restart, on_progress=on_progress
        )
    save_dataset(sampled, output)
    shutil.rmtree(work_folder(output), ignore_errors=True)
    return counts


def _text(counts: Counts) -> str:
    return (
        f"{counts.right:,} of {counts.runs:,} runs are right, {counts.solved:,} of {counts.tasks:,} tasks at least once and "
        f"{counts.always:,} always; {counts.conversations:,} conversations, {counts.preferences:,} preferences"
    )
