"""What the serving commands serve: a folder that was typed, or one that is made of sources and kept. Knows no protocol."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from toolgen.cli.console import message
from toolgen.cli.index import INDEX_BASE, indexed
from toolgen.cli.outputs import checkpoint_output
from toolgen.cli.tool_sources import read_sources, tell_losses
from toolgen.fetching.cache import cache_folder

ServedArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="CKPT|SOURCE...",
        help="A checkpoint, a dataset (bm25 or dense), or sources as `toolgen index` reads them; a checkpoint made of these is "
        "kept in the cache for as long as they give the same tools.",
    ),
]


def served_folder(ctx: typer.Context, given: Sequence[str]) -> Path:
    """The folder to serve."""
    if len(given) == 1 and Path(given[0]).is_dir():
        return Path(given[0])
    dataset = read_sources(ctx, given, "served")
    tell_losses(dataset, strict=False)
    folder = cache_folder() / "served" / f"{dataset.catalog.content_hash[:32]}-{INDEX_BASE}"
    if not folder.exists():
        message(f"indexing {len(dataset.catalog):,} tools; next time they are there at once")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with checkpoint_output(folder, overwrite=True):
            indexed(dataset.catalog).save(folder)
    return folder
