"""`toolgen catalog build | show | search | validate | diff`: foreign descriptions to a dataset folder, and into it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from toolgen.cli.console import JsonOption, emit, message, progress

if TYPE_CHECKING:
    from toolgen.catalog.loaders.report import LoadReport
    from toolgen.datasets.folder import Dataset
    from toolgen.datasets.sources import Source

SHOWN = 10  # lines of each kind in an answer for people; --json gives all

DatasetArgument = Annotated[Path, typer.Argument(metavar="DATASET", help="A dataset folder.")]


def register(app: typer.Typer) -> None:
    """Adds the command group `catalog`."""
    group = typer.Typer(help="Build, look at, search, check and compare catalogs of tools.", no_args_is_help=True)
    group.command(epilog="Example: toolgen catalog build bfcl: python:my_tools.py -o data/mine")(build)
    group.command(epilog="Example: toolgen catalog show data/bfcl")(show)
    group.command(epilog='Example: toolgen catalog search data/bfcl "weather tomorrow" -k 3')(search)
    group.command(epilog="Example: toolgen catalog validate data/bfcl")(validate)
    group.command(epilog="Example: toolgen catalog diff data/old data/new --json")(diff)
    app.add_typer(group, name="catalog")


def build(
    sources: Annotated[
        list[str],
        typer.Argument(metavar="SOURCE...", help="bfcl: or bfcl:FOLDER, openai:FILE, python:MODULE or python:FILE.py"),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The dataset folder to write.")],
    name: Annotated[str | None, typer.Option(help="Name of the dataset; default: the folder's name.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Fail, and write nothing, if anything was lost.")] = False,
    trajectories: Annotated[
        bool,
        typer.Option(
            "--trajectories/--no-trajectories",
            help="For bfcl: record trajectories by executing the ground-truth calls in the simulated APIs.",
        ),
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Read tools (and their requests, where the source has them) into a dataset folder, and report every loss."""
    from toolgen.datasets.folder import save_dataset
    from toolgen.datasets.sources import build_dataset, parse_source

    parsed = [parse_source(source) for source in sources]
    dataset = build_dataset(parsed, name or output.resolve().name, on_message=message)
    if trajectories:
        dataset = _with_trajectories(dataset, parsed)
    lost = sum(len(report.losses) for report in dataset.reports)
    refused = strict and lost > 0
    if not refused:
        save_dataset(dataset, output)
    reports = [report.to_dict() for report in dataset.reports]
    answer = {"dataset": None if refused else str(output), "counts": dataset.counts, "reports": reports}
    emit(answer, as_json, lambda: _build_text(dataset, output, refused))
    if refused:
        message(f"error: {lost} lost under --strict; {output} was not written")
        raise typer.Exit(1)


def show(dataset: DatasetArgument, as_json: JsonOption = False) -> None:
    """What is in a dataset: tools by provider and category, lengths, missing descriptions, requests."""
    from toolgen.catalog.overview import overview
    from toolgen.datasets.folder import load_dataset

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
    from toolgen.datasets.folder import load_dataset
    from toolgen.retrieval.bm25 import BM25Retriever

    catalog = load_dataset(dataset).catalog
    retriever = BM25Retriever()
    retriever.index(catalog)
    (ranking,) = retriever.search([text], k)
    found = [
        {"tool": tool_id, "score": round(score, 4), "description": catalog.get(tool_id).description}
        for tool_id, score in zip(ranking.tools, ranking.scores, strict=True)
        if score > 0
    ]
    rows = [(f"{hit['score']:.2f}", str(hit["tool"]), _shorten(str(hit["description"]))) for hit in found]
    emit(
        {"query": text, "results": found},
        as_json,
        lambda: _table(("score", "tool", "description"), rows) if rows else "no tool shares a word with this text",
    )


def validate(dataset: DatasetArgument, as_json: JsonOption = False) -> None:
    """Check a dataset: hashes, schemas, ids, and every expected call against its tool. Exit code 1 on an error."""
    from toolgen.datasets.folder import load_dataset
    from toolgen.datasets.validate import validate_dataset

    loaded = load_dataset(dataset)
    with progress("checking tools") as on_progress:
        result = validate_dataset(loaded, on_progress=on_progress)

    def render() -> str:
        lines = _some("error", result.errors) + _some("warning", result.warnings)
        verdict = f"{len(result.errors)} errors" if result.errors else "valid"
        return "\n".join([*lines, f"{verdict}: {len(loaded.catalog):,} tools, {len(result.warnings)} warnings"])

    emit(result.to_dict(), as_json, render)
    if result.errors:
        raise typer.Exit(1)


def diff(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="A dataset folder.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="A later one.")],
    as_json: JsonOption = False,
) -> None:
    """Tools that NEW adds, removes and changes against OLD, and which of their fields changed."""
    from toolgen.catalog.overview import changed_fields
    from toolgen.datasets.folder import load_dataset

    before, after = load_dataset(old).catalog, load_dataset(new).catalog
    found = before.diff(after)
    changed = changed_fields(before, after, found)
    answer = {"added": list(found.added), "removed": list(found.removed), "changed": changed}

    def render() -> str:
        lines = [f"+ {tool_id}" for tool_id in found.added] + [f"- {tool_id}" for tool_id in found.removed]
        lines += [f"~ {tool_id}: {', '.join(fields)}" for tool_id, fields in changed.items()]
        counts = f"{len(found.added)} added, {len(found.removed)} removed, {len(changed)} changed"
        return "\n".join([*lines, counts])

    emit(answer, as_json, render)


def _with_trajectories(dataset: Dataset, sources: Sequence[Source]) -> Dataset:
    from toolgen.datasets.sources import bfcl_package

    package = next((bfcl_package(source) for source in sources if source.kind == "bfcl"), None)
    if package is None:
        return dataset
    from toolgen.agent.recording import record_trajectories

    with progress("recording trajectories") as on_progress:
        return record_trajectories(dataset, package, on_progress=on_progress)


def _build_text(dataset: Dataset, output: Path, refused: bool) -> str:
    lines = [line for report in dataset.reports for line in _report_lines(report)]
    if not refused:
        counts = ", ".join(f"{count:,} {name}" for name, count in dataset.counts.items() if count)
        lines.append(f"wrote {output}: {counts}")
    return "\n".join(lines)


def _report_lines(report: LoadReport) -> list[str]:
    head = f"{report.source}: {report.loaded:,} tools loaded, {len(report.losses)} lost, {len(report.notes)} notes"
    return [head, *_some("lost", [f"{x.name}: {x.reason}" for x in report.losses]), *_some("note", report.notes)]


def _some(kind: str, lines: Sequence[str]) -> list[str]:
    """The first of the lines for people to read, and how many more there are."""
    more = [f"  ... and {len(lines) - SHOWN} more (--json shows all)"] if len(lines) > SHOWN else []
    return [f"  {kind}: {_shorten(line, 200)}" for line in lines[:SHOWN]] + more


def _top(counts: dict[str, int]) -> str:
    named = [f"{name or '(none)'} {count:,}" for name, count in list(counts.items())[:SHOWN]]
    return ", ".join(named) + (", ..." if len(counts) > SHOWN else "")


def _shorten(text: str, limit: int = 90) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 3] + "..."


def _table(headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    table = Table(*headings, box=None, show_header=any(headings))
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    return table
