"""`toolgen index`: from sources to a checkpoint that can be searched, without training."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toolgen.catalog import Catalog
from toolgen.checkpoint.layout import has_bags_alone
from toolgen.cli.console import JsonOption, emit, message, progress
from toolgen.cli.outputs import checkpoint_output, folder_size, hint, shown_size
from toolgen.cli.tool_sources import (
    DedupeOption,
    ExcludeOption,
    IncludeOption,
    PrefixOption,
    ReferencesOption,
    SourcesArgument,
    StrictOption,
    read_sources,
    tell_reports,
)
from toolgen.cli.virtualize import DEFAULT_BASE, virtualized
from toolgen.errors import FetchError, UsageError, nearest
from toolgen.fetching import resolve_base
from toolgen.retrieval import Resources, RetrieverSpec, calibrate, make_retriever, make_sum
from toolgen.retrieval.registry import DENSE_MODEL

if TYPE_CHECKING:
    from toolgen.checkpoint import Checkpoint

SPARE = 64
ADDED = ("bm25", "dense")
"""What searches of an index add by default, and can add: what needs nothing but the catalog."""

SpareOption = Annotated[
    int, typer.Option("--spare", min=0, help="Tokens to add for tools that come later (`toolgen tools add`).")
]
AddedOption = Annotated[
    list[str] | None,
    typer.Option(
        "--add",
        metavar="NAME",
        help="What searches add to the model's logits unless they name something: bm25, dense; may be repeated. By default "
        "both, or bm25 where toolgen[dense] is not installed.",
    ),
]


def register(app: typer.Typer) -> None:
    """Adds `index`."""
    app.command("index", epilog="Example: toolgen index openapi:api.yaml 'mcp:python -m mcp_server_time' -o CKPT")(
        index
    )


def index(
    ctx: typer.Context,
    sources: SourcesArgument,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="CKPT", help="The checkpoint folder to write.")],
    base: Annotated[
        str, typer.Option("--base", metavar="BASE", help="A model folder, or a name that is fetched.")
    ] = DEFAULT_BASE,
    include: IncludeOption = None,
    exclude: ExcludeOption = None,
    prefix: PrefixOption = None,
    dedupe: DedupeOption = False,
    allow_references: ReferencesOption = False,
    strict: StrictOption = False,
    fit: Annotated[
        bool | None,
        typer.Option(
            "--fit/--no-fit",
            show_default=False,
            help="Fit the rows to BM25 and the sentence encoder in closed form if that finds more, up to 4,096 tools. By "
            "default with a base that has not learned to make rows of documentation.",
        ),
    ] = None,
    spare: SpareOption = SPARE,
    add: AddedOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing checkpoint.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a checkpoint of tools that can be searched at once: tokens, and rows from the documentation; no training.

    SOURCE is what `toolgen catalog build` reads, or a dataset folder that it wrote. Training on requests makes it better later.
    """
    _check_added(add or ())
    start = time.perf_counter()
    with checkpoint_output(output, *sources, *(source.partition(":")[2] for source in sources), overwrite=overwrite):
        dataset = read_sources(
            ctx,
            sources,
            output.resolve().name,
            include=include,
            exclude=exclude,
            prefix=prefix,
            dedupe=dedupe,
            allow_references=allow_references,
        )
        tell_reports(dataset, strict=strict)
        made = indexed(dataset.catalog, base, fit=fit, spare=spare, add=add)
        made.save(output)
    answer = {
        "checkpoint": str(output),
        "base": base,
        "tools": len(dataset.catalog),
        "rows": made.stages[-1].config["rows"],
        "found": dict(made.stages[-1].result),
        "spare_tokens": spare,
        "bytes": folder_size(output),
        "seconds": round(time.perf_counter() - start, 1),
        "reports": [report.to_dict() for report in dataset.reports],
    }
    emit(answer, as_json, lambda: _text(answer))
    hint('toolgen search {output} "what you want to do"', output=output)


def _check_added(names: Sequence[str]) -> None:
    for name in names:
        if name not in ADDED:
            raise UsageError(f"--add {name}: searches of an index can add {' and '.join(ADDED)}{nearest(name, ADDED)}")


def indexed(
    catalog: Catalog,
    base: str = DEFAULT_BASE,
    *,
    fit: bool | None = None,
    spare: int = SPARE,
    add: Sequence[str] | None = None,
) -> Checkpoint:
    """A catalog's checkpoint, not yet written. Fitted by default if the base has no row maker."""
    made = virtualized(base, catalog, spare=spare)
    if fit is None:
        fit = made.row_maker is None
    if fit:
        return _fitted(made, catalog, add or ("bm25",))
    return _unfitted(made, add or (("bm25",) if made.row_maker is None else _default_sum()))


def _default_sum() -> Sequence[str]:
    """What searches add to rows that documentation has made. BM25 and a sentence encoder know different things of tools that
    nobody has asked for (docs/results/cold-start.md)."""
    if not _reads_encoders("searches add BM25 alone, and find less"):
        return ("bm25",)
    try:
        resolve_base(DENSE_MODEL, on_message=message)
    except FetchError as error:
        message(f"{error}; searches add BM25 alone, and find less")
        return ("bm25",)
    return ADDED


def _reads_encoders(otherwise: str) -> bool:
    """Whether sentence encoders can be read here; if not, a line says what happens without them."""
    if find_spec("sentence_transformers") is None:
        message(f"sentence-transformers is not installed (toolgen[dense]): {otherwise}")
        return False
    return True


def _fitted(made: Checkpoint, catalog: Catalog, added: Sequence[str]) -> Checkpoint:
    from toolgen.training.cold_start import MOST_TOOLS, fit_documentation

    if len(catalog) > MOST_TOOLS:
        message(f"more than {MOST_TOOLS:,} tools: their rows stay as the documentation makes them")
        return _unfitted(made, added)
    names = ["bm25", "dense"] if _reads_encoders("rows are fitted to BM25 alone") else ["bm25"]
    with progress("encoding tools") as on_progress:
        teacher = make_sum(names, Resources(on_progress=on_progress))
        teacher.index(catalog)
    with progress("reading descriptions") as on_progress:
        fitted = fit_documentation(
            made.to(),
            teacher.score_all,
            settings={"teacher": teacher.config, "added": list(added)},
            on_progress=on_progress,
        )
    return _calibrated(fitted, added)


def _calibrated(made: Checkpoint, added: Sequence[str]) -> Checkpoint:
    """How sure its rankings are, by requests by rules, for the retriever that searches take by default."""
    from toolgen.training.cold_start import requests_by_rule

    requests = [(text, (made.catalog.ids[place],)) for text, place in requests_by_rule(made)]
    if not requests:
        return made
    has_bags = has_bags_alone(made.metadata, has_row_maker=made.row_maker is not None)
    spec = RetrieverSpec(method="bm25") if has_bags else RetrieverSpec(method="generative", add=tuple(added))
    with progress("encoding tools") as on_progress:
        retriever = make_retriever(spec, Resources(checkpoint=made, on_progress=on_progress))
        retriever.index(made.catalog)
    with progress("calibrating") as on_progress:
        return replace(made, calibrations={retriever.name: calibrate(retriever, requests, on_progress)})


def _unfitted(made: Checkpoint, added: Sequence[str]) -> Checkpoint:
    from toolgen.checkpoint import StageRecord

    entry = StageRecord(stage="index", config={"rows": "made", "added": list(added)})
    plain = replace(made, stages=(*made.stages, entry))
    return plain if made.row_maker is None else _calibrated(plain, added)


def _text(answer: dict[str, Any]) -> str:
    ways = {
        "made": "rows from documentation",
        "fitted": "rows fitted in closed form",
        "both": "rows from documentation and fitted in closed form",
    }
    return (
        f"wrote {answer['checkpoint']}: {answer['tools']:,} tools, {ways[answer['rows']]}, {shown_size(answer['bytes'])}, "
        f"{answer['seconds']:.1f} s"
    )
