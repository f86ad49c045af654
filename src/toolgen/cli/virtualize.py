"""`toolgen virtualize`: a catalog becomes tokens of a base model."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toolgen.catalog import Catalog
from toolgen.checkpoint.layout import weights_of
from toolgen.cli.console import MAX_SEED, JsonOption, emit, message, progress
from toolgen.cli.outputs import checkpoint_output, folder_size, hint, shown_size
from toolgen.datasets import load_dataset
from toolgen.fetching import resolve_base
from toolgen.fetching.parts import reading_folder
from toolgen.virtualization import Indexing, Initialization

if TYPE_CHECKING:
    from toolgen.checkpoint import Checkpoint

DEFAULT_BASE = "toolgen-135m"  # has learned to make rows of documentation
TEXT_BASE = "smollm2-135m-instruct"  # what it was made of, for text alone

InitOption = Annotated[
    Initialization | None,
    typer.Option(
        "--init",
        show_default=False,
        help="First value of a tool's row: a bag of the words of its documentation, the mean of the embeddings of "
        "its name (as in the paper), or random (a control). By default what a base of `toolgen pretrain` makes of the "
        "documentation; with another base, the bag.",
    ),
]

IndexingOption = Annotated[
    Indexing,
    typer.Option(
        "--indexing",
        help="atomic: one token a tool. With few shared tokens: numeric (its number, digit by digit), hierarchical (its path "
        "through clusters of documentation), codes (two learned codes); semantic: its name, in the base's own tokens.",
    ),
]

SpareOption = Annotated[
    int, typer.Option("--spare", min=0, help="Tokens to add for tools that come later (`toolgen tools add`).")
]


def register(app: typer.Typer) -> None:
    """Adds `virtualize`."""
    example = f"Example: toolgen virtualize DATASET --base {DEFAULT_BASE} -o CKPT"
    app.command("virtualize", epilog=example)(virtualize)


def virtualize(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="The dataset folder with the catalog.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="CKPT", help="The checkpoint folder to write.")],
    base: Annotated[
        str,
        typer.Option(
            "--base", metavar="BASE", help="A folder with a Hugging Face causal language model, or a name to fetch."
        ),
    ] = DEFAULT_BASE,
    init: InitOption = None,
    indexing: IndexingOption = "atomic",
    seed: Annotated[
        int,
        typer.Option("--seed", min=0, max=MAX_SEED, help="Of the rows for --init random, and of clusters and codes."),
    ] = 0,
    spare: SpareOption = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing checkpoint.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Add one token a tool to a base model: new rows in its input and output matrices, and our chat template.

    The checkpoint is an ordinary Hugging Face model folder. It does not know its tools yet: train it.
    """
    data = load_dataset(dataset)
    catalog = data.catalog
    with checkpoint_output(output, dataset, base, overwrite=overwrite):
        checkpoint = virtualized(
            base, catalog, indexing=indexing, tool_sets=data.tool_sets, init=init, seed=seed, spare=spare
        )
        checkpoint.save(output)
    answer = {
        "checkpoint": str(output),
        "base": base,
        "indexing": indexing,
        "tools": len(catalog),
        "new_tokens": len(checkpoint.vocabulary.tool_token_ids),
        "tokens_per_tool": checkpoint.vocabulary.tokens_per_tool,
        "first_token_id": checkpoint.vocabulary.first_id,
        "rows": int(checkpoint.model.get_input_embeddings().weight.shape[0]),
        "parameters": sum(parameter.numel() for parameter in checkpoint.model.parameters()),
        "bytes": folder_size(output),
    }
    emit(answer, as_json, lambda: _text(answer))
    hint("toolgen train memorization {output} {dataset} -o CKPT", output=output, dataset=dataset)


def virtualized(
    base: str,
    catalog: Catalog,
    *,
    indexing: Indexing = "atomic",
    tool_sets: Sequence[Sequence[str]] = (),
    init: Initialization | None = None,
    seed: int = 0,
    spare: int = 0,
) -> Checkpoint:
    """A base, by its name or folder, with the tools of a catalog; see `virtualize`."""
    folder = resolve_base(base, on_message=message)
    message(f"adding {len(catalog):,} tools to {base}")
    from toolgen.checkpoint import Checkpoint
    from toolgen.inference.passes import check_passes
    from toolgen.inference.row_maker import RowMaker, has_row_maker, write_rows

    made = Checkpoint.create(
        folder,
        catalog,
        indexing=indexing,
        tool_sets=tool_sets,
        initialization=init or "documentation",
        seed=seed,
        spare=spare,
    )
    reads = init is None and indexing == "atomic" and has_row_maker(folder)
    if reads:
        made.to()
    check_passes(made.model)
    if reads:
        parts = reading_folder(weights_of(folder), catalog.content_hash)
        with progress("reading documentation") as on_progress:
            write_rows(made, RowMaker.load(folder, made.model.config.hidden_size), on_progress, parts)
        shutil.rmtree(parts, ignore_errors=True)
    # The name that was typed says more, on every machine, than the place of the cache on this one.
    return replace(made, base=base)


def _text(answer: dict[str, Any]) -> str:
    shared = f"{answer['new_tokens']:,} shared tokens, {answer['tokens_per_tool']:.1f} a tool, "
    return (
        f"wrote {answer['checkpoint']}: {answer['tools']:,} tools of {answer['rows']:,} rows, "
        f"{'' if answer['indexing'] == 'atomic' else shared}{answer['parameters']:,} parameters, {shown_size(answer['bytes'])}"
    )
