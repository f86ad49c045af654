"""`toolgen train distill`: a retriever's logits into the rows of tools, in closed form."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from toolgen.cli.console import JsonOption, emit, progress
from toolgen.cli.outputs import checkpoint_output, hint
from toolgen.cli.searching import EncoderOption
from toolgen.datasets import load_dataset
from toolgen.retrieval import Resources, make_sum

TEACHER = ("bm25", "toolretriever")


def distill(
    checkpoint: Annotated[Path, typer.Argument(metavar="CKPT", help="A trained checkpoint of atomic indexing.")],
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="A dataset folder with the same catalog.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="CKPT2", help="The checkpoint folder to write.")],
    teacher: Annotated[
        list[str] | None,
        typer.Option(
            "--teacher",
            metavar="NAME",
            help="A retriever; may be repeated, to add their logits. By default bm25 and toolretriever.",
        ),
    ] = None,
    encoder: EncoderOption = None,
    strength: Annotated[
        float,
        typer.Option("--strength", min=0, max=1e6, help="Weight of the teacher's logits against the model's own."),
    ] = 1.5,
    penalty: Annotated[
        float,
        typer.Option("--penalty", min=0, max=1e9, help="Ridge penalty: weight, in texts, that pulls rows toward zero."),
    ] = 30.0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing checkpoint CKPT2.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Distill a retriever's logits into the rows of tools, by one linear regression on the model's hidden states.

    It reads the training requests and each tool's description once and changes nothing else; search stays as fast. More
    requests help, also those by rules of `toolgen catalog queries`. Source: matching logits, arXiv 1312.6184.
    """
    with checkpoint_output(output, checkpoint, dataset, encoder, overwrite=overwrite):
        from toolgen.checkpoint import Checkpoint
        from toolgen.retrieval.generative import GenerativeRetriever
        from toolgen.training.distillation import distill as add_imitation
        from toolgen.training.distillation import distillation_texts
        from toolgen.training.run import check_catalog

        data = load_dataset(dataset)
        before = Checkpoint.load(checkpoint, catalog=data.catalog)
        check_catalog(before, data)
        retriever = make_sum(teacher or TEACHER, Resources(encoder=encoder))
        retriever.index(before.catalog)
        with progress("distilling") as on_progress:
            after = add_imitation(
                before,
                distillation_texts(data),
                GenerativeRetriever(before).hidden_states,
                retriever.score_all,
                strength=strength,
                penalty=penalty,
                settings={"teacher": retriever.config},
                on_progress=on_progress,
            )
        after.save(output)
    entry = after.stages[-1]
    answer = {"checkpoint": str(output), **entry.examples, **entry.config, **entry.result}
    emit(answer, as_json, lambda: _text(answer, retriever.name))
    hint("toolgen evaluate retrieval {output} {dataset} -o RESULT", output=output, dataset=dataset)


def _text(answer: dict[str, Any], teacher: str) -> str:
    return (
        f"wrote {answer['checkpoint']}: {teacher} distilled over {answer['texts']:,} texts, of whose variance "
        f"{answer['explained']:.0%} is explained"
    )
