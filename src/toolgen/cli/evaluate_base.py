"""`toolgen evaluate base`: what is left of the base's own ability in a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group
from rich.table import Table

from toolgen.checkpoint import read_metadata
from toolgen.cli.console import JsonOption, emit, message, progress
from toolgen.cli.outputs import file_output
from toolgen.cli.searching import has_weights
from toolgen.errors import UsageError
from toolgen.fetching import resolve_base
from toolgen.files import write_json
from toolgen.foreign.data import read_text

if TYPE_CHECKING:
    from toolgen.evaluation.base import BaseResult


def base(
    checkpoint: Annotated[Path, typer.Argument(metavar="CKPT", help="A checkpoint.")],
    untouched: Annotated[
        str | None,
        typer.Option("--base", metavar="BASE", help="The untouched base; by default the one that it was made from."),
    ] = None,
    texts: Annotated[
        list[Path] | None,
        typer.Option("--text", metavar="FILE", help="A text of your own, measured beside them; may be repeated."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="RESULT", help="Where to write the result as JSON.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure what is left of the base's own ability, beside the untouched base.

    Perplexity and likeliest next tokens on prose in the public domain and on code of Python's standard library, and a
    handful of plain questions. A base knows such famous prose by heart; --text measures on what you write or read.
    """
    if not has_weights(checkpoint):
        raise UsageError(f"{checkpoint} is a dataset; this needs a checkpoint")
    file_output(output, checkpoint, *(texts or ()))
    more = {str(path): read_text(path) for path in texts or ()}
    name = untouched or read_metadata(checkpoint)["base"]
    folder = resolve_base(name, on_message=message)
    from toolgen.checkpoint import Checkpoint
    from toolgen.evaluation.base import evaluate_base, open_base

    with progress("asking the checkpoint and its base") as on_progress:
        loaded = Checkpoint.load(checkpoint)
        result = evaluate_base(loaded, open_base(folder, loaded.model.device), more=more, on_progress=on_progress)
    answer = {"checkpoint": str(checkpoint), "base": name, **result.to_dict()}
    if output:
        write_json(output, answer)
        message(f"wrote {output}")
    emit(answer, as_json, lambda: _table(result))


def _table(result: BaseResult) -> Group:
    table = Table(box=None, pad_edge=False)
    for name in ("text", "tokens", "perplexity", "of the base", "ratio", "same next token"):
        table.add_column(name, justify="left" if name == "text" else "right")
    for name, one in result.texts.items():
        figures = f"{one.perplexity:.2f}", f"{one.base_perplexity:.2f}", f"{one.ratio:.3f}", f"{one.agreement:.1%}"
        table.add_row(name, f"{one.tokens:,}", *figures)
    right, base_right = (sum(one) for one in zip(*((q.right, q.base_right) for q in result.questions), strict=True))
    return Group(table, f"plain questions answered: {right} of {len(result.questions)}, by the base {base_right}")
