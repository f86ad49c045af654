"""What the serving commands serve: a folder that was typed, or one that is made of sources and kept; and how its tools are
searched. Knows no protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolgen.catalog import Catalog, Tool
from toolgen.catalog.transforms import filter_tools, select_tools, selector
from toolgen.cli.console import message, progress
from toolgen.cli.index import indexed
from toolgen.cli.outputs import checkpoint_output
from toolgen.cli.searching import load_catalog, open_retriever
from toolgen.cli.tool_sources import read_sources, tell_reports
from toolgen.cli.virtualize import DEFAULT_BASE
from toolgen.fetching.cache import cache_folder
from toolgen.retrieval import LOGIT_SCALES

if TYPE_CHECKING:
    from toolgen.agent import GenerativePolicy
    from toolgen.checkpoint import Checkpoint
    from toolgen.inference.engine import Engine
    from toolgen.retrieval import Retriever

ServedArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="CKPT|SOURCE...",
        help="A checkpoint, a dataset (bm25 or dense), or sources as `toolgen index` reads them; a checkpoint made of these is "
        "kept in the cache for as long as they give the same tools.",
    ),
]


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """How served tools are searched, and which of them are served."""

    retriever: str | None = None
    add: Sequence[str] | None = None
    encoder: Path | None = None
    decline_rate: float | None = None
    include: Sequence[str] | None = None
    exclude: Sequence[str] | None = None

    def catalog(self, folder: Path) -> Catalog:
        """The tools of a folder that are served."""
        return select_tools(load_catalog(folder), self.include or (), self.exclude or ())

    def selected(self, tools: Sequence[Tool]) -> Sequence[Tool]:
        """Those of further tools that are served."""
        chosen = ([*map(selector, which or ())] for which in (self.include, self.exclude))
        return filter_tools(Catalog(tools), *chosen).catalog[:]

    def open(
        self, folder: Path, catalog: Catalog, checkpoint: Checkpoint | None = None, engine: Engine | None = None
    ) -> Retriever:
        """The retriever of a folder, over the catalog; a checkpoint that is loaded already is not loaded again."""
        with progress("indexing tools") as on_progress:
            finder = open_retriever(
                folder,
                self.retriever,
                add=self.add,
                encoder=self.encoder,
                decline_rate=self.decline_rate,
                checkpoint=checkpoint,
                engine=engine,
                on_progress=on_progress,
            )
            finder.index(catalog)
        return finder

    def policy(self, checkpoint: Checkpoint) -> GenerativePolicy:
        """How a served checkpoint acts. What searches are told to add helps it, too; where the model is told to search by
        itself, it also acts alone. It declines as searches do, if the checkpoint is calibrated for what chooses its tools."""
        from toolgen.agent.acting import acting_policy, chooser

        add = [name for name in self.add or () if name in LOGIT_SCALES and not name.startswith("generative")]
        if not checkpoint.vocabulary.is_atomic:
            add = []
        is_alone = self.retriever == "generative" and not add
        is_calibrated = chooser(checkpoint, add, alone=is_alone).name in checkpoint.calibrations
        rate = self.decline_rate if is_calibrated else None
        return acting_policy(checkpoint, add, alone=is_alone, encoder=self.encoder, decline_rate=rate)


def served_folder(ctx: typer.Context, given: Sequence[str]) -> Path:
    """The folder to serve."""
    if len(given) == 1 and Path(given[0]).is_dir():
        return Path(given[0])
    dataset = read_sources(ctx, given, "served")
    tell_reports(dataset, strict=False)
    folder = cache_folder() / "served" / f"{dataset.catalog.content_hash[:32]}-{DEFAULT_BASE}"
    if not folder.exists():
        message(f"indexing {len(dataset.catalog):,} tools; next time they are there at once")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with checkpoint_output(folder, overwrite=True):
            indexed(dataset.catalog).save(folder)
    return folder
