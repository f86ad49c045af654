"""Sources as the command line names them (`bfcl:`, `openai:FILE`, `python:MODULE`), put together into one Dataset.

Knows which loader reads which kind of source, and no file format itself.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from toolgen.catalog.catalog import Catalog
from toolgen.catalog.loaders.common import LoadedTools
from toolgen.catalog.loaders.openai_functions import load_openai_functions
from toolgen.catalog.loaders.python_functions import load_python_functions
from toolgen.catalog.loaders.report import LoadReport, Loss
from toolgen.catalog.naming import unique_ids
from toolgen.catalog.tool import Tool
from toolgen.datasets.bfcl import find_package, import_bfcl
from toolgen.datasets.folder import Dataset
from toolgen.datasets.splits import SPLITS
from toolgen.errors import DatasetError, InputError, UsageError

OnMessage = Callable[[str], None]

TOOL_LOADERS: dict[str, Callable[[str], LoadedTools]] = {
    "openai": lambda place: load_openai_functions(Path(place)),
    "python": load_python_functions,
}
DATASET_KINDS = ("bfcl",)
KINDS = (*DATASET_KINDS, *TOOL_LOADERS)


@dataclass(frozen=True)
class Source:
    """One source: its kind and the place where it is, empty for the kind's own default."""

    kind: str
    place: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.place}"


def parse_source(text: str) -> Source:
    """`kind:place` as a Source; UsageError names the nearest kind or says what is missing."""
    kind, colon, place = text.partition(":")
    if not colon or kind not in KINDS:
        near = difflib.get_close_matches(kind, KINDS, n=1)
        hint = f"; did you mean {near[0]}:?" if near else ""
        raise UsageError(f"unknown source {text!r}; sources are {', '.join(f'{k}:' for k in KINDS)}{hint}")
    if kind in TOOL_LOADERS and not place:
        raise UsageError(f"source {text!r} lacks what to read; write for example {kind}:tools.{_ending(kind)}")
    return Source(kind, place)


def bfcl_package(source: Source, on_message: OnMessage | None = None) -> Path:
    """The folder of the package bfcl-eval that a `bfcl:` source names; fetched into the cache if it names none."""
    if source.place:
        return find_package(Path(source.place))
    from toolgen.fetching import fetch_dataset

    return find_package(fetch_dataset("bfcl", on_message=on_message))


def build_dataset(sources: Sequence[Source], name: str, *, on_message: OnMessage | None = None) -> Dataset:
    """One dataset of all sources, with one report each.

    A source that cannot be read is a loss in its report, and the others are still loaded. Where two sources give the
    same id, the dataset's own tool keeps it, then the earlier source's; the other gets a counting suffix, which its
    report notes. `name` is used unless the only source is a published dataset. DatasetError if nothing was loaded.
    """
    published = [source for source in sources if source.kind in DATASET_KINDS]
    if len(published) > 1:
        raise UsageError(f"{' and '.join(map(str, published))} are both datasets with queries; build them one by one")
    base = import_bfcl(bfcl_package(published[0], on_message)) if published else None
    tools: list[Tool] = list(base.catalog) if base else []
    reports = list(base.reports) if base else []
    for source in sources:
        if source.kind in TOOL_LOADERS:
            reports.append(_add(tools, source))
    if not tools:
        raise DatasetError(f"no tool could be loaded: {_first_reason(reports)}")
    if base and len(sources) == 1:
        return base
    return _combined(name, Catalog(tools), base, sources, tuple(reports))


def _add(tools: list[Tool], source: Source) -> LoadReport:
    """Appends the tools of a source under ids that are still free; returns its report."""
    try:
        loaded = TOOL_LOADERS[source.kind](source.place)
    except InputError as error:
        return LoadReport(source=str(source), loaded=0, losses=(Loss(str(source), str(error)),))
    ids = unique_ids((tool.id for tool in loaded.tools), taken={tool.id for tool in tools})
    tools += [replace(tool, id=unique) for tool, unique in zip(loaded.tools, ids.ids, strict=True)]
    notes = tuple(f"id {given!r} is taken by another source; became {new!r}" for given, new in ids.renamed)
    return replace(loaded.report, notes=loaded.report.notes + notes)


def _combined(
    name: str, catalog: Catalog, base: Dataset | None, sources: Sequence[Source], reports: tuple[LoadReport, ...]
) -> Dataset:
    return Dataset(
        name=name,
        version=catalog.content_hash[:12],
        source=", ".join(f"{source.kind}:{Path(source.place).name}" for source in sources),
        licence=f"{base.licence} ({base.name}), the rest unknown" if base else "unknown",
        catalog=catalog,
        queries=base.queries if base else dict.fromkeys(SPLITS, ()),
        reports=reports,
    )


def _first_reason(reports: Sequence[LoadReport]) -> str:
    reasons = [f"{loss.name}: {loss.reason}" for report in reports for loss in report.losses]
    return reasons[0] if reasons else f"{', '.join(report.source for report in reports)} describes none"


def _ending(kind: str) -> str:
    return "json" if kind == "openai" else "py"
