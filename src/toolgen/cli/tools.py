"""`toolgen tools ...`: the catalog of a checkpoint as it changes, without training."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from toolgen.catalog import Catalog, Tool
from toolgen.catalog.loaders.report import LoadReport
from toolgen.catalog.transforms import select_tools
from toolgen.checkpoint import read_metadata
from toolgen.checkpoint.layout import weights_of
from toolgen.cli.console import JsonOption, emit, message, progress
from toolgen.cli.searching import has_weights, load_catalog
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
    shorten,
    tell_reports,
)
from toolgen.datasets import Dataset
from toolgen.errors import UsageError
from toolgen.fetching.parts import reading_folder
from toolgen.files import locked

if TYPE_CHECKING:
    from toolgen.checkpoint import Checkpoint

CheckpointArgument = Annotated[
    Path, typer.Argument(metavar="CKPT", help="A checkpoint folder; it is changed in place.")
]
MovedOption = Annotated[
    bool,
    typer.Option(
        "--moved", help="Also change tools whose server, command or module is another one now: the service has moved."
    ),
]
MOST_REQUESTS = 2000
"""Requests that new tools learn: each takes a forward pass."""


def register(app: typer.Typer) -> None:
    """Adds the command group `tools`."""
    group = typer.Typer(
        help="Add, change, remove and list the tools of a checkpoint, without training.", no_args_is_help=True
    )
    group.command("list", epilog="Example: toolgen tools list CKPT --include provider:mail")(list_tools)
    group.command(epilog="Example: toolgen tools add CKPT openapi:api.yaml")(add)
    group.command(epilog="Example: toolgen tools update CKPT openapi:api.yaml")(update)
    group.command(epilog='Example: toolgen tools remove CKPT "mail&&send"')(remove)
    app.add_typer(group, name="tools")


def list_tools(
    checkpoint: Annotated[Path, typer.Argument(metavar="CKPT", help="A checkpoint folder.")],
    include: IncludeOption = None,
    exclude: ExcludeOption = None,
    as_json: JsonOption = False,
) -> None:
    """The tools of a checkpoint, their token ids, and what each row was last made from.

    documentation: no request of the tool was used; requests: some were, in closed form; trained: a stage of training has
    changed it. A star: the tool's definition was changed after that.
    """
    _check(checkpoint)
    from toolgen.checkpoint.checkpoint import row_origin
    from toolgen.virtualization import ToolVocabulary

    catalog, metadata = load_catalog(checkpoint), read_metadata(checkpoint)
    vocabulary = ToolVocabulary.from_dict(metadata["vocabulary"], catalog.ids)
    changed = {*metadata["changed"]}
    shown: list[dict[str, Any]] = [
        {
            "tool": tool.id,
            "token_ids": list(vocabulary.sequence(tool.id)),
            "row": row_origin(tool.id, metadata["made"], metadata["stages"]),
            "changed": tool.id in changed,
            "description": tool.description,
        }
        for tool in select_tools(catalog, include or (), exclude or ())
    ]
    free = len(vocabulary.free_tokens)
    answer = {"catalog_hash": catalog.content_hash, "free_tokens": free, "tools": shown}

    def render() -> Table:
        table = Table(box=None, pad_edge=False, header_style="dim")
        for heading in ("tool", "token", "row", "description"):
            table.add_column(heading, overflow="fold")
        for one in shown:
            first, *others = one["token_ids"]
            origin = one["row"] + "*" * one["changed"]
            number = f"{first} ..." if others else str(first)
            table.add_row(Text(one["tool"], style="bold"), number, origin, Text(shorten(one["description"])))
        table.add_row(f"{len(shown):,} tools, {free:,} free tokens, catalog {catalog.content_hash[:12]}")
        return table

    emit(answer, as_json, render)


def add(
    ctx: typer.Context,
    checkpoint: CheckpointArgument,
    sources: SourcesArgument,
    include: IncludeOption = None,
    exclude: ExcludeOption = None,
    prefix: PrefixOption = None,
    dedupe: DedupeOption = False,
    allow_references: ReferencesOption = False,
    strict: StrictOption = False,
    replace_known: Annotated[
        bool, typer.Option("--update", help="Also change the tools that the checkpoint has already.")
    ] = False,
    moved: MovedOption = False,
    as_json: JsonOption = False,
) -> None:
    """Add tools to a checkpoint: their rows come from their documentation by forward passes, no training.

    All other tools keep their token ids, rows and scores. Training requests of the sources that ask for the new tools are
    learned in closed form, by the new rows alone. What was stopped goes on with the same command.
    """
    dataset = _read(ctx, checkpoint, sources, include, exclude, prefix, dedupe, allow_references, strict)
    with _changing(checkpoint) as change:
        from toolgen.inference.late_tools import add_tools, update_tools

        before = change.checkpoint.catalog
        known = [tool for tool in dataset.catalog if replace_known and tool.id in before]
        new = [tool for tool in dataset.catalog if not (replace_known and tool.id in before)]
        differing = _differing(before, known)
        if not moved:
            _check_origins(before, dataset.catalog, differing)
        if known:
            change.checkpoint = update_tools(change.checkpoint, known, parts=change.reading())
        if new or not known:
            with progress("reading documentation") as on_progress:
                change.checkpoint = add_tools(change.checkpoint, new, on_progress, change.reading())
        requests = _learn(change, dataset, [tool.id for tool in new])
    bare = sum(not tool.description.strip() for tool in new)
    if bare:
        message(f"{bare:,} of them have no description; their rows know no more than their names and parameters")
    unchanged = len(known) - len(differing)
    counts = {"added": len(new), "updated": len(differing), "unchanged": unchanged, "requests": requests}
    _tell(change, counts, [tool.id for tool in (*new, *differing)], as_json, dataset.reports)


def update(
    ctx: typer.Context,
    checkpoint: CheckpointArgument,
    sources: SourcesArgument,
    include: IncludeOption = None,
    exclude: ExcludeOption = None,
    prefix: PrefixOption = None,
    dedupe: DedupeOption = False,
    allow_references: ReferencesOption = False,
    strict: StrictOption = False,
    moved: MovedOption = False,
    as_json: JsonOption = False,
) -> None:
    """Give tools of a checkpoint the definitions that they have in the sources now, by their ids.

    A row moves by what the new documentation makes of it less what the old one did; what training made of it stays.
    """
    dataset = _read(ctx, checkpoint, sources, include, exclude, prefix, dedupe, allow_references, strict)
    with _changing(checkpoint) as change:
        from toolgen.inference.late_tools import update_tools

        before = change.checkpoint.catalog
        known = [tool for tool in dataset.catalog if tool.id in before]
        differing = _differing(before, known)
        if not known:
            raise UsageError(f"the checkpoint has none of these {len(dataset.catalog)} tools; see `toolgen tools add`")
        if not moved:
            _check_origins(before, dataset.catalog, differing)
        with progress("reading documentation") as on_progress:
            change.checkpoint = update_tools(change.checkpoint, known, on_progress, change.reading())
    if others := len(dataset.catalog) - len(known):
        message(
            f"{others:,} tools of the sources are not in the checkpoint; add them with `toolgen tools add --update`"
        )
    counts = {"updated": len(differing), "unchanged": len(known) - len(differing)}
    _tell(change, counts, [tool.id for tool in differing], as_json, dataset.reports)


def remove(
    checkpoint: CheckpointArgument,
    tools: Annotated[
        list[str] | None, typer.Argument(metavar="TOOL...", show_default=False, help="Ids of tools to remove.")
    ] = None,
    include: Annotated[
        list[str] | None,
        typer.Option(metavar="WHICH", help="Remove all these tools; written as for `toolgen search`. May be repeated."),
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="WHICH", help="Of those, leave these; written like --include.")
    ] = None,
    not_in: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Remove the tools that this dataset, catalog or checkpoint does not have."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Remove tools from a checkpoint: they are never found or called again. The others keep ids, rows and scores."""
    if not tools and not include and not not_in:
        raise UsageError("name the tools to remove, or say which with --include or --not-in")
    _check(checkpoint)
    kept = load_catalog(not_in) if not_in else None
    with _changing(checkpoint) as change:
        from toolgen.inference.late_tools import remove_tools

        catalog = change.checkpoint.catalog
        meant = select_tools(catalog, include, exclude or ()).ids if include else ()
        absent = select_tools(catalog, (), exclude or ()).diff(kept).removed if kept is not None else ()
        gone = list(dict.fromkeys((*(tools or ()), *meant, *absent)))
        if gone:
            change.checkpoint = remove_tools(change.checkpoint, gone)
    _tell(change, {"removed": len(gone)}, gone, as_json)


class _Change:
    """A checkpoint that is being changed, and when that began."""

    def __init__(self, folder: Path, checkpoint: Checkpoint) -> None:
        self.folder, self.checkpoint, self.start = folder, checkpoint, time.perf_counter()
        self.parts: Path | None = None

    def reading(self) -> Path:
        """Where documentation that was read is kept until the checkpoint is written: who was stopped goes on from there."""
        self.parts = self.parts or reading_folder(weights_of(self.folder))
        return self.parts


@contextmanager
def _changing(folder: Path) -> Iterator[_Change]:
    """The checkpoint of a folder, which is written back when the block ends well. One process at a time: another one waits, and
    finds what this one wrote."""
    with locked(folder, lambda: message(f"another process is changing {folder}; waiting for it")):
        from toolgen.checkpoint import Checkpoint

        change = _Change(folder, Checkpoint.load(folder))
        before = change.checkpoint
        yield change
        if change.checkpoint is not before:
            change.checkpoint.save(folder)
            if change.parts:
                shutil.rmtree(change.parts, ignore_errors=True)


def _check(folder: Path) -> None:
    if not has_weights(folder):
        raise UsageError(f"{folder} is a dataset; this needs a checkpoint, such as `toolgen index` writes")


def _read(
    ctx: typer.Context,
    folder: Path,
    sources: Sequence[str],
    include: Sequence[str] | None,
    exclude: Sequence[str] | None,
    prefix: str | None,
    dedupe: bool,
    allow_references: bool,
    strict: bool,
) -> Dataset:
    _check(folder)
    dataset = read_sources(
        ctx,
        sources,
        folder.resolve().name,
        include=include,
        exclude=exclude,
        prefix=prefix,
        dedupe=dedupe,
        allow_references=allow_references,
    )
    tell_reports(dataset, strict=strict)
    return dataset


def _differing(before: Catalog, known: Sequence[Tool]) -> list[Tool]:
    """Those that are not as they were."""
    return [tool for tool in known if tool.content_hash != before.get(tool.id).content_hash]


def _check_origins(before: Catalog, sources: Catalog, differing: Sequence[Tool]) -> None:
    """UsageError if tools of the sources seem to be another service's than those of the same ids in the checkpoint."""
    says = "another service's come with `toolgen tools add --prefix TEXT`; if it is the same service, say --moved"
    for new, old in ((tool, before.get(tool.id)) for tool in differing):
        if new.origin and old.origin and new.origin != old.origin:
            raise UsageError(
                f"{new.id!r} is called at {new.origin} in the sources, at {old.origin} in the checkpoint; {says}"
            )
        second = f"{new.id}#2"
        if second in before and second not in sources and not (new.origin and old.origin):
            raise UsageError(
                f"the checkpoint has {new.id!r} and {second!r}, and nothing says which the sources mean; {says}"
            )


def _learn(change: _Change, dataset: Dataset, new: Sequence[str]) -> int:
    """Lets new tools learn the training requests of the sources; how many there were."""
    from toolgen.retrieval.generative import GenerativeRetriever
    from toolgen.training.late_requests import Asked, learn_requests

    wanted = frozenset(new)
    asked = [Asked(one.text, one.tools) for one in dataset.searches("train") if not wanted.isdisjoint(one.tools)]
    if not asked:
        return 0
    some = asked[:: -(-len(asked) // MOST_REQUESTS)]
    message(f"learning {len(some):,} of {len(asked):,} requests")
    states_of = GenerativeRetriever(change.checkpoint).hidden_states
    change.checkpoint = learn_requests(change.checkpoint, some, states_of, new)
    return len(some)


def _tell(
    change: _Change, counts: dict[str, int], tools: Sequence[str], as_json: bool, reports: Sequence[LoadReport] = ()
) -> None:
    checkpoint = change.checkpoint
    answer: dict[str, Any] = {
        "checkpoint": str(change.folder),
        **counts,
        "ids": list(tools),
        "tools": len(checkpoint.catalog),
        "free_tokens": len(checkpoint.vocabulary.free_tokens),
        "catalog_hash": checkpoint.catalog.content_hash,
        "seconds": round(time.perf_counter() - change.start, 1),
        "reports": [report.to_dict() for report in reports],
    }

    def render() -> str:
        told = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count) or "nothing changed"
        some = ", ".join(tools[:SHOWN]) + ", ..." * (len(tools) > SHOWN)
        return (
            f"{change.folder}: {told}{f' ({some})' if some else ''}; {answer['tools']:,} tools, "
            f"{answer['free_tokens']:,} free tokens, {answer['seconds']:.1f} s"
        )

    emit(answer, as_json, render)
