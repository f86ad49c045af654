"""Reads a list of tools from JSON or JSON lines, whatever the form of a record: what the loaders of tool lists share."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from toolgen.catalog.loaders.common import LoadedTools, scrub
from toolgen.catalog.loaders.report import LoadReport, Loss
from toolgen.catalog.naming import tool_id, unique_ids
from toolgen.catalog.normalization import normalize_schema
from toolgen.catalog.tool import Tool
from toolgen.errors import CatalogError

ReadTool = Callable[[Any, str, list[str]], Tool]
"""One record to its tool, for a provider, with a list that takes notes; CatalogError if the record is none."""


def load_tool_records(path: Path, kind: str, read_tool: ReadTool, provider: str | None = None) -> LoadedTools:
    """The tools of one file; `provider` defaults to the file's name without its ending, `kind` is that of the source.

    CatalogError if the file cannot be read or is neither JSON nor JSON lines.
    """
    path = Path(path)
    provider = path.stem if provider is None else provider
    tools: list[Tool] = []
    losses: list[Loss] = []
    notes: list[str] = []
    for number, record in enumerate(_records(path), start=1):
        try:
            tools.append(read_tool(scrub(record), provider, notes))
        except CatalogError as error:
            losses.append(Loss(f"record {number}", str(error)))
        except RecursionError:
            losses.append(Loss(f"record {number}", "nested too deeply"))
    ids = unique_ids(tool.id for tool in tools)
    notes += [f"name of {given!r} occurs again; became {new!r}" for given, new in ids.renamed]
    tools = [replace(tool, id=unique) for tool, unique in zip(tools, ids.ids, strict=True)]
    report = LoadReport(source=f"{kind}:{path.name}", loaded=len(tools), losses=tuple(losses), notes=tuple(notes))
    return LoadedTools(tuple(tools), report)


def described_tool(record: dict[str, Any], parameters: Any, provider: str, form: str, notes: list[str]) -> Tool:
    """The tool of a record with `name` and `description`; CatalogError if it has no name."""
    name = record.get("name")
    if not isinstance(name, str) or not name.strip():
        raise CatalogError(f"expected a function with a name, got {str(record)[:80]!r}")
    description = record.get("description")
    if description is not None and not isinstance(description, str):
        notes.append(f"{name}: the description is not text and was left out")
    return Tool(
        id=tool_id(provider, name),
        provider=provider,
        name=name,
        description=description.strip() if isinstance(description, str) else "",
        parameters=normalize_schema(parameters, on_note=lambda line: notes.append(f"{name}: {line}")),
        source={"dataset": provider, "format": form, "name": name},
    )


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
