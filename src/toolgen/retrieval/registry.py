"""Retrievers by name, as the command line speaks of them.

Knows which ones exist and what each needs; the methods themselves are in their own files.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from toolgen.errors import UsageError
from toolgen.retrieval.bm25 import BM25Retriever
from toolgen.retrieval.dense import DenseRetriever
from toolgen.retrieval.fusion import FusionRetriever
from toolgen.retrieval.protocol import Retriever

if TYPE_CHECKING:
    from toolgen.checkpoint import Checkpoint

DENSE_MODEL = "all-minilm-l6-v2"

RETRIEVERS = ("generative", "bm25", "dense", "fusion", "toolretriever", "generative-unconstrained")


def make_retriever(
    name: str,
    checkpoint: Checkpoint | None = None,
    *,
    dense_model: Path | None = None,
    encoder: Path | None = None,
    cache: Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Retriever:
    """The retriever of this name.

    `generative` needs a loaded checkpoint; `fusion` is BM25 and dense; names joined by `+` (`generative+bm25`) are
    fused by their places. `dense_model` is the folder of the untrained encoder (by default the fetched MiniLM), `encoder`
    that of one trained by `toolgen train encoder`, which `toolretriever` needs; `cache` the folder of
    its document matrices (by default inside toolgen's cache).
    Raises UsageError for another name, or a missing checkpoint or encoder.
    """
    if name == "fusion":
        name = "bm25+dense"
        label = "fusion"
    else:
        label = name
    if "+" in name:
        parts = [
            make_retriever(
                part, checkpoint, dense_model=dense_model, encoder=encoder, cache=cache, on_progress=on_progress
            )
            for part in name.split("+")
        ]
        return FusionRetriever(parts, name=label)
    if name == "bm25":
        return BM25Retriever()
    if name == "dense":
        return _dense(dense_model, cache, on_progress)
    if name == "toolretriever":
        if encoder is None:
            raise UsageError("toolretriever needs --encoder ENCODER; train one with: toolgen train encoder DATASET -o ENCODER")
        return _dense(encoder, cache, on_progress, name)
    if name in ("generative", "generative-unconstrained"):
        return _generative(checkpoint, constrained=name == "generative")
    raise UsageError(
        f"there is no retriever {name!r}; choose one of {', '.join(RETRIEVERS)}, or several joined by + to fuse them"
    )


def _dense(
    model: Path | None, cache: Path | None, on_progress: Callable[[int, int], None] | None, name: str = "dense"
) -> Retriever:
    from toolgen.fetching import cache_folder, resolve_base

    return DenseRetriever(
        model or resolve_base(DENSE_MODEL), name=name, cache=cache or cache_folder() / "dense", on_progress=on_progress
    )


def _generative(checkpoint: Checkpoint | None, *, constrained: bool) -> Retriever:
    if checkpoint is None:
        raise UsageError(
            "the generative retriever needs a checkpoint; give a trained checkpoint folder, or --retriever bm25 or "
            "dense for a dataset folder"
        )
    from toolgen.retrieval.generative import GenerativeRetriever

    return GenerativeRetriever(checkpoint, constrained=constrained)
