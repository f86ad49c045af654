"""`toolgen catalog rewrite`: the same requests in fewer or vaguer words."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from toolgen.cli.console import JsonOption, emit, message, progress
from toolgen.cli.outputs import dataset_output
from toolgen.cli.searching import EndpointOption, ModelOption, open_llm
from toolgen.cli.virtualize import TEXT_BASE
from toolgen.datasets.folder import load_dataset, save_dataset
from toolgen.datasets.query import Rewritten
from toolgen.datasets.rewritten import How, rewritten_by_model, rewritten_by_rule
from toolgen.datasets.splits import Split
from toolgen.errors import InputError

SHOWN = 3  # rewritten requests that are printed


def register(group: typer.Typer) -> None:
    """Adds the command to the group `catalog`."""
    group.command(epilog="Example: toolgen catalog rewrite data/bfcl -o data/bfcl-short --how short")(rewrite)


def rewrite(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="A dataset folder.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The dataset folder to write.")],
    how: Annotated[
        How,
        typer.Option(
            help="keyword: the one word that tells tools apart best; short: at most six such words; vague: by a language model."
        ),
    ],
    base: Annotated[
        str, typer.Option(metavar="NAME", help="For vague: a base to fetch or a local model folder.")
    ] = TEXT_BASE,
    endpoint: EndpointOption = None,
    model: ModelOption = None,
    split: Annotated[Split, typer.Option(help="The split whose requests are rewritten.")] = "test",
    as_json: JsonOption = False,
) -> None:
    """Rewrite the requests of one split in fewer or vaguer words, to compare them with the full ones.

    Ids, tools and catalog stay; requests of several turns or without a tool are left out. The other splits are copied.
    """
    dataset_output(output, dataset, base)
    loaded = load_dataset(dataset)
    if not loaded.searches(split):
        raise InputError(f"{dataset}: split {split} has no single-turn request with a tool; nothing to rewrite")
    if how == "vague":
        work = output.with_name(output.name + ".answers.jsonl")
        llm = open_llm(base, endpoint, model)
        message(f"{llm.name} rewrites requests; if interrupted, rerun the same command to resume from {work}")
        with progress("rewriting requests") as on_progress:
            written = rewritten_by_model(loaded, split, llm, work, on_progress)
        save_dataset(written, output)
        work.unlink(missing_ok=True)
    else:
        written = rewritten_by_rule(loaded, split, how)
        save_dataset(written, output)
    queries = written.queries[split]
    origins = [query.origin for query in queries if isinstance(query.origin, Rewritten)]
    authors = Counter(origin.by for origin in origins)
    answer = {"dataset": str(output), "split": split, "how": how, "requests": len(queries), "by": dict(authors)}

    def render() -> list[str]:
        pairs = list(zip(origins, queries, strict=True))[:SHOWN]
        shown = [line for origin, query in pairs for line in (f"  {origin.original}", f"    -> {query.text}")]
        by = ", ".join(f"{count:,} by {author}" for author, count in authors.items())
        return [*shown, f"wrote {output}: {len(queries):,} {how} requests for {split}, {by}"]

    emit(answer, as_json, render)
