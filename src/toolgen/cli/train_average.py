"""`toolgen train average`: the mean of the weights of several checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolgen.cli.console import JsonOption, emit
from toolgen.cli.outputs import checkpoint_output


def average(
    checkpoints: Annotated[
        list[Path], typer.Argument(metavar="CKPT...", help="At least two, trained from the same virtualized model.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="CKPT2", help="The checkpoint folder to write.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing checkpoint CKPT2.")] = False,
    as_json: JsonOption = False,
) -> None:
    """The mean of the weights of several checkpoints: runs with another seed, other requests or other settings.

    It takes no longer to search than one; whether it finds better than each has to be measured. Source: Model soups, arXiv
    2203.05482.
    """
    with checkpoint_output(output, overwrite=overwrite):
        from toolgen.training.average import average_checkpoints

        average_checkpoints(checkpoints).save(output)
    answer = {"checkpoint": str(output), "mean_of": [str(folder) for folder in checkpoints]}
    emit(answer, as_json, lambda: f"wrote {output}: the mean of {len(checkpoints)} checkpoints")
