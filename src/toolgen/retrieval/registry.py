"""Retrievers by name: what the command line and experiment files ask for, and what each one needs.

The methods themselves are in their own files.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from toolgen.errors import UsageError
from toolgen.llm import LanguageModel
from toolgen.retrieval.bm25 import BM25Retriever
from toolgen.retrieval.dense import DenseRetriever
from toolgen.retrieval.iter_feedback import IterFeedbackRetriever
from toolgen.retrieval.long_context import LongContextRetriever
from toolgen.retrieval.protocol import Retriever
from toolgen.retrieval.re_invoke import ReInvokeRetriever
from toolgen.retrieval.summed import SumRetriever
from toolgen.retrieval.tool_sets import ToolSetRetriever

if TYPE_CHECKING:
    from toolgen.checkpoint import Checkpoint
    from toolgen.inference.engine import Engine

DENSE_MODEL = "all-minilm-l6-v2"

# Methods that ask a language model, and the retriever each stands on unless another is named: that of its paper, or the
# cheapest one.
WRITTEN = {"re-invoke": "dense", "iterfeedback": "dense", "long-context": "bm25"}

# What turns a method's scores into logits, so that they can be added, or decided by sets of tools. Encoders: the scale at which
# they are trained. BM25: beside methods that training requests have taught, chosen on the development splits of BFCL and
# StableToolBench.
LOGIT_SCALES = {"generative": 1.0, "bm25": 0.5, "dense": 20.0, "toolretriever": 20.0}
BEST_BM25 = 8.0
"""Logits of the best tool of BM25 beside methods that no request has taught; others have their share of it. Chosen on the
development splits of four datasets (`benchmarks/sums.py`)."""

RETRIEVERS = ("generative", "generative-unconstrained", "bm25", "dense", "toolretriever", *WRITTEN)


@dataclass(frozen=True, kw_only=True)
class RetrieverSpec:
    """What to search with: `method`, one of RETRIEVERS, and what becomes of its scores.

    `add`: methods whose logits are added to its own. `unasked_bonus`: what unasked tools gain on
    their logit. `sets`: reorder by the sets of tools that training requests ask for together.
    """

    method: str
    add: tuple[str, ...] = ()
    unasked_bonus: float = 0.0
    sets: bool = False

    @property
    def methods(self) -> tuple[str, ...]:
        """All methods that are run."""
        return (self.method, *self.add)

    @property
    def name(self) -> str:
        """How results and tables call it: `generative+bm25`, `generative+unasked (sets)`."""
        parts = [*self.methods, *(["unasked"] if self.unasked_bonus else [])]
        return "+".join(parts) + (" (sets)" if self.sets else "")


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What retrievers are made of; each takes what it needs.

    `checkpoint`: generative ones, whose passes `engine` makes if there is one; `beam`: how many beginnings they keep where a
    tool is several tokens. `encoder`: a folder that `toolgen train encoder` wrote, for toolretriever. `dense_model`: the
    encoder's folder for dense, by default the fetched MiniLM. `llm`: the language model of re-invoke, iterfeedback and
    long-context, which stand on `base_retriever`, by default WRITTEN's. `tool_sets`: the tools (ids) of each training request,
    for `RetrieverSpec.sets`; `asked_tools`: all of them, for `unasked_bonus`. `cache`: a folder for document matrices and
    synthetic requests, by default inside toolgen's.
    """

    checkpoint: Checkpoint | None = None
    engine: Engine | None = None
    beam: int | None = None
    encoder: Path | None = None
    dense_model: Path | None = None
    llm: LanguageModel | None = None
    base_retriever: str | None = None
    tool_sets: Sequence[Sequence[str]] = ()
    asked_tools: Collection[str] = ()
    cache: Path | None = None
    on_progress: Callable[[int, int], None] | None = None


def make_retriever(spec: RetrieverSpec | str, resources: Resources | None = None) -> Retriever:
    """The retriever that `spec` describes; a name is a method alone.

    Raises UsageError for a name that is no method, or where something is missing that the retriever needs.
    """
    spec = RetrieverSpec(method=spec) if isinstance(spec, str) else spec
    resources = resources or Resources()
    if spec.add or spec.unasked_bonus:
        summed = make_sum(spec.methods, resources, unasked_bonus=spec.unasked_bonus, name=spec.name)
        return _by_sets(summed, 1.0, spec, resources) if spec.sets else summed
    if spec.sets:
        _check_logits(spec.methods)
        base, scale = _of_logits(spec.method, resources, _is_taught(spec.methods, resources))
        return _by_sets(base, scale, spec, resources)
    return _make(spec.method, resources)


def _by_sets(base: Retriever, scale: float, spec: RetrieverSpec, resources: Resources) -> Retriever:
    if not any(len(one) > 1 for one in resources.tool_sets):
        raise UsageError(
            "sets need to know which tools training requests ask for together; give a dataset with requests for several "
            "tools, or a checkpoint after its retrieval stage"
        )
    return ToolSetRetriever(base, resources.tool_sets, scale=scale, name=spec.name)


def make_sum(
    methods: Sequence[str],
    resources: Resources,
    *,
    beside: Sequence[str] = (),
    unasked_bonus: float = 0.0,
    name: str = "",
) -> SumRetriever:
    """The sum of the logits of one or more methods; `beside`: those that it is added to. UsageError as from `make_retriever`,
    and for a method whose scores cannot be logits."""
    _check_logits(methods)
    is_taught = _is_taught((*methods, *beside), resources)
    members = [_of_logits(method, resources, is_taught) for method in methods]
    return SumRetriever(members, unasked_bonus=unasked_bonus, asked_tools=resources.asked_tools, name=name)


def _is_taught(methods: Sequence[str], resources: Resources) -> bool:
    """Whether training requests have taught one of the methods."""
    generates = any(method.startswith("generative") for method in methods)
    is_taught = generates and resources.checkpoint is not None and resources.checkpoint.is_taught
    return is_taught or "toolretriever" in methods


def _of_logits(method: str, resources: Resources, is_taught: bool) -> tuple[Retriever, float]:
    """The method, and what makes its scores logits."""
    if method == "bm25" and not is_taught:
        return BM25Retriever(relative=True), BEST_BM25
    return _make(method, resources), LOGIT_SCALES[method]


def _make(method: str, resources: Resources) -> Retriever:
    """One method by itself."""
    match method:
        case "bm25":
            return BM25Retriever()
        case "dense":
            return _dense(method, resources.dense_model, resources)
        case "toolretriever":
            if resources.encoder is None:
                raise UsageError(
                    "toolretriever needs --encoder ENCODER; train one with: toolgen train encoder DATASET -o ENCODER"
                )
            return _dense(method, resources.encoder, resources)
        case "generative" | "generative-unconstrained":
            return _generative(resources, constrained=method == "generative")
        case _ if method in WRITTEN:
            return _written(method, resources)
    raise _unknown(method)


def _unknown(method: str) -> UsageError:
    return UsageError(f"there is no retriever {method!r}; choose one of {', '.join(RETRIEVERS)}")


def _check_logits(methods: Sequence[str]) -> None:
    """UsageError for a method whose scores are no logits, before anything is fetched or read."""
    for method in methods:
        if method not in RETRIEVERS:
            raise _unknown(method)
        if method not in LOGIT_SCALES:
            raise UsageError(f"the scores of {method!r} are no logits; those of {', '.join(LOGIT_SCALES)} are")


def _dense(name: str, model: Path | None, resources: Resources) -> Retriever:
    from toolgen.fetching import cache_folder, resolve_base

    return DenseRetriever(
        model or resolve_base(DENSE_MODEL),
        name=name,
        cache=resources.cache or cache_folder() / "dense",
        on_progress=resources.on_progress,
    )


def _written(name: str, resources: Resources) -> Retriever:
    llm = resources.llm
    if llm is None:  # before the base, which may have to be fetched
        raise UsageError(
            f"the retriever {name} needs a language model; give --llm BASE for a local one, or --endpoint URL and "
            "--model NAME"
        )
    base = _make(resources.base_retriever or WRITTEN[name], resources)
    if name == "iterfeedback":
        return IterFeedbackRetriever(base, llm)
    if name == "long-context":
        return LongContextRetriever(base, llm)
    from toolgen.fetching import cache_folder

    cache = resources.cache or cache_folder() / "re-invoke"
    return ReInvokeRetriever(base, llm, cache=cache, on_progress=resources.on_progress)


def _generative(resources: Resources, *, constrained: bool) -> Retriever:
    if resources.checkpoint is None:
        raise UsageError(
            "the generative retriever needs a checkpoint; give a trained checkpoint folder, or --retriever bm25 or "
            "dense for a dataset folder"
        )
    from toolgen.retrieval.generative import GenerativeRetriever

    return GenerativeRetriever(
        resources.checkpoint, constrained=constrained, beam=resources.beam, engine=resources.engine
    )
