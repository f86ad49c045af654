"""Functions from catalog to catalog: filter, prefix, merge, exact de-duplication, each with a record of what changed.

Knows no file and no query: `datasets.transforms` carries the record over to requests.
"""

from __future__ import annotations

import fnmatch
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from toolgen.catalog.catalog import Catalog
from toolgen.catalog.naming import prefixed_id, unique_ids
from toolgen.catalog.tool import Tool, canonical_json
from toolgen.errors import UsageError

Selector = Callable[[Tool], bool]
"""Whether a tool is meant."""


@dataclass(frozen=True, kw_only=True)
class Transformed:
    """A catalog, and how it came from another: `renamed` leads from an old id to the id that now stands for it (after
    de-duplication, that of the tool that was kept); `removed` are ids that nothing stands for."""

    catalog: Catalog
    renamed: Mapping[str, str] = field(default_factory=dict)
    removed: tuple[str, ...] = ()


def selector(text: str) -> Selector:
    """What `--include` and `--exclude` take: `provider:GLOB`, `category:GLOB`, `described` (the tool has a description),
    `id:REGEX`, or a regular expression alone, looked for anywhere in the id. UsageError if it is none of these.

        selector("provider:*.stripe.com"), selector("described"), selector("^math&&")
    """
    kind, colon, pattern = text.partition(":")
    if text == "described":
        return lambda tool: bool(tool.description.strip())
    if colon and kind in ("provider", "category"):
        return lambda tool: fnmatch.fnmatchcase(str(getattr(tool, kind)), pattern)
    try:
        expression = re.compile(pattern if colon and kind == "id" else text)
    except (re.error, OverflowError, RecursionError) as error:
        raise UsageError(
            f"{text!r} selects no tools: {error}; write provider:GLOB, category:GLOB, described, or a regular "
            "expression for the id"
        ) from None
    return lambda tool: expression.search(tool.id) is not None


def filter_tools(catalog: Catalog, include: Sequence[Selector] = (), exclude: Sequence[Selector] = ()) -> Transformed:
    """The tools that one of `include` means (all, if there is none) and none of `exclude`."""
    kept: list[Tool] = []
    removed: list[Tool] = []
    for tool in catalog:
        wanted = not include or any(means(tool) for means in include)
        wanted = wanted and not any(means(tool) for means in exclude)
        (kept if wanted else removed).append(tool)
    return Transformed(catalog=Catalog(kept), removed=tuple(tool.id for tool in removed))


def select_tools(catalog: Catalog, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> Catalog:
    """The tools that one of `include` means (all, if there is none) and none of `exclude`, each written as for `selector`; the
    catalog itself where nothing is asked. UsageError if no tool is left.

        retriever.index(select_tools(checkpoint.catalog, include=["provider:mail"]))
    """
    if not include and not exclude:
        return catalog
    found = filter_tools(catalog, [*map(selector, include)], [*map(selector, exclude)])
    if not len(found.catalog):
        raise UsageError(f"none of the {len(catalog):,} tools is left by --include and --exclude; ask for others")
    return found.catalog


def prefix_providers(catalog: Catalog, prefix: str) -> Transformed:
    """Every provider with `prefix` in front, and the ids with it: `weather&&today` becomes `acme.weather&&today`. A tool
    without provider gets the prefix as its provider, without a separator at its end."""
    if not prefix.strip():
        raise UsageError("the prefix of the providers is empty; give for example acme.")
    pairs = [prefixed_id(tool, prefix) for tool in catalog]
    ids = unique_ids(new_id for _, new_id in pairs).ids
    tools = [
        replace(tool, id=new_id, provider=provider)
        for tool, (provider, _), new_id in zip(catalog, pairs, ids, strict=True)
    ]
    return Transformed(catalog=Catalog(tools), renamed=dict(zip(catalog.ids, ids, strict=True)))


def merge(catalogs: Iterable[Catalog]) -> tuple[Catalog, tuple[Mapping[str, str], ...]]:
    """All tools one after another, and for each catalog the ids that were taken and what they became. Equal tools stay
    apart: see `deduplicate`."""
    tools: list[Tool] = []
    renamed: list[Mapping[str, str]] = []
    taken: set[str] = set()
    for catalog in catalogs:
        unique = unique_ids(catalog.ids, taken)
        taken.update(unique.ids)
        renamed.append(dict(unique.renamed))
        tools += [
            tool if tool.id == new else replace(tool, id=new) for tool, new in zip(catalog, unique.ids, strict=True)
        ]
    return Catalog(tools), tuple(renamed)


def deduplicate(catalog: Catalog) -> Transformed:
    """One tool where several are equal in everything but id and source; the first is kept and stands for the others."""
    kept: dict[bytes, Tool] = {}
    renamed = {}
    for tool in catalog:
        first = kept.setdefault(_content_without_id(tool), tool)
        if first is not tool:
            renamed[tool.id] = first.id
    return Transformed(catalog=Catalog(kept.values()), renamed=renamed)


def _content_without_id(tool: Tool) -> bytes:
    record = tool.to_dict()
    del record["id"], record["source"]
    return hashlib.sha256(canonical_json(record).encode("utf-8", "surrogatepass")).digest()
