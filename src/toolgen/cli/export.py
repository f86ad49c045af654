"""`toolgen export`: a checkpoint in the form of another engine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from toolgen.checkpoint.layout import Precision
from toolgen.cli.console import JsonOption, emit, progress
from toolgen.cli.outputs import file_output, shown_size
from toolgen.errors import UsageError


def register(app: typer.Typer) -> None:
    """Adds `export gguf`."""
    group = typer.Typer(no_args_is_help=True)
    group.command("gguf", epilog="Example: toolgen export gguf CKPT -o tools.gguf --precision q8_0")(gguf)
    app.add_typer(group, name="export", help="Write a checkpoint in the form of another engine.")


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
