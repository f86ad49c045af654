"""Reads a list of tools from JSON or JSON lines, whatever the form of a record: what the loaders of tool lists share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from toolgen.catalog.loaders.common import LoadedTools
from toolgen.catalog.loaders.report import LoadReport, Loss
from toolgen.catalog.naming import tool_id, unique_ids
from toolgen.catalog.normalization import normalize_schema
from toolgen.catalog.tool import Tool
from toolgen.errors import CatalogError
from toolgen.foreign.data import read_values

ReadTool = Callable[[Any, str, list[str]], Tool]
"""One record to its tool, for a provider, with a list that takes notes; CatalogError if the record is none."""


def load_tool_records(path: Path, kind: str, read_tool: ReadTool, provider: str | None = None) -> LoadedTools:
    """The tools of one file; `provider` defaults to the file's name without its ending, `kind` is that of the source.

    A line of JSON lines that cannot be read is a loss. InputError if the file cannot be read or is neither JSON nor JSON
    lines.
    """
    path = Path(path)
    provider = path.stem if provider is None else provider
    tools: list[Tool] = []
    losses: list[Loss] = []
    notes: list[str] = []
    documents = read_values(path, lambda line, reason: losses.append(Loss(line, reason)), notes.append)
    for number, record in enumerate((record for document in documents for record in listed_records(document)), start=1):
        try:
            namespace = record.get("namespace") if isinstance(record, dict) else None
            tools.append(read_tool(record, namespace if isinstance(namespace, str) else provider, notes))
        except CatalogError as error:
            losses.append(Loss(f"record {number}", str(error)))
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


LISTS = ("tools", "functions", "functionDeclarations", "function_declarations")
"""Keys under which requests and answers list tools, also within each other (Gemini)."""
AROUND = ("result", "toolConfig")
"""Keys of objects that hold such a list: JSON-RPC, Bedrock."""
_SCHEMAS = frozenset({"inputSchema", "parameters", "input_schema"})


def listed_records(document: Any) -> Sequence[Any]:
    """The records of a document, whatever it wraps them in; those of an OpenAI namespace say its name as `namespace`."""
    if isinstance(document, list):
        return [record for item in document for record in (listed_records(item) if isinstance(item, dict) else [item])]
    wrapped = _wrapped(document)
    if wrapped is None:
        return [document]
    group = {"namespace": document["name"]} if "name" in document else {}
    return [{**one, **group} if isinstance(one, dict) else one for one in listed_records(wrapped)]


def _wrapped(document: Any) -> Any:
    """The list or object that a document wraps; None where it is a record itself."""
    if not isinstance(document, dict) or ("name" in document and document.get("type") != "namespace"):
        return None
    for key in LISTS:
        if isinstance(document.get(key), list):
            return document[key]
        if _is_map(document.get(key)):
            return _of_map(document[key])
    for key in AROUND:
        if isinstance(document.get(key), dict):
            return document[key]
    return _of_map(document) if _is_map(document) else None


def _is_map(value: Any) -> bool:
    """Whether this is the AI SDK's map from names to tools."""
    return (
        isinstance(value, dict)
        and bool(value)
        and not {"function", "toolSpec"} & value.keys()
        and all(isinstance(one, dict) and "name" not in one and _SCHEMAS & one.keys() for one in value.values())
    )


def _of_map(tools: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"name": name, **tool} for name, tool in tools.items()]
