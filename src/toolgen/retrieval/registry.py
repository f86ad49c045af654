"""Retrievers by name, as the command line speaks of them.

Knows which ones exist and what each needs; the methods themselves are in their own files.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from toolgen.errors import UsageError
from toolgen.llm import TextWriter
from toolgen.retrieval.bm25 import BM25Retriever
from toolgen.retrieval.dense import DenseRetriever
from toolgen.retrieval.fusion import FusionRetriever
from toolgen.retrieval.iter_feedback import IterFeedbackRetriever
from toolgen.retrieval.long_context import LongContextRetriever
from toolgen.retrieval.protocol import Retriever
from toolgen.retrieval.re_invoke import ReInvokeRetriever
from toolgen.retrieval.summed import SumRetriever
from toolgen.retrieval.tool_sets import ToolSetRetriever
from toolgen.retrieval.unasked import UnaskedRetriever

if TYPE_CHECKING:
    from toolgen.checkpoint import Checkpoint

DENSE_MODEL = "all-minilm-l6-v2"

# Methods that ask a language model, and the retriever each stands on unless another is named: that of its paper, or the
# cheapest one.
WRITTEN = {"re-invoke": "dense", "iterfeedback": "dense", "long-context": "bm25"}

# What turns a method's scores into logits, so that they can be added, or decided by sets of tools. Encoders: the scale at which
# they are trained. BM25: chosen on the development split of BFCL, unasked on those of BFCL, Seal-Tools and StableToolBench.
LOGIT_SCALES = {"generative": 1.0, "bm25": 0.5, "dense": 20.0, "static": 20.0, "toolretriever": 20.0, "unasked": 0.75}
SETS = "-sets"

RETRIEVERS = (
    *("generative", "generative-unconstrained", "bm25", "dense", "static", "fusion", "toolretriever", *WRITTEN),
    *(name + SETS for name in LOGIT_SCALES if name not in ("bm25", "unasked")),
)


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What retrievers are made of; each takes what it needs.

    `checkpoint`: generative ones; `beam`: how many beginnings they keep where a tool is several tokens. `encoder`: a folder
    that `toolgen train encoder` wrote, for toolretriever. `dense_model`: the encoder's folder for dense, by default the fetched
    MiniLM, from which static is distilled too. `writer`: the language model of re-invoke, iterfeedback and long-context, which
    stand on `base_retriever`, by default WRITTEN's. `tool_sets`: the tools (ids) of each training request, for names that end
    in `-sets`; `asked_tools`: all of them, for unasked. `cache`: a folder for document matrices and synthetic requests, by
    default inside toolgen's.
    """

    checkpoint: Checkpoint | None = None
    beam: int | None = None
    encoder: Path | None = None
    dense_model: Path | None = None
    writer: TextWriter | None = None
    base_retriever: str | None = None
    tool_sets: Sequence[Sequence[str]] = ()
    asked_tools: Collection[str] = ()
    cache: Path | None = None
    on_progress: Callable[[int, int], None] | None = None


def make_retriever(name: str, resources: Resources | None = None) -> Retriever:
    """The retriever of this name: one of RETRIEVERS, or several joined by `+` (`generative+bm25`), whose logits are added.

    `fusion` is BM25 and dense, fused by their places. `+unasked` adds a constant to tools that no training request asks for.
    `-sets` at the end (`generative+bm25-sets`) reorders by sets of tools.
    Raises UsageError for another name, or where something is missing that the retriever needs.
    """
    resources = resources or Resources()
    if name == "fusion":
        return FusionRetriever([make_retriever("bm25", resources), make_retriever("dense", resources)], name=name)
    if name.endswith(SETS):
        base = name.removesuffix(SETS)
        scale = 1.0 if "+" in base else _logit_scale(base, name)
        return ToolSetRetriever(make_retriever(base, resources), resources.tool_sets, scale=scale)
    if "+" in name:
        return make_sum(name, resources)
    match name:
        case "bm25":
            return BM25Retriever()
        case "dense":
            return _dense(name, resources.dense_model, resources)
        case "static":
            return _static(resources)
        case "unasked":
            return UnaskedRetriever(resources.asked_tools)
        case "toolretriever":
            if resources.encoder is None:
                raise UsageError(
                    "toolretriever needs --encoder ENCODER; train one with: toolgen train encoder DATASET -o ENCODER"
                )
            return _dense(name, resources.encoder, resources)
        case "generative" | "generative-unconstrained":
            return _generative(resources.checkpoint, constrained=name == "generative", beam=resources.beam)
        case _ if name in WRITTEN:
            return _written(name, resources)
    raise UsageError(
        f"there is no retriever {name!r}; choose one of {', '.join(RETRIEVERS)}, or several joined by + to add their logits"
    )


def make_sum(name: str, resources: Resources) -> SumRetriever:
    """The retrievers that `name` joins by `+`, or the one that it names, with scores that are logits. UsageError as from
    `make_retriever`, and for one whose scores cannot be logits."""
    members = [(make_retriever(part, resources), _logit_scale(part, name)) for part in name.split("+")]
    return SumRetriever(members, name=name)


def _logit_scale(part: str, name: str) -> float:
    if part not in LOGIT_SCALES:
        raise UsageError(f"{name}: the scores of {part!r} are no logits; those of {', '.join(LOGIT_SCALES)} are")
    return LOGIT_SCALES[part]


def _dense(name: str, model: Path | None, resources: Resources) -> Retriever:
    from toolgen.fetching import cache_folder, resolve_base

    return DenseRetriever(
        model or resolve_base(DENSE_MODEL),
        name=name,
        cache=resources.cache or cache_folder() / "dense",
        on_progress=resources.on_progress,
    )


def _static(resources: Resources) -> Retriever:
    from toolgen.fetching import cache_folder, resolve_base
    from toolgen.retrieval.static import distilled

    model = distilled(
        resources.dense_model or resolve_base(DENSE_MODEL),
        resources.cache or cache_folder() / "dense",
        resources.on_progress,
    )
    return _dense("static", model, resources)


def _written(name: str, resources: Resources) -> Retriever:
    writer = resources.writer
    if writer is None:  # before the base, which may have to be fetched
        raise UsageError(
            f"the retriever {name} needs a language model; give --writer BASE for a local one, or --endpoint URL and "
            "--model NAME"
        )
    base = make_retriever(resources.base_retriever or WRITTEN[name], resources)
    if name == "iterfeedback":
        return IterFeedbackRetriever(base, writer)
    if name == "long-context":
        return LongContextRetriever(base, writer)
    from toolgen.fetching import cache_folder

    cache = resources.cache or cache_folder() / "re-invoke"
    return ReInvokeRetriever(base, writer, cache=cache, on_progress=resources.on_progress)


def _generative(checkpoint: Checkpoint | None, *, constrained: bool, beam: int | None) -> Retriever:
    if checkpoint is None:
        raise UsageError(
            "the generative retriever needs a checkpoint; give a trained checkpoint folder, or --retriever bm25 or "
            "dense for a dataset folder"
        )
    from toolgen.retrieval.generative import GenerativeRetriever

    return GenerativeRetriever(checkpoint, constrained=constrained, beam=beam)
