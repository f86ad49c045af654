"""Importer of retrieval benchmarks in the layout of BEIR: `corpus.jsonl`, `queries.jsonl`, `qrels/{train,dev,test}.tsv`.

Becomes: one tool per document and one query per judged request, with the documents of positive relevance as its tools.
A document that is an API record of ToolBench (as JSON or as one line of text, as in ToolLens) or a function description
in JSON becomes a tool with parameters; of any other document the title is the name and the text the description.

Splits are those of the qrels. Where the publisher has no development split, a fixed tenth of the training requests is
it; COLT's ToolLens is such a case. Source: Thakur et al., BEIR, arXiv 2104.08663.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from toolgen.catalog.catalog import Catalog
from toolgen.catalog.loaders.rapidapi import api_tool, parse_api_text
from toolgen.catalog.loaders.report import LoadReport, Loss, lines_lost
from toolgen.catalog.naming import tool_id, unique_ids
from toolgen.catalog.normalization import normalize_schema
from toolgen.catalog.tool import Tool
from toolgen.datasets.folder import Dataset
from toolgen.datasets.query import Query
from toolgen.datasets.splits import SPLITS, in_development_tenth, text_group
from toolgen.datasets.transforms import UNKNOWN_LICENCE
from toolgen.errors import CatalogError, DatasetError, InputError
from toolgen.foreign.data import parse_json, read_lines, read_objects

CORPUS, QUERIES, QRELS = "corpus.jsonl", "queries.jsonl", "qrels"
_FILES_OF = {"train": ("train",), "dev": ("dev", "valid", "validation"), "test": ("test",)}


@dataclass(frozen=True)
class _Relevance:
    """Query id to document ids of positive relevance, for one split; how many lines said so again."""

    documents: Mapping[str, tuple[str, ...]]
    repeated: int


def import_beir(path: Path) -> Dataset:
    """The dataset of the folder. Lines that are not as they should be, documents without a name, requests without a judgement,
    and judgements of what is not there are losses; repeated judgements are counted once. InputError if one of the files
    is missing."""
    root = Path(path)
    losses: list[Loss] = []
    notes: list[str] = []
    ids = _tools(root, losses, notes)
    texts = _texts(root, losses)
    relevance = _relevance(root, losses)
    if not relevance:
        raise DatasetError(f"{root / QRELS} holds no train.tsv, dev.tsv or test.tsv; a BEIR folder needs one of them")
    queries = {split: tuple(_queries(found, texts, ids, losses)) for split, found in relevance.items()}
    judged = {name for found in relevance.values() for name in found.documents}
    losses += [Loss(f"query {name}", "no tool is judged relevant to it") for name in texts if name not in judged]
    if "dev" not in queries and queries.get("train"):
        queries |= _with_development_tenth(queries["train"], notes)
    report = LoadReport(
        source=f"beir:{root.name}",
        loaded=len(ids),
        losses=tuple(losses),
        notes=tuple(notes),
        counts={"repeated_judgements": sum(one.repeated for one in relevance.values())}
        | {f"queries.{split}": len(found) for split, found in queries.items()},
    )
    return Dataset(
        name=root.resolve().name,
        version="",
        source=f"beir:{root.resolve().name}",
        licence=UNKNOWN_LICENCE,
        catalog=Catalog(ids.values()),
        queries=queries,
        reports=(report,),
    )


# --- documents --------------------------------------------------------------------------------------------------------


def _tools(root: Path, losses: list[Loss], notes: list[str]) -> dict[str, Tool]:
    """Document id to its tool, ids of tools unique."""
    found: dict[str, Tool] = {}
    for number, record in read_objects(root / CORPUS, lines_lost(CORPUS, losses), notes.append):
        name = _identifier(record)
        try:
            tool = _tool(record, root.resolve().name, notes.append)
        except CatalogError as error:
            losses.append(Loss(f"document {name or number}", str(error)))
            continue
        if name in found:
            losses.append(Loss(f"document {name}", "its id occurs again; the first one was kept"))
            continue
        found[name] = tool
    unique = unique_ids(tool.id for tool in found.values())
    notes += [f"{new}: id {given!r} was taken" for given, new in unique.renamed]
    return {name: replace(tool, id=new) for (name, tool), new in zip(found.items(), unique.ids, strict=True)}


def _tool(record: Mapping[str, Any], dataset: str, note: Any) -> Tool:
    text, title = (str(record.get(key) or "").strip() for key in ("text", "title"))
    described = parse_api_text(text) or _json_object(text)
    if "api_name" in described:
        return api_tool(described, dataset=dataset, on_note=note)
    if isinstance(described.get("name"), str) and "parameters" in described:
        name, description, parameters = described["name"], described.get("description"), described["parameters"]
    else:
        name, description, parameters = title or _identifier(record), text, None
    if not name:
        raise CatalogError("a document needs an _id or a title")
    return Tool(
        id=tool_id(dataset, name),
        provider=dataset,
        name=name,
        description=str(description or "").strip(),
        parameters=normalize_schema(parameters, on_note=lambda line: note(f"{name}: {line}")),
        source={"dataset": dataset, "format": "beir", "name": _identifier(record)},
    )


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = parse_json(text, "document") if text.startswith("{") else {}
    except InputError:
        return {}
    return value if isinstance(value, dict) else {}


# --- queries ----------------------------------------------------------------------------------------------------------


def _texts(root: Path, losses: list[Loss]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for number, record in read_objects(root / QUERIES, lines_lost(QUERIES, losses)):
        name, text = _identifier(record), record.get("text")
        if not name or not isinstance(text, str) or not text.strip():
            losses.append(Loss(f"query {name or number}", "expected an _id and a text"))
        elif name in texts:
            losses.append(Loss(f"query {name}", "its id occurs again; the first one was kept"))
        else:
            texts[name] = text.strip()
    return texts


def _relevance(root: Path, losses: list[Loss]) -> dict[str, _Relevance]:
    found = {}
    for split in SPLITS:
        files = [root / QRELS / f"{name}.tsv" for name in _FILES_OF[split]]
        if existing := [file for file in files if file.exists()]:
            found[split] = _read_qrels(existing[0], losses)
    return found


def _read_qrels(path: Path, losses: list[Loss]) -> _Relevance:
    """Lines `query-id <tab> corpus-id <tab> score` below a header; a score of 0 or less says: not relevant."""
    documents: dict[str, dict[str, None]] = {}
    repeated = 0
    lost = lines_lost(path.name, losses)
    for number, line in read_lines(path, lost):
        fields = line.split("\t")
        if number == 1 and fields[-1].strip() == "score":
            continue
        try:
            query, document, score = fields[0], fields[1], float(fields[2])
        except (IndexError, ValueError):
            lost(f"line {number}", f"expected query-id, corpus-id and score with tabs between them, got {line[:60]!r}")
            continue
        if score > 0:
            known = documents.setdefault(query, {})
            repeated += document in known
            known[document] = None
    return _Relevance({query: tuple(found) for query, found in documents.items()}, repeated)


def _queries(
    relevance: _Relevance, texts: Mapping[str, str], tools: Mapping[str, Tool], losses: list[Loss]
) -> Iterator[Query]:
    for name, documents in relevance.documents.items():
        missing = [document for document in documents if document not in tools]
        if name not in texts:
            losses.append(Loss(f"judgement of query {name}", f"{QUERIES} has no such query"))
        elif missing:
            losses.append(Loss(f"query {name}", f"its document {missing[0]!r} is not in the catalog"))
        else:
            yield Query(id=name, text=texts[name], tools=tuple(tools[document].id for document in documents))


def _with_development_tenth(train: Sequence[Query], notes: list[str]) -> dict[str, tuple[Query, ...]]:
    chosen = [in_development_tenth(text_group(query.text)) for query in train]
    notes.append(f"no development split is published: {sum(chosen):,} of {len(train):,} training requests became it")
    pairs = list(zip(train, chosen, strict=True))
    return {"train": tuple(q for q, dev in pairs if not dev), "dev": tuple(q for q, dev in pairs if dev)}


def _identifier(record: Mapping[str, Any]) -> str:
    name = record.get("_id")
    return "" if name is None or isinstance(name, (dict, list)) else str(name).strip()
