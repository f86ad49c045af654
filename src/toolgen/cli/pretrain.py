"""`toolgen pretrain`: a base that has learned to learn tools, from many catalogs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from toolgen.checkpoint.layout import MARKERS, METRICS, read_metrics
from toolgen.cli.console import JsonOption, emit, message
from toolgen.cli.outputs import checkpoint_output, folder_size, hint, shown_size
from toolgen.cli.training_options import (
    OverwriteOption,
    RecipeOption,
    RestartOption,
    SetOption,
    ShowOption,
    show_settings,
)
from toolgen.cli.training_progress import training_progress
from toolgen.cli.virtualize import TEXT_BASE
from toolgen.datasets import load_dataset
from toolgen.errors import UsageError
from toolgen.fetching import resolve_base
from toolgen.foreign.data import read_json

ENCODER = "all-minilm-l6-v2"


def register(app: typer.Typer) -> None:
    """Adds `pretrain`."""
    app.command("pretrain", epilog="Example: toolgen pretrain DATASET DATASET2 -o BASE2 --set steps=200")(pretrain)


def pretrain(
    datasets: Annotated[
        list[Path] | None,
        typer.Argument(metavar="DATASET...", show_default=False, help="Dataset folders: catalogs with requests."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="BASE2", help="The model folder to write.")
    ] = None,
    base: Annotated[
        str, typer.Option("--base", metavar="BASE", help="A model folder, or a name that is fetched.")
    ] = TEXT_BASE,
    start: Annotated[
        str | None,
        typer.Option(
            "--start",
            metavar="BASE2",
            help="Go on from what an earlier pretraining of the same base has learned: its folder, or the name of a base that "
            "comes with toolgen.",
        ),
    ] = None,
    encoder: Annotated[
        str, typer.Option("--encoder", metavar="ENCODER", help="The teacher's sentence encoder: a folder or a name.")
    ] = ENCODER,
    recipe: RecipeOption = None,
    settings: SetOption = None,
    show_config: ShowOption = False,
    restart: RestartOption = False,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Teach a base to read documentation: tools of a new catalog then get their rows without training on it.

    It draws requests and tools from the training splits of many datasets, makes the tools' rows from their documentation, and
    trains a low-rank difference of the base and the map that makes the rows. `toolgen index --base BASE2` uses both.
    """
    from toolgen.training.config import resolve_settings
    from toolgen.training.pretraining.config import PretrainConfig

    config = resolve_settings(PretrainConfig, "pretraining", {}, recipe, settings or ())
    if show_config:
        show_settings(config, as_json)
        return
    if not datasets or output is None:
        raise UsageError("pretrain needs DATASET... and --output BASE2; see toolgen pretrain --help")
    with checkpoint_output(output, *datasets, base, encoder, recipe, overwrite=overwrite, kind="pretrained base"):
        answer = _run(datasets, output, base, start, encoder, config, restart)
    emit(answer, as_json, lambda: _text(answer))
    hint("toolgen index DATASET --base {output} -o CKPT", output=output)


def _run(
    datasets: list[Path], output: Path, base: str, start: str | None, encoder: str, config: Any, restart: bool
) -> dict[str, Any]:
    from toolgen.fetching.shipped import DIFFERENCE, folder_with_difference
    from toolgen.retrieval.dense import DenseRetriever
    from toolgen.training.pretraining.corpus import Corpus, TrainingCatalog
    from toolgen.training.pretraining.run import pretrain as run_pretraining

    loaded = [load_dataset(folder) for folder in datasets]
    corpus = Corpus(tuple(map(TrainingCatalog.of, loaded)))
    first = folder_with_difference(start) if start is not None else None
    record = {
        "base": base,
        **({"start": start, "before": read_json(first / MARKERS["pretrained base"])} if first else {}),
        "datasets": [{"name": one.name, "licence": one.licence, "catalog": one.catalog.content_hash} for one in loaded],
    }
    with training_progress("pretraining", config.steps) as on_step:
        run_pretraining(
            resolve_base(base, on_message=message),
            corpus,
            DenseRetriever(resolve_base(encoder, on_message=message)).embed,
            config,
            output,
            start=first,
            record=record,
            restart=restart,
            on_step=on_step,
            on_message=message,
        )
    last = read_metrics(output / METRICS)[-1]
    return {
        "base": str(output),
        "catalogs": len(corpus.catalogs),
        "tools": len(corpus.tools),
        "difference_bytes": (output / DIFFERENCE).stat().st_size,
        "bytes": folder_size(output),
        **{key: last[key] for key in ("step", "tokens", "seconds", "loss", "top_1")},
    }


def _text(answer: dict[str, Any]) -> str:
    return (
        f"wrote {answer['base']}: {answer['step']:,} steps over {answer['tools']:,} tools of {answer['catalogs']} catalogs, "
        f"{answer['tokens']:,} tokens, loss {answer['loss']:.3f}, top-1 {answer['top_1']:.1%}; the difference takes "
        f"{shown_size(answer['difference_bytes'])}"
    )
