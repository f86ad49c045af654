"""`toolgen report`: one HTML page from result files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from toolgen.checkpoint import is_checkpoint, layout
from toolgen.checkpoint.layout import METRICS
from toolgen.cli.console import message, show
from toolgen.cli.outputs import file_output
from toolgen.errors import CheckpointError
from toolgen.evaluation import Result, ToolMap, load_result, project_rows, write_report


def register(app: typer.Typer) -> None:
    """Adds `report`."""
    example = "Example: toolgen report generative.json bm25.json agent.json -o report.html"
    app.command("report", epilog=example)(report)


def report(
    results: Annotated[list[Path], typer.Argument(metavar="RESULT...", help="Files that `toolgen evaluate` wrote.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The page.")] = Path("report.html"),
    checkpoints: Annotated[
        list[Path] | None,
        typer.Option(
            "--checkpoint",
            metavar="CKPT",
            help="Whose training curves to show, may be repeated; the last one's tool map is drawn. "
            "By default the one that the results name.",
        ),
    ] = None,
    title: Annotated[str, typer.Option("--title", help="The heading of the page.")] = "Finding and calling tools",
) -> None:
    """Write one self-contained HTML page: comparison with intervals, training curves, tool map, worst requests, runs.

    The page needs no network and no other file.
    """
    file_output(output, *results, *(checkpoints or ()))
    loaded = [load_result(path) for path in results]
    folders = checkpoints or _named_checkpoint(loaded)
    write_report(
        loaded,
        output,
        title=title,
        labels=_labels(loaded, results),
        training=[record for folder in folders for record in _training_curve(folder)],
        tool_map=_tool_map(folders[-1], required=bool(checkpoints)) if folders else None,
    )
    show(str(output))


def _labels(loaded: Sequence[Result], paths: Sequence[Path]) -> list[str]:
    """The method's name, or the file's where two results are of one method."""
    names = [result.name for result in loaded]
    counts = Counter(names)
    return [path.stem if counts[name] > 1 else name for name, path in zip(names, paths, strict=True)]


def _named_checkpoint(loaded: Sequence[Result]) -> list[Path]:
    """The first checkpoint that a result was measured on and that is still there; none if there is none."""
    for result in loaded:
        named = result.provenance.config.get("checkpoint")
        if named and is_checkpoint(named):
            return [Path(named)]
    return []


def _training_curve(folder: Path) -> list[dict[str, Any]]:
    """The training records of a checkpoint, none if it was not trained; CheckpointError for a damaged file."""
    path = folder / METRICS
    if not path.is_file():
        message(f"{folder} has no {METRICS}: the page shows no training curves")
        return []
    return layout.read_metrics(path)


def _tool_map(folder: Path, *, required: bool) -> ToolMap | None:
    """The plane view of a checkpoint's tools. Without the checkpoint asked for, a page without a map will do."""
    from toolgen.checkpoint import Checkpoint

    try:
        checkpoint = Checkpoint.load(folder, device="cpu")
    except CheckpointError as error:
        if required:
            raise
        message(f"no tool map: {error}")
        return None
    catalog = checkpoint.catalog
    return ToolMap(
        points=project_rows(checkpoint.tool_vectors().detach().float().cpu().numpy()).tolist(),
        # A provider that is only the dataset's name says nothing about a tool.
        labels=["" if tool.provider == tool.source.get("dataset") else tool.provider for tool in catalog],
        names=[tool.name for tool in catalog],
    )
