"""A catalog in figures, and what is wrong with it: what `catalog show` and `catalog validate` say.

Knows no file and no output format.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from toolgen.catalog.catalog import Catalog, CatalogDiff
from toolgen.catalog.naming import token_collisions
from toolgen.catalog.schema import SchemaChecks
from toolgen.catalog.text import document
from toolgen.catalog.tool import Tool, canonical_json
from toolgen.errors import CatalogError


@dataclass(frozen=True, kw_only=True)
class Overview:
    """Counts over the tools of a catalog. `document_lengths` are characters: smallest, median, 95th percentile,
    largest."""

    tools: int
    content_hash: str
    providers: dict[str, int]
    categories: dict[str, int]
    endpoints: dict[str, int]
    document_lengths: tuple[int, int, int, int]
    parameters: int
    without_description: int
    without_parameters: int
    parameters_without_description: int
    token_collisions: int

    def to_dict(self) -> dict[str, Any]:
        """A record for JSON."""
        return asdict(self)


def overview(catalog: Catalog) -> Overview:
    """Counts and lengths; providers and categories by falling count."""
    tools = tuple(catalog)
    parameters = [schema for tool in tools for schema in tool.properties.values()]
    return Overview(
        tools=len(tools),
        content_hash=catalog.content_hash,
        providers=_counted([tool.provider for tool in tools]),
        categories=_counted([tool.category for tool in tools if tool.category]),
        endpoints=_counted([str((tool.endpoint or {}).get("kind", "none")) for tool in tools]),
        document_lengths=_quantiles([len(document(tool)) for tool in tools]),
        parameters=len(parameters),
        without_description=sum(not tool.description for tool in tools),
        without_parameters=sum(not tool.properties for tool in tools),
        parameters_without_description=sum(
            not (isinstance(schema, dict) and schema.get("description")) for schema in parameters
        ),
        token_collisions=len(token_collisions(catalog)),
    )


def catalog_errors(catalog: Catalog, on_progress: Callable[[int, int], None] | None = None) -> list[str]:
    """What breaks the rules of a catalog, one line each: argument or result schemas that are not valid JSON Schema, and
    argument schemas that are not of an object."""
    errors = []
    checks = SchemaChecks()
    for done, tool in enumerate(catalog, start=1):
        errors += _tool_errors(tool, checks)
        if on_progress:
            on_progress(done, len(catalog))
    return errors


def changed_fields(old: Catalog, new: Catalog, diff: CatalogDiff) -> dict[str, list[str]]:
    """Of each changed tool, the names of the fields that differ."""
    return {tool_id: _differing(old.get(tool_id), new.get(tool_id)) for tool_id in diff.changed}


@dataclass(frozen=True)
class Rename:
    """A removed tool that came back under another id; `fields` are those that differ."""

    old: str
    new: str
    fields: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """A record for JSON."""
        return {"old": self.old, "new": self.new, "fields": list(self.fields)}


def renames(old: Catalog, new: Catalog, diff: CatalogDiff) -> tuple[Rename, ...]:
    """Which removed tools are the same as an added one: first those equal in all but id and provider, then those with
    the same description and parameters. Where several fit, they are paired in their order; a tool without description
    is only taken for the same if all the rest is."""
    found: dict[str, str] = {}
    for key in (_whole_content, _text_and_parameters):
        waiting: dict[str, list[str]] = {}
        taken = set(found.values())
        for tool_id in diff.added:
            if tool_id not in taken and (content := key(new.get(tool_id))):
                waiting.setdefault(content, []).append(tool_id)
        for tool_id in diff.removed:
            if tool_id not in found and (fitting := waiting.get(key(old.get(tool_id)))):
                found[tool_id] = fitting.pop(0)
    return tuple(
        Rename(before, found[before], tuple(_differing(old.get(before), new.get(found[before]))))
        for before in diff.removed
        if before in found
    )


def _whole_content(tool: Tool) -> str:
    record = tool.to_dict()
    return canonical_json({key: record[key] for key in record if key not in ("id", "provider", "source")})


def _text_and_parameters(tool: Tool) -> str:
    return canonical_json([tool.description, tool.parameters]) if tool.description else ""


def _differing(old: Tool, new: Tool) -> list[str]:
    before, after = old.to_dict(), new.to_dict()
    return [key for key in before if before[key] != after[key] and key != "source"]


def _tool_errors(tool: Tool, checks: SchemaChecks) -> list[str]:
    errors = []
    for name, schema in (("parameters", tool.parameters), ("returns", tool.returns)):
        if schema is None:
            continue
        try:
            checks.check(schema)
        except CatalogError as error:
            errors.append(f"{tool.id}: {name}: {error}")
    if tool.parameters.get("type") != "object":
        errors.append(f"{tool.id}: parameters: type {tool.parameters.get('type')!r} instead of 'object'")
    return errors


def _counted(names: Sequence[str]) -> dict[str, int]:
    return dict(Counter(names).most_common())


def _quantiles(lengths: Sequence[int]) -> tuple[int, int, int, int]:
    if not lengths:
        return (0, 0, 0, 0)
    ordered = sorted(lengths)
    last = len(ordered) - 1
    return (ordered[0], ordered[last // 2], ordered[last * 95 // 100], ordered[last])
