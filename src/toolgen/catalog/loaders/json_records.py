"""Reads a list of tools from JSON or JSON lines, whatever the form of a record: what the loaders of tool lists share."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

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

    A line of JSON lines that cannot be read is a loss. CatalogError if the file cannot be read or is neither JSON nor JSON
    lines.
    """
    path = Path(path)
    provider = path.stem if provider is None else provider
    tools: list[Tool] = []
    losses: list[Loss] = []
    notes: list[str] = []
    records, broken = _records(path, notes)
    for number, record in enumerate(records, start=1):
        try:
            tools.append(read_tool(scrub(record), provider, notes))
        except CatalogError as error:
            losses.append(Loss(f"record {number}", str(error)))
        except RecursionError:
            losses.append(Loss(f"record {number}", "nested too deeply"))
    ids = unique_ids(tool.id for tool in tools)
    notes += [f"name of {given!r} occurs again; became {new!r}" for given, new in ids.renamed]
    tools = [replace(tool, id=unique) for tool, unique in zip(tools, ids.ids, strict=True)]
    report = LoadReport(source=f"{kind}:{path.name}", loaded=len(tools), losses=(*broken, *losses), notes=tuple(notes))
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


def _records(path: Path, notes: list[str]) -> tuple[list[Any], list[Loss]]:
    """The records of a JSON document, or of JSON lines if the file is not one document; and the lines that are none."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogError(f"cannot read {path}: {error}") from error
    numbers = _Numbers()
    broken: list[Loss] = []
    try:
        documents = [numbers.parse(text)]
    except ValueError as error:
        documents, broken = _lines(text, numbers)
        # Lines of a broken document that happen to be JSON are no JSON lines.
        if sum(isinstance(document, dict) for document in documents) <= len(broken):
            raise CatalogError(f"{path} is neither JSON nor JSON lines: {error}") from None
    if numbers.refused:
        notes.append(f"{numbers.refused} numbers that JSON does not have (NaN, Infinity, 1e999) became null")
    return [record for document in documents for record in _listed(document)], broken


def _lines(text: str, numbers: _Numbers) -> tuple[list[Any], list[Loss]]:
    """The values of the lines, which end at a line feed alone: other separators of Unicode stand inside JSON texts."""
    documents: list[Any] = []
    broken: list[Loss] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                documents.append(numbers.parse(line))
            except ValueError as error:
                broken.append(Loss(f"line {number}", f"not JSON: {error}"))
    return documents, broken


class _Numbers:
    """Parses JSON as programs write it, and counts the numbers that JSON does not have."""

    def __init__(self) -> None:
        self.refused = 0

    def parse(self, text: str) -> Any:
        """The value of a text; ValueError if it is none."""
        try:
            return json.loads(text, parse_constant=self._nothing, parse_float=self._finite)
        except RecursionError:
            raise ValueError("nested too deeply") from None

    def _nothing(self, _constant: str) -> None:
        self.refused += 1

    def _finite(self, text: str) -> float | None:
        value = float(text)
        if math.isfinite(value):
            return value
        self.refused += 1
        return None


LISTS = ("tools", "functions", "functionDeclarations", "function_declarations")
"""Keys under which requests and answers list tools, also within `result` (JSON-RPC) and within each other (Gemini)."""


def _listed(document: Any) -> Sequence[Any]:
    """The records of a document, whatever it wraps them in."""
    if isinstance(document, list):
        return [record for item in document for record in (_listed(item) if _wrapped(item) else [item])]
    wrapped = _wrapped(document)
    return [document] if wrapped is None else _listed(wrapped)


def _wrapped(document: Any) -> Any:
    """The list or object that a document wraps; None where it is a record itself."""
    if not isinstance(document, dict) or "name" in document:
        return None
    for key in LISTS:
        if isinstance(document.get(key), list):
            return document[key]
    result = document.get("result")
    return result if isinstance(result, dict) else None
