"""What `search` and `evaluate` share: from a folder that was typed to a catalog and a retriever over it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from toolgen.catalog import Catalog
from toolgen.errors import CheckpointError, InputError
from toolgen.retrieval import RETRIEVERS, Retriever, make_retriever

CHECKPOINT_FILE = "toolgen.json"
DATASET_FILE = "dataset.json"

RetrieverOption = Annotated[
    str | None,
    typer.Option(
        "--retriever",
        metavar="NAME",
        help=f"{', '.join(RETRIEVERS)}, or several joined by + to fuse them (generative+bm25). "
        "By default generative for a checkpoint, bm25 for a dataset.",
    ),
]

EncoderOption = Annotated[
    Path | None,
    typer.Option("--encoder", metavar="ENCODER", help="What `toolgen train encoder` wrote, for toolretriever."),
]


def is_checkpoint(folder: Path) -> bool:
    """Whether the folder is a checkpoint; InputError if it is neither a checkpoint nor a dataset."""
    if (folder / CHECKPOINT_FILE).is_file():
        return True
    if (folder / DATASET_FILE).is_file():
        return False
    raise InputError(
        f"{folder} is neither a checkpoint ({CHECKPOINT_FILE}) nor a dataset ({DATASET_FILE}); "
        "give a folder that `toolgen train` or `toolgen catalog build` wrote"
    )


def origin_of(folder: Path) -> dict[str, str]:
    """What a result records of the checkpoint it was measured on: its folder and base model. Nothing for a dataset."""
    if not is_checkpoint(folder):
        return {}
    try:
        metadata = json.loads((folder / CHECKPOINT_FILE).read_text(encoding="utf-8"))
        return {"checkpoint": str(folder), "model": Path(metadata["base"]).name}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"cannot read {folder / CHECKPOINT_FILE}: {error}") from error


def load_catalog(folder: Path) -> Catalog:
    """The catalog of a checkpoint or dataset folder, without reading weights or queries."""
    is_checkpoint(folder)
    return Catalog.load(folder / "catalog.jsonl")


def open_retriever(
    folder: Path,
    name: str | None,
    on_progress: Callable[[int, int], None] | None = None,
    *,
    encoder: Path | None = None,
) -> Retriever:
    """The retriever `name` for a checkpoint or dataset folder; weights are read only if it is a generative one."""
    has_checkpoint = is_checkpoint(folder)
    name = name or ("generative" if has_checkpoint else "bm25")
    checkpoint = None
    if has_checkpoint and any(part.startswith("generative") for part in name.split("+")):
        from toolgen.checkpoint import Checkpoint

        checkpoint = Checkpoint.load(folder)
    return make_retriever(name, checkpoint, encoder=encoder, on_progress=on_progress)
