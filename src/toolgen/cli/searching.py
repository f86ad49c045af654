"""What `search` and `evaluate` share: from a folder that was typed to a catalog and a retriever over it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toolgen.catalog import Catalog
from toolgen.checkpoint import is_checkpoint, read_metadata
from toolgen.checkpoint.calibration import Calibration
from toolgen.checkpoint.layout import (
    CATALOG,
    MARKERS,
    ROW_MAKER,
    added_to_searches,
    has_bags_alone,
    is_kind,
    is_only_indexed,
    keeps_documentation_rows,
)
from toolgen.cli.console import message
from toolgen.datasets import Dataset
from toolgen.errors import InputError, UsageError
from toolgen.fetching import resolve_base
from toolgen.foreign.typed import typed
from toolgen.inference.local_model import LocalModel
from toolgen.llm import EndpointModel, LanguageModel
from toolgen.retrieval import RETRIEVERS, ConfidentRetriever, Resources, Retriever, RetrieverSpec, make_retriever
from toolgen.retrieval.parallel import in_parallel
from toolgen.retrieval.protocol import BEAM
from toolgen.retrieval.registry import LOGIT_SCALES

if TYPE_CHECKING:
    from toolgen.checkpoint import Checkpoint
    from toolgen.inference.engine import Engine

RetrieverOption = Annotated[
    str | None,
    typer.Option(
        "--retriever",
        metavar="NAME",
        help=f"{', '.join(RETRIEVERS)}. By default generative for a checkpoint, bm25 for a dataset. A checkpoint of "
        "`toolgen index` is searched with what its --add chose until it is trained (bm25 and dense by default), by bm25 alone "
        "where its rows are bags of words.",
    ),
]
AddOption = Annotated[
    list[str] | None,
    typer.Option(
        "--add",
        metavar="NAME",
        help=f"Also add the logits of this retriever: {', '.join(LOGIT_SCALES)}; may be repeated.",
    ),
]
BonusOption = Annotated[
    float,
    typer.Option(
        "--unasked-bonus",
        min=-1000,
        max=1000,
        metavar="LOGIT",
        help="Added to tools that are in no training request, which training puts at a disadvantage; 0.75 is a good value.",
    ),
]
SetsOption = Annotated[
    bool, typer.Option("--sets", help="Reorder by the sets of tools that training requests ask for together.")
]

EncoderOption = Annotated[
    Path | None,
    typer.Option("--encoder", metavar="ENCODER", help="What `toolgen train encoder` wrote, for toolretriever."),
]
LlmOption = Annotated[
    str | None,
    typer.Option(
        "--llm",
        metavar="BASE",
        help="The language model of re-invoke, iterfeedback and long-context: a base to fetch or a local model folder.",
    ),
]
EndpointOption = Annotated[
    str | None,
    typer.Option("--endpoint", metavar="URL", help="An OpenAI-compatible endpoint instead; key in OPENAI_API_KEY."),
]
ModelOption = Annotated[str | None, typer.Option("--model", metavar="NAME", help="The endpoint's model.")]
BaseRetrieverOption = Annotated[
    str | None,
    typer.Option(
        "--base-retriever",
        metavar="NAME",
        help="The retriever that these three build on; by default dense, for long-context bm25.",
    ),
]
BeamOption = Annotated[
    int | None,
    typer.Option(
        "--beam",
        min=1,
        help="Where a tool is several tokens: beginnings of tools that the search keeps at each step, at least as many as "
        f"results; by default {BEAM}.",
    ),
]


def decline_rate_option(help_text: str) -> Any:
    """`--decline-rate`, whose text says what declines."""
    return typer.Option("--decline-rate", min=0, max=1, metavar="SHARE", help=help_text)


DeclineRateOption = Annotated[
    float | None,
    decline_rate_option(
        "Decline where the first tool is too unsure: at most this share of the requests that a tool answers."
    ),
]


def has_weights(folder: Path) -> bool:
    """True for a checkpoint, False for a dataset, InputError for anything else."""
    if is_checkpoint(folder) or is_kind(folder, "dataset"):
        return is_checkpoint(folder)
    raise InputError(
        f"{folder} is neither a checkpoint ({MARKERS['checkpoint']}) nor a dataset ({MARKERS['dataset']}); "
        "give a folder that `toolgen train` or `toolgen catalog build` wrote"
    )


def origin_of(folder: Path) -> dict[str, str]:
    """What a result records of the checkpoint it was measured on: its folder and base model. Nothing for a dataset."""
    if not has_weights(folder):
        return {}
    return {"checkpoint": str(folder), "model": Path(read_metadata(folder)["base"]).name}


def load_catalog(folder: Path) -> Catalog:
    """The catalog of a checkpoint or dataset folder, without reading weights or queries."""
    has_weights(folder)
    return Catalog.load(folder / CATALOG)


def given_llm(base: str | None, endpoint: str | None, model: str | None) -> LanguageModel | None:
    """The language model that was asked for; None if none was."""
    return open_llm(base or "", endpoint, model) if base or endpoint or model else None


def open_llm(base: str, endpoint: str | None, model: str | None) -> LanguageModel:
    """A language model behind the endpoint if one is given, else the local `base`."""
    if (endpoint is None) != (model is None):
        raise UsageError("an endpoint needs --endpoint URL and --model NAME together")
    if endpoint is not None and model is not None:
        return EndpointModel(model, endpoint)
    return LocalModel(resolve_base(base, on_message=message))


def open_retriever(
    folder: Path,
    method: str | None,
    *,
    add: Sequence[str] | None = None,
    unasked_bonus: float = 0.0,
    sets: bool = False,
    beam: int | None = None,
    decline_rate: float | None = None,
    encoder: Path | None = None,
    llm: LanguageModel | None = None,
    base_retriever: str | None = None,
    dataset: Dataset | None = None,
    checkpoint: Checkpoint | None = None,
    engine: Engine | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Retriever:
    """The retriever for a checkpoint or dataset folder (see `RetrieverSpec`); a checkpoint is read only where it is needed, and
    if no `checkpoint`, with the `engine` that makes its passes, is handed in.

    `dataset` is the one whose requests are searched for, if there is one: its catalog is shared, and its training requests say
    which tools were asked for, and which together; otherwise the checkpoint does. Of several processes each ranks its part of
    the requests.

    Where neither a method nor one to add is named, a checkpoint that `toolgen index` made and nothing trained adds what was
    chosen then; where its rows are bags of words, BM25 searches alone. UsageError for a `decline_rate` without a calibration.
    """
    has_checkpoint = has_weights(folder)
    metadata = read_metadata(folder) if has_checkpoint else {}
    method, add = (method, add) if method or add else _by_default(folder, metadata)
    method = method or ("generative" if has_checkpoint else "bm25")
    spec = RetrieverSpec(method=method, add=tuple(add or ()), unasked_bonus=unasked_bonus, sets=sets)
    tool_sets = dataset.tool_sets if dataset and sets else ()
    asked_tools = dataset.asked_tools if dataset else ()
    needs_record = (sets and not tool_sets) or (unasked_bonus and not asked_tools)  # of the checkpoint's training
    generates = any(name.startswith("generative") for name in spec.methods)
    if checkpoint is None and has_checkpoint and (generates or needs_record):
        from toolgen.checkpoint import Checkpoint

        checkpoint = Checkpoint.load(folder, catalog=dataset.catalog if dataset else None)
    retriever = make_retriever(
        spec,
        Resources(
            checkpoint=checkpoint,
            engine=engine,
            beam=beam,
            encoder=encoder,
            llm=llm,
            base_retriever=base_retriever,
            tool_sets=tool_sets or (checkpoint.tool_sets if checkpoint else ()),
            asked_tools=asked_tools or (checkpoint.asked_tools if checkpoint else ()),
            on_progress=on_progress,
        ),
    )
    return in_parallel(_confident(retriever, folder, metadata, decline_rate))


def _by_default(folder: Path, metadata: Mapping[str, Any]) -> tuple[str | None, Sequence[str]]:
    """The method, None for that of the folder, and those that are added, where nothing is named."""
    if not metadata:
        return None, ()
    has_row_maker = (folder / ROW_MAKER).is_file()
    if has_bags_alone(metadata, has_row_maker=has_row_maker):
        return "bm25", ()
    if is_only_indexed(metadata):
        return None, added_to_searches(metadata)
    # a tool that no request asks for is found better with it (docs/results/bfcl.md)
    has_unasked = len(metadata["asked_tools"]) < len(metadata["vocabulary"]["tokens"])
    keeps_rows = keeps_documentation_rows(metadata, has_row_maker=has_row_maker)
    return None, ("bm25",) if keeps_rows and has_unasked else ()


def _confident(
    retriever: Retriever, folder: Path, metadata: Mapping[str, Any], decline_rate: float | None
) -> Retriever:
    """The retriever, which says how sure it is if the checkpoint is calibrated for it."""
    calibrations = typed(dict[str, Calibration], metadata.get("calibrations", {}))
    if retriever.name in calibrations:
        return ConfidentRetriever(retriever, calibrations[retriever.name], decline_rate)
    if decline_rate is not None:
        raise UsageError(
            f"--decline-rate: {folder} is not calibrated for {retriever.name}; run `toolgen calibrate {folder} DATASET` with "
            "the same retriever"
        )
    return retriever
