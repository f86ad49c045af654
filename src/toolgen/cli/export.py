"""`toolgen export`: a checkpoint in the form of another engine, and its model card with figures."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from toolgen.checkpoint.layout import Precision
from toolgen.cli.console import JsonOption, emit, progress
from toolgen.cli.outputs import file_output, shown_size
from toolgen.errors import InputError, UsageError


def register(app: typer.Typer) -> None:
    """Adds `export gguf` and `export card`."""
    group = typer.Typer(no_args_is_help=True)
    group.command("gguf", epilog="Example: toolgen export gguf CKPT -o tools.gguf --precision q8_0")(gguf)
    group.command("card", epilog="Example: toolgen export card CKPT retrieval.json --hub bfcl=ORG/DATASET")(card)
    app.add_typer(group, name="export", help="Write a checkpoint for another engine, or its model card with figures.")


def gguf(
    checkpoint: Annotated[Path, typer.Argument(metavar="CKPT", help="The checkpoint.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The GGUF file to write.")],
    precision: Annotated[
        Precision, typer.Option("--precision", help="Of the weight matrices; vectors stay in fp32.")
    ] = "f16",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write one GGUF file for llama.cpp, with the vocabulary intact: a token has the same id there.

    llama.cpp does not know which tokens are tools: that only they are chosen, and that arguments are valid, is what
    `toolgen serve` adds.
    """
    file_output(output, checkpoint)
    if output.exists() and not overwrite:
        raise UsageError(f"{output} exists; give another output file, or --overwrite to replace it")
    from toolgen.checkpoint import Checkpoint
    from toolgen.checkpoint.gguf import export_gguf

    loaded = Checkpoint.load(checkpoint)
    with progress("writing tensors") as on_tensor:
        export_gguf(loaded, output, precision, on_tensor)
    answer: dict[str, Any] = {
        "file": str(output),
        "precision": precision,
        "tools": len(loaded.catalog),
        "rows": loaded.model.get_input_embeddings().weight.shape[0],
        "first_token_id": loaded.vocabulary.first_id,
        "bytes": output.stat().st_size,
    }
    emit(
        answer,
        as_json,
        lambda: f"wrote {output}: {answer['tools']:,} tools, {precision}, {shown_size(answer['bytes'])}",
    )


def card(
    checkpoint: Annotated[Path, typer.Argument(metavar="CKPT", help="The checkpoint; its README.md is written anew.")],
    results: Annotated[
        list[Path], typer.Argument(metavar="RESULT...", help="What `toolgen evaluate` measured with this checkpoint.")
    ],
    hub: Annotated[
        list[str] | None,
        typer.Option(
            "--hub", metavar="NAME=ORG/DATASET", help="The id of a dataset on the Hub, for .eval_results; repeatable."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write figures into the model card of a checkpoint, and into .eval_results for datasets that the Hub knows.

    Every checkpoint has a card: base, catalog, stages, licences, limits. Saving it again writes the card without figures.
    """
    from toolgen.checkpoint import Checkpoint
    from toolgen.checkpoint.card import CARD, EVAL_RESULTS, write_card
    from toolgen.evaluation import load_result
    from toolgen.evaluation.card import card_figures

    ids = dict(_hub_id(text) for text in hub or ())
    loaded = Checkpoint.load(checkpoint, device="cpu")
    figures = []
    for path in results:
        result = load_result(path)
        if (found := result.provenance.catalog.get("hash")) != loaded.catalog.content_hash:
            raise InputError(f"{path} was measured over another catalog ({found!s:.12}); give a result of {checkpoint}")
        figures += card_figures(result, ids.get(result.provenance.dataset["name"]))
    write_card(loaded, checkpoint, figures)
    written = [str(checkpoint / CARD), *([str(checkpoint / EVAL_RESULTS)] if ids else [])]
    emit({"files": written, "figures": len(figures)}, as_json, lambda: f"{len(figures)} figures: {', '.join(written)}")


def _hub_id(text: str) -> tuple[str, str]:
    name, _, found = text.partition("=")
    if not name or not re.fullmatch(r"[\w.-]+/[\w.-]+", found):
        raise UsageError(f"--hub {text}: expected NAME=ORG/DATASET, the dataset's name and its id on the Hub")
    return name, found
