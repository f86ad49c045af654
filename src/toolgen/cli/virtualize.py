"""`toolgen virtualize`: a catalog becomes tokens of a base model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from toolgen.cli.console import JsonOption, emit, message
from toolgen.cli.outputs import checkpoint_output, folder_size, hint, shown_size
from toolgen.datasets import load_dataset
from toolgen.fetching import resolve_base

DEFAULT_BASE = "smollm2-135m-instruct"

# Repeated from toolgen.virtualization, which cannot be imported without torch; a test compares the two.
InitOption = Annotated[
    Literal["documentation", "name", "random"],
    typer.Option(
        "--init",
        help="First value of a tool's row: a bag of the words of its documentation, the mean of the embeddings of "
        "its name (as in the paper), or random (a control).",
    ),
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
            "--base", metavar="BASE", help="A folder with a Hugging Face causal model, or this name, which is fetched."
        ),
    ] = DEFAULT_BASE,
    init: InitOption = "documentation",
    indexing: Annotated[Literal["atomic"], typer.Option("--indexing", help="atomic: one token a tool.")] = "atomic",
    seed: Annotated[int, typer.Option("--seed", help="Of the rows, for --init random.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing checkpoint.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Add one token a tool to a base model: new rows in its input and output matrix, and our chat template.

    The checkpoint is an ordinary Hugging Face model folder. It does not know its tools yet: train it.
    """
    catalog = load_dataset(dataset).catalog
    with checkpoint_output(output, overwrite=overwrite):
        folder = resolve_base(base, on_message=message)
        message(f"adding {len(catalog):,} tools to {base}")
        from toolgen.checkpoint import Checkpoint

        made = Checkpoint.create(folder, catalog, initialization=init, seed=seed)
        # The name that was typed says more, on every machine, than the place of the cache on this one.
        checkpoint = replace(made, base=base)
        checkpoint.save(output)
    answer = {
        "checkpoint": str(output),
        "base": base,
        "indexing": indexing,
        "tools": len(catalog),
        "first_token_id": checkpoint.vocabulary.first_id,
        "rows": int(checkpoint.model.get_input_embeddings().weight.shape[0]),
        "parameters": sum(parameter.numel() for parameter in checkpoint.model.parameters()),
        "bytes": folder_size(output),
    }
    emit(answer, as_json, lambda: _text(answer))
    hint(f"toolgen train memorization {output} {dataset} -o CKPT")


def _text(answer: dict[str, Any]) -> str:
    return (
        f"wrote {answer['checkpoint']}: {answer['tools']:,} tools of {answer['rows']:,} rows, "
        f"{answer['parameters']:,} parameters, {shown_size(answer['bytes'])}"
    )
