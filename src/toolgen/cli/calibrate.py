"""`toolgen calibrate`: how sure the rankings of a checkpoint are, from requests that it was not trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from toolgen.checkpoint import read_metadata
from toolgen.checkpoint.layout import METADATA
from toolgen.cli.console import JsonOption, emit, message, progress
from toolgen.cli.searching import AddOption, EncoderOption, RetrieverOption, has_weights, open_retriever
from toolgen.datasets import load_dataset
from toolgen.datasets.splits import Split
from toolgen.errors import UsageError
from toolgen.files import locked, write_json
from toolgen.retrieval.confidence import calibrate as fit
from toolgen.retrieval.parallel import check_one_process

MOST_REQUESTS = 1000
"""Requests that a calibration reads, evenly spread over the split."""


def register(app: typer.Typer) -> None:
    """Adds `calibrate`."""
    app.command("calibrate", epilog="Example: toolgen calibrate CKPT DATASET --split dev")(calibrate)


def calibrate(
    checkpoint: Annotated[Path, typer.Argument(metavar="CKPT", help="A checkpoint folder; it is changed in place.")],
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="A dataset folder with the same catalog.")],
    split: Annotated[Split, typer.Option("--split", help="Whose requests; not those of training.")] = "dev",
    retriever: RetrieverOption = None,
    add: AddOption = None,
    encoder: EncoderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let searches say how likely the first tool is a right one, and decline by `--decline-rate`.

    Fits a logistic regression on the best scores for requests of a split; each that a tool answers is also read with its tools
    hidden, as one that none does. Training forgets it. `toolgen index` fits one on requests by rules.
    """
    check_one_process("calibrate")  # the others would wait for the checkpoint, and the first one for them
    if not has_weights(checkpoint):
        raise UsageError(f"{checkpoint} is a dataset; a calibration needs a checkpoint")
    requests = load_dataset(dataset)
    queries = requests.requests(split)
    some = [(query.text, query.tools) for query in queries[:: -(-len(queries) // MOST_REQUESTS) or 1]]
    with locked(checkpoint, lambda: message(f"another process is changing {checkpoint}; waiting for it")):
        finder = open_retriever(checkpoint, retriever, add=add, encoder=encoder, dataset=requests)
        finder.index(requests.catalog)
        with progress("calibrating") as on_progress:
            found = fit(finder, some, on_progress)
        metadata = read_metadata(checkpoint)
        calibrations = {**metadata.get("calibrations", {}), finder.name: found.to_dict()}
        write_json(checkpoint / METADATA, {**metadata, "calibrations": calibrations})
    answer: dict[str, Any] = {
        "checkpoint": str(checkpoint),
        "retriever": finder.name,
        "requests": len(some),
        "answerable": len(found.confidences),
        "weights": list(found.weights),
    }
    emit(answer, as_json, lambda: _text(answer))


def _text(answer: dict[str, Any]) -> str:
    return (
        f"calibrated {answer['retriever']} of {answer['checkpoint']} on {answer['requests']:,} requests, "
        f"{answer['answerable']:,} of which some tool answers"
    )
