"""`toolgen catalog queries`: synthetic requests for tools that nobody has asked for yet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from toolgen.cli.console import JsonOption, emit, message, progress
from toolgen.cli.searching import EncoderOption, open_writer
from toolgen.cli.virtualize import DEFAULT_BASE
from toolgen.errors import InputError, UsageError

if TYPE_CHECKING:
    from toolgen.catalog.tool import Tool
    from toolgen.datasets.synthetic import Draft
    from toolgen.llm import TextWriter

FIND_WITHIN = 10  # a request is kept if its tool is found among so many
FINDERS = ("bm25", "dense", "toolretriever")


def register(group: typer.Typer) -> None:
    """Adds the command to the group `catalog`."""
    group.command(epilog="Example: toolgen catalog queries data/mine -o data/mine-asked --per-tool 4")(queries)


def queries(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="A dataset folder.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The dataset folder to write.")],
    per_tool: Annotated[int, typer.Option(min=1, help="Requests for each tool, at most.")] = 4,
    within: Annotated[int, typer.Option(min=1, help="Keep a request if its tool is ranked so high.")] = FIND_WITHIN,
    found_by: Annotated[
        list[str] | None,
        typer.Option(
            "--found-by",
            metavar="NAME",
            help=f"... by this retriever: {', '.join(FINDERS)}; may be repeated, to add their logits. By default bm25.",
        ),
    ] = None,
    encoder: EncoderOption = None,
    only_unasked: Annotated[
        bool, typer.Option("--only-unasked", help="Only for tools that no training request asks for.")
    ] = False,
    by: Annotated[
        Literal["rules", "llm"], typer.Option(help="rules: from the documentation's words; llm: by a language model.")
    ] = "rules",
    base: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="For llm: a base to fetch, a local model folder or what `toolgen train writer` wrote."
        ),
    ] = DEFAULT_BASE,
    endpoint: Annotated[
        str | None,
        typer.Option(metavar="URL", help="For llm: an OpenAI-compatible endpoint instead; key in OPENAI_API_KEY."),
    ] = None,
    model: Annotated[str | None, typer.Option(metavar="NAME", help="The endpoint's model.")] = None,
    split: Annotated[str, typer.Option(help="Where the requests are added: train, dev or test.")] = "train",
    seed: Annotated[int, typer.Option(help="Another seed, other requests.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Write requests for tools from their documentation, keep those with which a retriever finds the tool again."""
    from toolgen.datasets.folder import load_dataset, save_dataset
    from toolgen.datasets.splits import SPLITS
    from toolgen.datasets.synthetic import keep_useful, tools_to_ask_for, with_queries
    from toolgen.retrieval import Resources, make_sum

    if split not in SPLITS:
        raise InputError(f"no split {split!r}; splits are {', '.join(SPLITS)}")
    if unknown := [name for name in found_by or () if name not in FINDERS]:
        raise UsageError(f"--found-by {unknown[0]}: choose from {', '.join(FINDERS)}")
    loaded = load_dataset(dataset)
    tools = tools_to_ask_for(loaded, only_unasked=only_unasked)
    if not tools:
        why = "training requests ask for every tool of it" if len(loaded.catalog) else "it has no tools"
        raise InputError(f"{dataset}: nothing to do, {why}")
    retriever = make_sum(
        found_by or FINDERS[:1], Resources(encoder=encoder)
    )  # before anything is written, which takes long
    work = output.with_name(output.name + ".answers.jsonl")
    if by == "rules":
        drafts = [*_by_rule(tools, per_tool, seed)]
    else:
        writer = open_writer(base, endpoint, model)
        assert writer is not None, "there is always a base"
        is_trained = endpoint is None and _is_trained(Path(base))
        drafts = [*_by_model(tools, writer, per_tool, seed, work, is_trained=is_trained)]
    retriever.index(loaded.catalog)
    filtered = keep_useful(
        drafts, loaded, lambda texts: [one.tools for one in retriever.search(texts, within)], per_tool
    )
    save_dataset(with_queries(loaded, filtered.kept, split), output)
    if by == "llm":
        work.unlink(missing_ok=True)
    styles = Counter(draft.style for draft in filtered.kept)
    without = len(tools) - len({draft.tool for draft in filtered.kept})
    answer = {
        "dataset": str(output),
        "split": split,
        "tools": len(tools),
        "tools_without_request": without,
        "drafts": len(drafts),
        "kept": len(filtered.kept),
        "styles": dict(styles),
        "dropped": filtered.dropped,
    }

    def render() -> str:
        lines = [f"  dropped: {count:,} {reason}" for reason, count in filtered.dropped.items()]
        lines.append(
            f"{len(filtered.kept):,} of {len(drafts):,} requests kept for {len(tools):,} tools, {without:,} without"
        )
        return "\n".join([*lines, f"wrote {output}: {', '.join(f'{n:,} {style}' for style, n in styles.items())}"])

    emit(answer, as_json, render)


def _by_rule(tools: tuple[Tool, ...], per_tool: int, seed: int) -> Iterator[Draft]:
    from toolgen.datasets.synthetic import drafts_by_rule

    with progress("writing requests") as on_progress:
        for done, tool in enumerate(tools, start=1):
            yield from drafts_by_rule(tool, per_tool, seed)
            on_progress(done, len(tools))


def _is_trained(folder: Path) -> bool:
    """Whether `toolgen train writer` wrote this folder."""
    from toolgen.checkpoint import is_checkpoint, read_metadata

    if not is_checkpoint(folder):
        return False
    stages = [entry["stage"] for entry in read_metadata(folder)["stages"]]
    return stages[-1:] == ["writer"]


def _by_model(
    tools: tuple[Tool, ...], writer: TextWriter, per_tool: int, seed: int, work: Path, *, is_trained: bool
) -> Iterator[Draft]:
    from toolgen.datasets.written import drafts_by_model, drafts_by_trained

    message(f"{writer.name} writes requests; interrupted, the same command goes on from {work}")
    with progress("asking for requests") as on_progress:
        drafts = drafts_by_trained if is_trained else drafts_by_model
        yield from drafts(tools, writer, per_tool, seed, work, on_progress=on_progress)
