"""`toolgen catalog queries`: synthetic requests for tools, above all unasked ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from toolgen.catalog.tool import Tool
from toolgen.checkpoint import is_checkpoint, read_metadata
from toolgen.cli.console import MAX_SEED, JsonOption, emit, message, progress
from toolgen.cli.outputs import dataset_output
from toolgen.cli.searching import EncoderOption, EndpointOption, ModelOption, open_llm
from toolgen.cli.virtualize import TEXT_BASE
from toolgen.datasets.folder import load_dataset, save_dataset
from toolgen.datasets.splits import Split
from toolgen.datasets.synthetic import Draft, drafts_by_rule, keep_useful, tools_to_ask_for, with_queries
from toolgen.datasets.written import drafts_by_model, drafts_by_trained
from toolgen.errors import InputError, UsageError
from toolgen.retrieval import Resources, make_sum

FIND_WITHIN = 10  # a request is kept if its tool is found among so many
FINDERS = ("bm25", "dense", "toolretriever")


ByOption = Annotated[
    Literal["rules", "llm"], typer.Option(help="rules: from the documentation's words; llm: by a language model.")
]
OnlyUnaskedOption = Annotated[
    bool, typer.Option("--only-unasked", help="Only for unasked tools: those in no training request.")
]
FoundByOption = Annotated[
    list[str] | None,
    typer.Option(
        "--found-by",
        metavar="NAME",
        help=f"... by this retriever: {', '.join(FINDERS)}; may be repeated, to add their logits. By default bm25.",
    ),
]


def register(group: typer.Typer) -> None:
    """Adds the command to the group `catalog`."""
    group.command(epilog="Example: toolgen catalog queries data/mine -o data/mine-asked --per-tool 4")(queries)


def queries(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="A dataset folder.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The dataset folder to write.")],
    per_tool: Annotated[int, typer.Option(min=1, help="Requests for each tool, at most.")] = 4,
    within: Annotated[int, typer.Option(min=1, help="Keep a request if its tool is among the first N.")] = FIND_WITHIN,
    found_by: FoundByOption = None,
    encoder: EncoderOption = None,
    only_unasked: OnlyUnaskedOption = False,
    by: ByOption = "rules",
    base: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="For llm: a base to fetch, a local model folder or what `toolgen train writer` wrote."
        ),
    ] = TEXT_BASE,
    endpoint: EndpointOption = None,
    model: ModelOption = None,
    split: Annotated[Split, typer.Option(help="Where the requests are added.")] = "train",
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Seed of the requests.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Write requests for tools from their documentation, and keep those with which a retriever finds the tool."""
    if unknown := [name for name in found_by or () if name not in FINDERS]:
        raise UsageError(f"--found-by {unknown[0]}: choose from {', '.join(FINDERS)}")
    dataset_output(output, dataset, encoder, base)
    loaded = load_dataset(dataset)
    if not (tools := tools_to_ask_for(loaded, only_unasked=only_unasked)):
        why = "training requests ask for every tool of it" if len(loaded.catalog) else "it has no tools"
        raise InputError(f"{dataset}: nothing to do, {why}")
    # Before anything is written, which takes long.
    retriever = make_sum(found_by or FINDERS[:1], Resources(encoder=encoder))
    work = output.with_name(output.name + ".answers.jsonl")
    if by == "rules":
        drafts = [*_by_rule(tools, per_tool, seed)]
    else:
        drafts = [*_by_model(tools, base, endpoint, model, per_tool, seed, work)]
    retriever.index(loaded.catalog)
    filtered = keep_useful(
        drafts, loaded, lambda texts: [one.tools for one in retriever.search(texts, within)], per_tool
    )
    save_dataset(with_queries(loaded, filtered.kept, split), output)
    if by == "llm":
        work.unlink(missing_ok=True)
    answer = {
        "dataset": str(output),
        "split": split,
        "tools": len(tools),
        "tools_without_request": len(tools) - len({draft.tool for draft in filtered.kept}),
        "drafts": len(drafts),
        "kept": len(filtered.kept),
        "styles": dict(Counter(draft.style for draft in filtered.kept)),
        "dropped": filtered.dropped,
    }
    emit(answer, as_json, lambda: _lines(answer))


def _lines(answer: Mapping[str, Any]) -> list[str]:
    styles = ", ".join(f"{count:,} {style}" for style, count in answer["styles"].items())
    return [
        *(f"  dropped: {count:,} {reason}" for reason, count in answer["dropped"].items()),
        f"{answer['kept']:,} of {answer['drafts']:,} requests kept for {answer['tools']:,} tools, "
        f"{answer['tools_without_request']:,} without",
        f"wrote {answer['dataset']}: {styles}",
    ]


def _by_rule(tools: tuple[Tool, ...], per_tool: int, seed: int) -> Iterator[Draft]:
    with progress("writing requests") as on_progress:
        for done, tool in enumerate(tools, start=1):
            yield from drafts_by_rule(tool, per_tool, seed)
            on_progress(done, len(tools))


def _is_trained(folder: Path) -> bool:
    """Whether `toolgen train writer` wrote this folder."""
    if not is_checkpoint(folder):
        return False
    stages = [entry["stage"] for entry in read_metadata(folder)["stages"]]
    return stages[-1:] == ["writer"]


def _by_model(
    tools: tuple[Tool, ...], base: str, endpoint: str | None, model: str | None, per_tool: int, seed: int, work: Path
) -> Iterator[Draft]:
    is_trained = endpoint is None and _is_trained(Path(base))
    llm = open_llm(base, endpoint, model)
    message(f"{llm.name} writes requests; if interrupted, rerun the same command to resume from {work}")
    with progress("asking for requests") as on_progress:
        drafts = drafts_by_trained if is_trained else drafts_by_model
        yield from drafts(tools, llm, per_tool, seed, work, on_progress=on_progress)
