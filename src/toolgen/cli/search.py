"""`toolgen search`: the tools for one request, or for a file of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from toolgen.catalog import Catalog
from toolgen.catalog.transforms import select_tools
from toolgen.cli.console import IS_FIRST_PROCESS, JsonOption, emit, message, progress, show_json
from toolgen.cli.outputs import file_output
from toolgen.cli.searching import (
    AddOption,
    BaseRetrieverOption,
    BeamOption,
    BonusOption,
    DeclineRateOption,
    EncoderOption,
    EndpointOption,
    LlmOption,
    ModelOption,
    RetrieverOption,
    SetsOption,
    given_llm,
    load_catalog,
    open_retriever,
)
from toolgen.cli.tool_sources import ExcludeOption, IncludeOption
from toolgen.datasets.messages import NO_TOOL
from toolgen.errors import InputError, UsageError
from toolgen.files import write_records
from toolgen.foreign.data import clean_text, read_objects
from toolgen.retrieval import Ranking, Retriever
from toolgen.retrieval.protocol import unit_of

_BATCH = 32
_DESCRIPTION = 90


@dataclass(frozen=True)
class _Request:
    id: str
    text: str


def register(app: typer.Typer) -> None:
    """Adds `search`."""
    app.command("search", epilog='Example: toolgen search CKPT "what is the weather in Oslo?" -k 5')(search)


def search(
    folder: Annotated[Path, typer.Argument(metavar="CKPT", help="A checkpoint, or a dataset (bm25 or dense).")],
    text: Annotated[str | None, typer.Argument(help="The request in plain language.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many tools to return.")] = 5,
    queries: Annotated[
        Path | None, typer.Option("--queries", metavar="FILE", help='JSON lines with "id" and "text".')
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help='Where to write {"id", "tools", "scores"} lines.'),
    ] = None,
    retriever: RetrieverOption = None,
    add: AddOption = None,
    unasked_bonus: BonusOption = 0.0,
    sets: SetsOption = False,
    encoder: EncoderOption = None,
    llm: LlmOption = None,
    endpoint: EndpointOption = None,
    model: ModelOption = None,
    base_retriever: BaseRetrieverOption = None,
    beam: BeamOption = None,
    decline_rate: DeclineRateOption = None,
    include: IncludeOption = None,
    exclude: ExcludeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find the tools for a request: one forward pass of the model, over all tools at once.

    A model's results are the probabilities of tools and of `no_tool`, that none fits; other methods have scores of their own.
    With --queries FILE it ranks every request of the file and writes one line each to --output (or stdout). With --include and
    --exclude only a part of the tools can be found. A calibrated checkpoint tells how likely the first tool is a right one.
    """
    if (text is None) == (queries is None):
        raise UsageError('give either a request ("text") or --queries FILE')
    if text is not None and not text.strip():
        raise UsageError("the request is empty; say in a few words what a tool should do")
    file_output(output, folder, queries)
    requests = _read_requests(queries) if queries else [_Request("", clean_text(text or ""))]
    catalog = select_tools(load_catalog(folder), include or (), exclude or ())
    with progress("indexing tools") as on_progress:
        finder = open_retriever(
            folder,
            retriever,
            add=add,
            unasked_bonus=unasked_bonus,
            sets=sets,
            encoder=encoder,
            llm=given_llm(llm, endpoint, model),
            base_retriever=base_retriever,
            beam=beam,
            decline_rate=decline_rate,
            on_progress=on_progress,
        )
        finder.index(catalog)
    if queries:
        _search_file(finder, requests, k, output)
    else:
        _search_one(finder, catalog, requests[0].text, k, as_json)


def _search_one(finder: Retriever, catalog: Catalog, text: str, k: int, as_json: bool) -> None:
    ranking = finder.search([text], k)[0].with_no_tool(k)
    data = {
        "text": text,
        "retriever": finder.name,
        "unit": unit_of(finder),
        "tools": list(ranking.tools),
        "scores": list(ranking.scores),
        **ranking.judgement,
    }
    found_nothing = "no tool found: none shares a word with this request"
    emit(data, as_json, lambda: _found(ranking, unit_of(finder), catalog) if ranking.tools else found_nothing)


def _found(ranking: Ranking, unit: str, catalog: Catalog) -> Group:
    table = _table(ranking, unit, catalog)
    if ranking.confidence is None:
        return Group(table)
    declined = ": declined, no tool fits" if ranking.is_unsure else ""
    return Group(table, f"confidence {ranking.confidence:.2f}{declined}")


def _table(ranking: Ranking, unit: str, catalog: Catalog) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("", justify="right")
    table.add_column("tool", overflow="fold")
    table.add_column(unit, justify="right")
    table.add_column("description")
    for place, (tool_id, score) in enumerate(zip(ranking.tools, ranking.scores, strict=True), start=1):
        # Text and not str: a tool's words must not be read as markup.
        description = "(no tool fits)" if tool_id == NO_TOOL else " ".join(catalog.get(tool_id).description.split())
        if len(description) > _DESCRIPTION:
            description = description[: _DESCRIPTION - 1].rstrip() + "…"
        table.add_row(str(place), Text(tool_id, style="bold"), f"{score:.3f}", Text(description))
    return table


def _search_file(finder: Retriever, requests: Sequence[_Request], k: int, output: Path | None) -> None:
    lines: list[dict[str, Any]] = []
    with progress("searching") as on_progress:
        for start in range(0, len(requests), _BATCH):
            batch = requests[start : start + _BATCH]
            for request, ranking in zip(batch, finder.search([r.text for r in batch], k), strict=True):
                lines.append(ranking.with_no_tool(k).to_dict(request.id))
            on_progress(len(lines), len(requests))
    if not output:
        for line in lines:
            show_json(line)
    elif IS_FIRST_PROCESS:
        write_records(output, lines)
        message(f"wrote {len(lines)} rankings to {output}")


def _read_requests(path: Path) -> list[_Request]:
    """The requests of a JSON lines file; InputError names the line that is none."""

    def refuse(line: str, reason: str) -> None:
        raise InputError(f"{path}, {line}: {reason}")

    requests = [_request(record, f"{path}, line {number}") for number, record in read_objects(path, refuse)]
    if not requests:
        raise InputError(f"{path} holds no request; expected one JSON object a line")
    return requests


def _request(record: dict[str, Any], place: str) -> _Request:
    if not {"id", "text"} <= record.keys():
        raise InputError(f'{place}: expected a JSON object with "id" and "text"')
    for key, kinds in (("id", (str, int)), ("text", str)):
        if not isinstance(record[key], kinds) or isinstance(record[key], bool):
            raise InputError(f'{place}: expected a text as "{key}"; got {json.dumps(record[key]):.60}')
    return _Request(str(record["id"]), record["text"])
