"""`toolgen train encoder`: ToolRetriever, the sentence encoder trained on the same requests, to compare with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from toolgen.cli.console import MAX_SEED, JsonOption, emit, message
from toolgen.cli.outputs import checkpoint_output, hint
from toolgen.cli.training_progress import duration, training_progress
from toolgen.datasets import load_dataset
from toolgen.fetching import resolve_base
from toolgen.retrieval.registry import DENSE_MODEL


def encoder(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="The dataset folder with the training requests.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="ENCODER", help="The encoder folder to write.")],
    base: Annotated[
        str,
        typer.Option("--base", metavar="BASE", help="A sentence-transformers folder, or a name to fetch."),
    ] = DENSE_MODEL,
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Passes over the training requests.")] = 5,
    batch_size: Annotated[int, typer.Option("--batch-size", min=2, help="Requests a step.")] = 32,
    learning_rate: Annotated[
        float, typer.Option("--learning-rate", min=0, max=1, help="Peak; it rises, then falls to zero.")
    ] = 2e-5,
    seed: Annotated[int, typer.Option("--seed", min=0, max=MAX_SEED, help="Of the order of requests.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing encoder.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Train the baseline ToolRetriever: a sentence encoder, on the requests of the train split.

    Source: ToolLLM, arXiv 2307.16789. It is used as --retriever toolretriever --encoder ENCODER.
    """
    data = load_dataset(dataset)
    from toolgen.training.encoder import EncoderConfig, encoder_steps, train_encoder

    config = EncoderConfig(epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, seed=seed)
    with checkpoint_output(output, dataset, base, overwrite=overwrite, kind="encoder"):
        folder = resolve_base(base, on_message=message)
        with training_progress("encoder", encoder_steps(data, config)) as on_step:
            record = train_encoder(folder, data, output, config, on_step=on_step)
    answer = {"encoder": str(output), "base": base, **record}
    emit(answer, as_json, lambda: _text(answer))
    command = "toolgen evaluate retrieval {dataset} {dataset} --retriever toolretriever --encoder {output} -o RESULT"
    hint(command, output=output, dataset=dataset)


def _text(answer: dict[str, Any]) -> str:
    return (
        f"wrote {answer['encoder']}: {answer['steps']:,} steps over {answer['requests']:,} requests, "
        f"loss {answer['loss']:.3f}, in {duration(answer['seconds'])}"
    )
