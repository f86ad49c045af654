"""`toolgen catalog ...`: foreign descriptions of tools to a dataset folder, and what can be seen and checked in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from toolgen.agent.recording import record_trajectories
from toolgen.catalog.duplicates import DuplicateReport, near_duplicates
from toolgen.catalog.overview import changed_fields, overview, renames
from toolgen.checkpoint.layout import is_kind
from toolgen.cli import catalog_conversations, catalog_mix, catalog_queries, catalog_rewrite
from toolgen.cli.console import JsonOption, emit, message, progress
from toolgen.cli.outputs import dataset_output
from toolgen.cli.tool_sources import (
    SHOWN,
    DedupeOption,
    ExcludeOption,
    IncludeOption,
    PrefixOption,
    ReferencesOption,
    SourcesArgument,
    StrictOption,
    read_sources,
    report_lines,
    shorten,
    some,
)
from toolgen.datasets.folder import SEARCH_CACHE, Dataset, load_dataset, save_dataset
from toolgen.datasets.sources import Source, source_packages
from toolgen.datasets.validate import validate_dataset
from toolgen.errors import DatasetError, UsageError
from toolgen.retrieval.bm25 import BM25Retriever

DatasetArgument = Annotated[Path, typer.Argument(metavar="DATASET", help="A dataset folder.")]


def register(app: typer.Typer) -> None:
    """Adds the command group `catalog`."""
    group = typer.Typer(help="Build, look at, search, check and compare catalogs of tools.", no_args_is_help=True)
    group.command(epilog="Example: toolgen catalog build bfcl: python:my_tools.py -o data/mine")(build)
    group.command(epilog="Example: toolgen catalog show data/bfcl")(show)
    group.command(epilog='Example: toolgen catalog search data/bfcl "weather tomorrow" -k 3')(search)
    group.command(epilog="Example: toolgen catalog validate data/bfcl")(validate)
    group.command(epilog="Example: toolgen catalog diff data/old data/new --json")(diff)
    group.command(epilog="Example: toolgen catalog duplicates data/bfcl --threshold 0.9")(duplicates)
    catalog_queries.register(group)
    catalog_rewrite.register(group)
    catalog_conversations.register(group)
    catalog_mix.register(group)
    app.add_typer(group, name="catalog")


def build(
    ctx: typer.Context,
    sources: SourcesArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="The dataset folder to write.")],
    name: Annotated[
        str | None, typer.Option(help="Name of the dataset; default: a published one's own, else the folder's name.")
    ] = None,
    strict: StrictOption = False,
    include: IncludeOption = None,
    exclude: ExcludeOption = None,
    prefix: PrefixOption = None,
    dedupe: DedupeOption = False,
    allow_references: ReferencesOption = False,
    trajectories: Annotated[
        bool,
        typer.Option(
            "--trajectories/--no-trajectories",
            help="Write the requests whose calls are known down as conversations, which the agent stage learns from. Calls of "
            "the worlds of bfcl, agentdojo and tau2 are executed, other results are made up.",
        ),
    ] = True,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a dataset whose requests the sources do not have.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Read tools (and their requests, where the source has them) into a dataset folder, and report every loss.

    A dataset that is there is replaced, unless it has requests, tasks or trajectories that the new one would lack.
    """
    dataset_output(output, *sources, *(source.partition(":")[2] for source in sources))
    dataset = read_sources(
        ctx,
        sources,
        name or output.resolve().name,
        include=include,
        exclude=exclude,
        prefix=prefix,
        dedupe=dedupe,
        allow_references=allow_references,
        on_dataset=_with_trajectories if trajectories else None,
    )
    if name:
        dataset = replace(dataset, name=name)
    lost = sum(len(report.losses) for report in dataset.reports)
    if not (refused := strict and lost > 0):
        if not overwrite and is_kind(output, "dataset"):
            _check_kept(dataset, output)
        save_dataset(dataset, output)
    reports = [report.to_dict() for report in dataset.reports]
    answer = {"dataset": None if refused else str(output), "counts": dataset.counts, "reports": reports}
    emit(answer, as_json, lambda: _build_lines(dataset, output, refused))
    if refused:
        message(f"error: {lost} lost under --strict; {output} was not written")
        raise typer.Exit(1)


def show(dataset: DatasetArgument, as_json: JsonOption = False) -> None:
    """What is in a dataset: tools by provider and category, lengths, missing descriptions, requests."""
    loaded = load_dataset(dataset)
    seen = overview(loaded.catalog)
    facts = {"name": loaded.name, "version": loaded.version, "source": loaded.source, "licence": loaded.licence}
    reports = [report.to_dict() for report in loaded.reports]
    answer = {**facts, "counts": loaded.counts, "catalog": seen.to_dict(), "reports": reports}

    def render() -> Table:
        low, median, high, longest = seen.document_lengths
        rows = [*facts.items(), *((key, f"{count:,}") for key, count in loaded.counts.items())]
        rows += [("providers", f"{len(seen.providers):,}: {_top(seen.providers)}")]
        rows += [("categories", f"{len(seen.categories):,}: {_top(seen.categories)}")] if seen.categories else []
        rows += [("endpoints", _top(seen.endpoints)), ("parameters", f"{seen.parameters:,}")]
        rows += [("text length", f"{low} to {longest:,} characters, median {median}, 95% below {high:,}")]
        rows += [("without description", f"{seen.without_description} tools")]
        rows += [("parameters without description", f"{seen.parameters_without_description}")]
        rows += [("shared token names", f"{seen.token_collisions}"), ("catalog hash", seen.content_hash[:16])]
        return _table(("", ""), rows)

    emit(answer, as_json, render)


def search(
    dataset: DatasetArgument,
    text: Annotated[str, typer.Argument(help="What the tool should do.")],
    k: Annotated[int, typer.Option("-k", min=1, help="How many tools to show.")] = 5,
    as_json: JsonOption = False,
) -> None:
    """Find tools by their words (BM25); needs no model."""
    if not text.strip():
        raise UsageError("the request is empty; say in a few words what a tool should do")
    catalog = load_dataset(dataset).catalog
    with progress("indexing words") as on_progress:
        retriever = BM25Retriever(cache=dataset / SEARCH_CACHE, on_progress=on_progress)
        retriever.index(catalog)
    (ranking,) = retriever.search([text], k)
    found = [
        {"tool": tool_id, "score": round(score, 4), "description": catalog.get(tool_id).description}
        for tool_id, score in zip(ranking.tools, ranking.scores, strict=True)
    ]
    rows = [(f"{hit['score']:.2f}", str(hit["tool"]), shorten(str(hit["description"]))) for hit in found]
    emit(
        {"query": text, "results": found},
        as_json,
        lambda: _table(("score", "tool", "description"), rows) if rows else "no tool shares a word with this text",
    )


def validate(dataset: DatasetArgument, as_json: JsonOption = False) -> None:
    """Check a dataset: hashes, schemas, ids, and every expected call against its tool. Exit code 1 on an error."""
    loaded = load_dataset(dataset)
    with progress("checking tools") as on_progress:
        result = validate_dataset(loaded, on_progress=on_progress)

    def render() -> list[str]:
        lines = some("error", result.errors) + some("warning", result.warnings)
        verdict = f"{len(result.errors)} errors" if result.errors else "valid"
        return [*lines, f"{verdict}: {len(loaded.catalog):,} tools, {len(result.warnings)} warnings"]

    emit(result.to_dict(), as_json, render)
    if result.errors:
        raise typer.Exit(1)


def diff(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="A dataset folder.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="A later one.")],
    as_json: JsonOption = False,
) -> None:
    """Tools that NEW adds, removes, renames and changes against OLD, and which of their fields changed."""
    before, after = load_dataset(old).catalog, load_dataset(new).catalog
    found = before.diff(after)
    changed = changed_fields(before, after, found)
    renamed = renames(before, after, found)
    old_ids, new_ids = {one.old for one in renamed}, {one.new for one in renamed}
    added = [tool_id for tool_id in found.added if tool_id not in new_ids]
    removed = [tool_id for tool_id in found.removed if tool_id not in old_ids]
    answer = {
        "added": added,
        "removed": removed,
        "renamed": [one.to_dict() for one in renamed],
        "changed": changed,
    }

    def render() -> list[str]:
        lines = [f"+ {tool_id}" for tool_id in added] + [f"- {tool_id}" for tool_id in removed]
        lines += [f"> {one.old} -> {one.new}: {', '.join(one.fields)}" for one in renamed]
        lines += [f"~ {tool_id}: {', '.join(fields)}" for tool_id, fields in changed.items()]
        counts = f"{len(added)} added, {len(removed)} removed, {len(renamed)} renamed, {len(changed)} changed"
        return [*lines, counts]

    emit(answer, as_json, render)


def duplicates(
    dataset: DatasetArgument,
    threshold: Annotated[float, typer.Option(min=0.3, max=1, help="Smallest share of common text, 0.3 to 1.")] = 0.8,
    as_json: JsonOption = False,
) -> None:
    """Groups of tools whose descriptions and parameters say nearly the same; their names do not count."""
    catalog = load_dataset(dataset).catalog
    with progress("comparing tools") as on_progress:
        report = near_duplicates(catalog, threshold, on_progress=on_progress)
    emit(report.to_dict(), as_json, lambda: _duplicate_lines(report))


def _check_kept(new: Dataset, output: Path) -> None:
    """UsageError if the dataset that is there has requests, tasks or trajectories that the new one lacks, or cannot be read."""
    try:
        lacking = new.lacks(load_dataset(output))
    except DatasetError as error:
        raise UsageError(f"{error}; --overwrite replaces it") from error
    if lacking:
        held = ", ".join(f"{count:,} {kind}" for kind, count in lacking.items())
        raise UsageError(
            f"{output} has {held} that the sources do not have; give another output folder, or --overwrite to replace it"
        )


def _with_trajectories(source: Source, dataset: Dataset) -> Dataset:
    with progress("recording trajectories") as on_progress:
        return record_trajectories(dataset, source_packages(source), keep=True, on_progress=on_progress)


def _build_lines(dataset: Dataset, output: Path, refused: bool) -> list[str]:
    lines = [line for report in dataset.reports for line in report_lines(report)]
    if not refused:
        counts = ", ".join(f"{count:,} {name}" for name, count in dataset.counts.items() if count)
        lines.append(f"wrote {output}: {counts}")
    return lines


def _duplicate_lines(report: DuplicateReport) -> list[str]:
    lines = []
    for group in report.groups[:SHOWN]:
        lines.append(f"{group.tool}: {len(group.duplicates):,} more")
        lines += [f"  {one.similarity:.2f} {one.tool}" for one in group.duplicates[:3]]
    lines += [f"... and {len(report.groups) - SHOWN:,} more groups (--json shows all)"] * (len(report.groups) > SHOWN)
    count = sum(len(group.duplicates) for group in report.groups)
    lines.append(
        f"{count:,} tools are at least {report.threshold:.0%} like an earlier one, in {len(report.groups):,} groups; "
        f"{report.too_short:,} have too little text to compare"
    )
    return lines


def _top(counts: dict[str, int]) -> str:
    named = [f"{name or '(none)'} {count:,}" for name, count in list(counts.items())[:SHOWN]]
    return ", ".join(named) + (", ..." if len(counts) > SHOWN else "")


def _table(headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    table = Table(*headings, box=None, show_header=any(headings))
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    return table
