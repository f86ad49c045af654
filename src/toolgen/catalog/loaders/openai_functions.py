"""Reads tool lists in OpenAI's form: JSON or JSON lines.

Accepted records: `{"type": "function", "function": {"name", "description", "parameters"}}` (chat completions), the same
fields flat beside `"type": "function"` (responses), and bare function objects; in a list, under the key `tools` or
`functions`, or one a line. Only reads: nothing is called, no reference is followed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from toolgen.catalog.loaders.common import LoadedTools, scrub
from toolgen.catalog.loaders.report import LoadReport, Loss
from toolgen.catalog.naming import tool_id, unique_ids
from toolgen.catalog.schema import normalize_schema
from toolgen.catalog.tool import Tool
from toolgen.errors import CatalogError


def load_openai_functions(path: Path, *, provider: str | None = None) -> LoadedTools:
    """The tools of one file; `provider` defaults to the file's name without its ending.

    A record that is no function, or has no name, is a loss with its reason. CatalogError if the file cannot be read or
    is neither JSON nor JSON lines.
    """
    path = Path(path)
    provider = path.stem if provider is None else provider
    tools: list[Tool] = []
    losses: list[Loss] = []
    notes: list[str] = []
    for number, record in enumerate(_records(path), start=1):
        try:
            tools.append(_tool(scrub(record), provider, notes))
        except CatalogError as error:
            losses.append(Loss(f"record {number}", str(error)))
        except RecursionError:
            losses.append(Loss(f"record {number}", "nested too deeply"))
    ids = unique_ids(tool.id for tool in tools)
    notes += [f"name of {given!r} occurs again; became {new!r}" for given, new in ids.renamed]
    tools = [replace(tool, id=unique) for tool, unique in zip(tools, ids.ids, strict=True)]
    report = LoadReport(source=f"openai:{path.name}", loaded=len(tools), losses=tuple(losses), notes=tuple(notes))
    return LoadedTools(tuple(tools), report)


def _records(path: Path) -> Iterator[Any]:
    """The records of a JSON document, or of JSON lines if the file is not one document."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogError(f"cannot read {path}: {error}") from error
    try:
        documents = [_parse(text)]
    except ValueError as whole_file_error:
        try:
            documents = [_parse(line) for line in text.splitlines() if line.strip()]
            if not documents:
                raise whole_file_error
        except ValueError:
            raise CatalogError(f"{path} is neither JSON nor JSON lines: {whole_file_error}") from None
    for document in documents:
        yield from _listed(document)


def _parse(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _listed(document: Any) -> list[Any]:
    if isinstance(document, dict):
        for key in ("tools", "functions"):
            if isinstance(document.get(key), list):
                return list(document[key])
    return document if isinstance(document, list) else [document]


def _tool(record: Any, provider: str, notes: list[str]) -> Tool:
    function = _function(record)
    name = function.get("name")
    if not isinstance(name, str) or not name.strip():
        raise CatalogError(f"expected a function with a name, got {str(record)[:80]!r}")
    description = function.get("description")
    if description is not None and not isinstance(description, str):
        notes.append(f"{name}: the description is not text and was left out")
    parameters = function.get("parameters", function.get("input_schema"))
    return Tool(
        id=tool_id(provider, name),
        provider=provider,
        name=name,
        description=description.strip() if isinstance(description, str) else "",
        parameters=normalize_schema(parameters, on_note=lambda line: notes.append(f"{name}: {line}")),
        source={"dataset": provider, "format": "openai", "name": name},
    )


def _function(record: Any) -> dict[str, Any]:
    if not isinstance(record, dict):
        raise CatalogError(f"expected a function object, got {type(record).__name__}")
    if isinstance(record.get("function"), dict):
        return dict(record["function"])
    if record.get("type", "function") not in ("function", "custom"):
        raise CatalogError(f"type {record['type']!r} is not a function")
    return record
