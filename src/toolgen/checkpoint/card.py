"""The model card of a checkpoint, as the Hugging Face Hub reads it: README.md, and `.eval_results` where figures are given.

Every saved checkpoint has the card. Figures belong to exactly these weights: they are added to a finished folder, and a
later save writes the card without them. Knows no result file: figures are handed in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from toolgen.checkpoint.layout import CLOSED_FORM
from toolgen.fetching import BASES, read_origin
from toolgen.fetching.licences import UNKNOWN, licence_of
from toolgen.fetching.shipped import shipped_bases
from toolgen.files import write_text
from toolgen.foreign.shown import in_markdown, markdown_table

if TYPE_CHECKING:
    from toolgen.checkpoint.checkpoint import Checkpoint

CARD, EVAL_RESULTS = "README.md", ".eval_results/toolgen.yaml"
_SPDX = re.compile(r"[\w.+-]+")


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured number in percent with its 95% interval, over `count` requests of a dataset's split; `date` in ISO 8601.
    `hub_dataset` is the dataset's id on the Hub; without it the figure is in the card alone."""

    dataset: str
    split: str
    method: str
    metric: str
    value: float
    low: float
    high: float
    count: int
    date: str
    hub_dataset: str | None = None


@dataclass(frozen=True)
class _Base:
    """What is known of a base: its name, its licence, and the model on the Hub that it was made from, if that is known."""

    name: str
    licence: str
    hub: str | None


def write_card(checkpoint: Checkpoint, folder: Path, figures: Sequence[Figure] = ()) -> None:
    """Writes README.md into a checkpoint's folder, and `.eval_results/toolgen.yaml` where a figure has a dataset on the Hub."""
    write_text(folder / CARD, model_card(checkpoint, figures))
    if entries := eval_results(figures):
        (folder / EVAL_RESULTS).parent.mkdir(exist_ok=True)
        write_text(folder / EVAL_RESULTS, yaml.safe_dump(entries, sort_keys=False))


def model_card(checkpoint: Checkpoint, figures: Sequence[Figure] = ()) -> str:
    """The text of README.md."""
    base = _known(checkpoint.base)
    parts = [
        f"---\n{yaml.safe_dump(_front(checkpoint, base), sort_keys=False)}---",
        f"# A model that knows {len(checkpoint.catalog):,} tools",
        "Every tool is one token, or a short sequence of tokens, of this model's vocabulary. `toolgen` made it: the folder "
        "is a Hugging Face model folder, with the tools in `catalog.jsonl`, and tokens and history in `toolgen.json`.",
        '```python\nfrom toolgen import Checkpoint\n\nCheckpoint.load("THIS FOLDER").search("your request", k=5)\n```',
        "## Base and catalog",
        "\n".join(_origin(checkpoint, base)),
        "## History",
        _table(["stage", "dataset", "licence of the data", "examples", "steps"], _history(checkpoint)),
        "## Figures",
        _figures(figures),
        "## Limits",
        "\n".join(f"- {limit}" for limit in _limits(checkpoint)),
    ]
    return "\n\n".join(parts) + "\n"


def eval_results(figures: Sequence[Figure]) -> list[dict[str, Any]]:
    """The entries of `.eval_results/*.yaml`, as `huggingface_hub.EvalResultEntry` has them."""
    return [
        {
            "dataset": {"id": figure.hub_dataset, "task_id": figure.metric},
            "value": round(figure.value, 2),
            "date": figure.date,
            "notes": f"toolgen, {figure.method}, split {figure.split}, {figure.count} requests, percent",
        }
        for figure in figures
        if figure.hub_dataset
    ]


def _front(checkpoint: Checkpoint, base: _Base) -> dict[str, Any]:
    """The metadata that the Hub reads. One licence stands there only if the base's and all data's are the same."""
    licences = {base.licence, *(str(record.dataset.get("licence", UNKNOWN)) for record in _trained(checkpoint))}
    (licence,) = licences if len(licences) == 1 else {UNKNOWN}
    known = licence != UNKNOWN and _SPDX.fullmatch(licence)
    front: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": "text-generation"}
    front["tags"] = ["toolgen", "tool-retrieval", "tool-use"]
    front["license"] = licence.lower() if known else "other"
    if base.hub:
        front |= {"base_model": base.hub, "base_model_relation": "finetune"}
    return front


def _known(base: str) -> _Base:
    """What is known of a base by its name, or by the folder that it was read from."""
    if shipped := shipped_bases().get(base):
        return _Base(base, shipped.licence, _known(shipped.base).hub)
    if artifact := BASES.get(base):
        return _Base(base, artifact.licence, artifact.hub.repo_id if artifact.hub else None)
    folder = Path(base)
    if (origin := read_origin(folder)) and origin.name != base:
        return (
            _known(origin.name)
            if origin.name in {*BASES, *shipped_bases()}
            else _Base(origin.name, origin.licence, None)
        )
    return _Base(folder.name, licence_of(folder), None)


def _trained(checkpoint: Checkpoint) -> list[Any]:
    """The stages of its history that read a dataset."""
    return [record for record in checkpoint.stages if record.dataset]


def _origin(checkpoint: Checkpoint, base: _Base) -> Iterator[str]:
    catalog, indexing = checkpoint.catalog, checkpoint.vocabulary.indexing
    yield f"- Base: {in_markdown(base.name)}, licence {in_markdown(base.licence)}"
    yield f"- Catalog: {len(catalog):,} tools, hash `{catalog.content_hash[:16]}`"
    yield f"- Indexing, how tools are written in tokens: `{indexing}`"


def _history(checkpoint: Checkpoint) -> Iterator[list[str]]:
    for record in checkpoint.stages:
        name = " ".join(filter(None, (record.dataset.get("name"), record.dataset.get("version"))))
        licence = record.dataset.get("licence", UNKNOWN if record.dataset else "")
        yield [record.stage, name, licence, f"{sum(record.examples.values()):,}", str(record.result.get("step", ""))]


def _figures(figures: Sequence[Figure]) -> str:
    if not figures:
        return "None are written here yet; `toolgen export card CKPT RESULT...` adds what `toolgen evaluate` measured."
    rows = (
        [one.dataset, one.split, one.method, one.metric, _percent(one), str(one.count), one.date[:10]]
        for one in figures
    )
    return _table(["dataset", "split", "method", "metric", "percent (95%)", "requests", "date"], rows)


def _percent(figure: Figure) -> str:
    return f"{figure.value:.1f} ({figure.low:.1f}–{figure.high:.1f})"


def _limits(checkpoint: Checkpoint) -> Iterator[str]:
    stages = {record.stage for record in checkpoint.stages}
    unasked = len(checkpoint.catalog) - len(checkpoint.asked_tools)
    yield "It may choose a wrong tool or write wrong values. toolgen only makes sure that tools exist and arguments fit."
    yield f"No training request asked for {unasked:,} of the tools. Such tools are found less often."
    if not stages - CLOSED_FORM:
        yield "No stage has trained it: its rows come from documentation alone, and searches should add BM25."
    if "agent" not in stages:
        yield "It has not learned to act: it finds tools, and was not trained to fill in arguments or to answer."
    yield "Outside of toolgen nothing holds it to tools that exist or to their schemas."


def _table(head: Sequence[str], rows: Iterator[list[str]]) -> str:
    return markdown_table(head, ([in_markdown(cell) for cell in row] for row in rows)).rstrip()
