"""Importer of Seal-Tools: `tool.jsonl` and instances `train.jsonl`, `dev.jsonl`, `test*.jsonl` with their calls.

Becomes: one tool per API and one query per instance with its expected calls. A value such as `API_call_1` stands for the
second result of the instance's calls and stays in the arguments (nested calls): each call has as many results as its tool's
`returns` has properties, and they are counted through all calls, from 0. Where such an argument is a number, the name of a
result contradicts the schema, as other faults of the source do.

Splits are those of the files; where there is only one file of instances, its requests are split by hash.
Source: Wu et al., Seal-Tools, arXiv 2405.08355.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from toolgen.catalog.catalog import Catalog
from toolgen.catalog.loaders.report import LoadReport, Loss, lines_lost
from toolgen.catalog.naming import unique_ids
from toolgen.catalog.normalization import normalize_schema, normalize_value_schema
from toolgen.catalog.schema import schema_errors
from toolgen.catalog.tool import Tool
from toolgen.datasets.folder import Dataset
from toolgen.datasets.query import Call, Query
from toolgen.datasets.splits import SPLITS, split_of, text_group
from toolgen.errors import CatalogError, DatasetError
from toolgen.foreign.data import read_objects

DATASET_NAME = "seal-tools"
LICENCE = "Apache-2.0"
TOOLS = "tool.jsonl"
_REFERENCE = re.compile(r"\bAPI_call_\d+\b")


def import_seal_tools(path: Path) -> Dataset:
    """The dataset of the folder. Lines that are not as they should be and instances that call what is not in `tool.jsonl` are
    losses; calls that contradict their tool's schema are noted, with the reasons in the query's `faults`. InputError if a
    file is missing."""
    root = Path(path)
    losses: list[Loss] = []
    notes: list[str] = []
    tools = _tools(root / TOOLS, losses, notes)
    files = sorted(file for split in SPLITS for file in root.glob(f"{split}*.jsonl"))
    if not files:
        raise DatasetError(f"{root} holds no train.jsonl, dev.jsonl or test.jsonl; Seal-Tools has at least one of them")
    known: set[str] = set()
    found = {file: list(_queries(file, tools, known, losses)) for file in files}
    queries = _split(found, notes)
    every = [query for one in queries.values() for query in one]
    faulty = [query for query in every if query.faults]
    notes += [f"{q.id}: ground truth contradicts its tool: {'; '.join(q.faults)}" for q in faulty]
    report = LoadReport(
        source=f"sealtools:{root.name}",
        loaded=len(tools),
        losses=tuple(losses),
        notes=tuple(notes),
        counts={
            "queries": len(every),
            "queries_nested": sum(map(_is_nested, every)),
            "queries_with_faults": len(faulty),
        },
    )
    return Dataset(
        name=DATASET_NAME,
        version="",
        source=f"sealtools:{root.resolve().name}",
        licence=LICENCE,
        catalog=Catalog(tools.values()),
        queries=queries,
        reports=(report,),
    )


# --- tools ------------------------------------------------------------------------------------------------------------


def _tools(path: Path, losses: list[Loss], notes: list[str]) -> dict[str, Tool]:
    """API name to its tool."""
    found: dict[str, Tool] = {}
    for number, record in read_objects(path, lines_lost(path.name, losses), notes.append):
        name = record.get("api_name")
        if not isinstance(name, str) or not name.strip():
            losses.append(Loss(f"tool {number}", f"expected an object with an 'api_name', got {str(record)[:80]!r}"))
        elif name in found:
            losses.append(Loss(f"tool {name}", "its name occurs again; the first one was kept"))
        else:
            found[name] = _tool(name, record, notes)
    unique = unique_ids(tool.id for tool in found.values())
    return {name: replace(tool, id=new) for (name, tool), new in zip(found.items(), unique.ids, strict=True)}


def _tool(name: str, record: Mapping[str, Any], notes: list[str]) -> Tool:
    declared = {
        "type": "object",
        "properties": record.get("parameters") or {},
        "required": record.get("required") or [],
    }
    responses = record.get("responses")
    return Tool(
        id=name,
        provider="",
        name=name,
        category=str(record.get("field") or ""),
        description=str(record.get("api_description") or "").strip(),
        parameters=normalize_schema(declared, on_note=lambda line: notes.append(f"{name}: {line}")),
        returns=normalize_value_schema({"type": "object", "properties": responses}) if responses else None,
        source={"dataset": DATASET_NAME, "name": name},
    )


# --- instances --------------------------------------------------------------------------------------------------------


def _queries(path: Path, tools: Mapping[str, Tool], known: set[str], losses: list[Loss]) -> Iterator[Query]:
    for number, record in read_objects(path, lines_lost(path.name, losses)):
        name = str(record.get("id") or f"{path.stem}-{number}")
        try:
            if name in known:
                raise CatalogError("its id occurs again; the first one was kept")
            yield _query(name, record, tools)
            known.add(name)
        except (CatalogError, KeyError, TypeError, AttributeError, ValueError) as error:
            reason = (
                str(error) if isinstance(error, CatalogError) else "expected query and calling: [{api, parameters}]"
            )
            losses.append(Loss(f"instance {name}", reason))


def _query(name: str, record: Mapping[str, Any], tools: Mapping[str, Tool]) -> Query:
    text = record["query"].strip()
    calls, faults = [], []
    for called in record["calling"]:
        if called["api"] not in tools:
            raise CatalogError(f"it calls {called['api']!r}, which is not in {TOOLS}")
        tool, arguments = tools[called["api"]], dict(called["parameters"])
        faults += [f"{tool.id}: {error}" for error in schema_errors(arguments, tool.parameters)]
        calls.append(Call(tool=tool.id, arguments=arguments))
    return Query(
        id=name,
        text=text,
        tools=tuple(dict.fromkeys(call.tool for call in calls)),
        calls=tuple(calls),
        category=name.rpartition("-")[0],
        faults=tuple(faults),
    )


def _is_nested(query: Query) -> bool:
    """Whether some argument needs an earlier result."""
    return any(_mentions_result(value) for call in query.calls or () for value in call.arguments.values())


def _mentions_result(value: Any) -> bool:
    if isinstance(value, list):
        return any(_mentions_result(item) for item in value)
    return isinstance(value, str) and bool(_REFERENCE.search(value))


def _split(found: Mapping[Path, Sequence[Query]], notes: list[str]) -> dict[str, tuple[Query, ...]]:
    splits: dict[str, list[Query]] = {split: [] for split in SPLITS}
    if len(found) == 1:
        notes.append(f"{next(iter(found)).name} is the only file of instances: its requests were split by hash")
    for file, queries in found.items():
        own = next(split for split in SPLITS if file.stem.startswith(split))
        for query in queries:
            splits[own if len(found) > 1 else split_of(text_group(query.text))].append(query)
    return {split: tuple(queries) for split, queries in splits.items()}
