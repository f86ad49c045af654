"""The dataset folder: what every importer writes and everything else reads.

    dataset.json                 format, name, version, source, licence, counts, sha256 of each file, load reports
    catalog.jsonl                one tool a line
    queries.{train,dev,test}.jsonl        requests and the tools that answer them
    tasks.{train,dev,test}.jsonl          what an agent is to do, where that is more than its query says
    trajectories.{train,dev,test}.jsonl   what was said and done
    preferences.{train,dev,test}.jsonl    which of two ways to go on was better; only where there are some

Knows no source format and no model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from toolgen.catalog.catalog import Catalog
from toolgen.catalog.loaders.report import LoadReport
from toolgen.datasets.preference import Preference
from toolgen.datasets.query import Query
from toolgen.datasets.splits import SPLITS
from toolgen.datasets.task import Task
from toolgen.datasets.trajectory import Trajectory
from toolgen.errors import DatasetError, InputError, UsageError
from toolgen.files import check_replaceable, new_folder, sha256_of, write_json, write_records
from toolgen.foreign.data import read_json, read_objects
from toolgen.foreign.typed import typed

FORMAT_VERSION = 3
METADATA_FILE = "dataset.json"
CATALOG_FILE = "catalog.jsonl"
_KINDS = ("queries", "tasks", "trajectories", "preferences")
_ALWAYS = _KINDS[:3]
"""Those that every dataset has a file of, even an empty one."""
SEARCH_CACHE = ".search"
"""Inside the folder: the word index of a large catalog."""
_FILES = {CATALOG_FILE, *(f"{kind}.{split}.jsonl" for kind in _KINDS for split in SPLITS)}

Record = TypeVar("Record", Query, Task, Trajectory, Preference)


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A catalog with the queries, tasks, trajectories and preferences that were published for it.

    Each but the catalog has the keys train, dev and test; a split that is not given is empty. A task that shares its id with a
    query is the same request, with all that the source tells of it. `reports` tell what the importers lost or repaired.
    """

    name: str
    version: str
    source: str
    licence: str
    catalog: Catalog
    queries: Mapping[str, tuple[Query, ...]] = field(default_factory=dict)
    tasks: Mapping[str, tuple[Task, ...]] = field(default_factory=dict)
    trajectories: Mapping[str, tuple[Trajectory, ...]] = field(default_factory=dict)
    preferences: Mapping[str, tuple[Preference, ...]] = field(default_factory=dict)
    reports: tuple[LoadReport, ...] = ()

    def __post_init__(self) -> None:
        for name in _KINDS:
            given: Mapping[str, tuple[Any, ...]] = getattr(self, name)
            if unknown := sorted(set(given) - set(SPLITS)):
                raise DatasetError(f"dataset {self.name!r}: no split {unknown[0]!r}; splits are {', '.join(SPLITS)}")
            object.__setattr__(self, name, {split: tuple(given.get(split, ())) for split in SPLITS})

    def requests(self, split: str) -> tuple[Query, ...]:
        """The queries of a split; UsageError for another name."""
        if split not in self.queries:
            raise UsageError(f"dataset {self.name} has no split {split!r}; it has {', '.join(self.queries)}")
        return self.queries[split]

    def searches(self, split: str) -> list[Query]:
        """The requests of a split that need tools."""
        return [query for query in self.requests(split) if query.tools]

    def requests_and_tasks(self, split: str) -> list[Query | Task]:
        """All that is asked in a split; what is both a query and a task comes twice."""
        return [*self.queries[split], *self.tasks[split]]

    def all_tasks(self, split: str) -> list[Task]:
        """All that an agent can be given to do: the tasks of a split, then every other query as a task of one turn."""
        requests, tasks = self.requests(split), self.tasks[split]
        known = {task.id for task in tasks}
        return [*tasks, *(Task.from_query(query) for query in requests if query.id not in known)]

    @property
    def asked_tools(self) -> frozenset[str]:
        """The tools that at least one training request or task asks for. Synthetic ones are made for every tool alike and do
        not count."""
        requests = (query.tools for query in self.queries["train"] if not query.is_synthetic)
        tasks = (task.tools for task in self.tasks["train"] if not task.synthetic)
        return frozenset(tool for tools in (*requests, *tasks) for tool in tools)

    @property
    def has_unasked_tools(self) -> bool:
        """Whether there are tools that no training request or task asks for."""
        return not self.asked_tools.issuperset(self.catalog.ids)

    @property
    def tool_sets(self) -> tuple[tuple[str, ...], ...]:
        """The distinct sets of several tools that training requests ask for together, in the catalog's order."""
        asked = (query for query in self.searches("train") if not query.is_synthetic)
        found = {tuple(sorted(set(query.tools), key=self.catalog.position)) for query in asked}
        return tuple(sorted((one for one in found if len(one) > 1), key=lambda one: [*map(self.catalog.position, one)]))

    @property
    def counts(self) -> dict[str, int]:
        """How many records there are of each kind, as in `dataset.json`."""
        counts = {"tools": len(self.catalog)}
        for kind in _KINDS:
            counts |= {
                f"{kind}.{split}": len(found)
                for split, found in getattr(self, kind).items()
                if found or kind in _ALWAYS
            }
        return counts

    def lacks(self, older: Dataset) -> dict[str, int]:
        """How many records of an older dataset this one does not have, by kind. They are known by their ids, queries by their
        texts, too."""
        counts = {}
        for kind in _KINDS:
            new, old = (
                {_identity(one) for some in getattr(each, kind).values() for one in some} for each in (self, older)
            )
            counts[kind] = len(old - new)
        return {kind: count for kind, count in counts.items() if count}


@dataclass(frozen=True, kw_only=True)
class _Metadata:
    """What `dataset.json` holds."""

    name: str
    version: str
    source: str
    licence: str
    files: Mapping[str, str]
    catalog_hash: str | None = None
    reports: tuple[LoadReport, ...] = ()


def save_dataset(dataset: Dataset, path: Path) -> None:
    """Writes the folder whole or not at all. An older dataset at `path` is replaced, and what else stands in its folder stays;
    a folder of something else is a UsageError."""
    path = Path(path)
    check_replaceable(path, METADATA_FILE, "dataset")
    try:
        with new_folder(path, {METADATA_FILE, SEARCH_CACHE, *_FILES}) as folder:
            _write_files(dataset, folder)
    except UnicodeEncodeError as error:
        raise DatasetError(f"cannot write the dataset {path}: {error}") from error


def load_dataset(path: Path, *, verify: bool = True) -> Dataset:
    """Reads a dataset folder. DatasetError names what is missing, damaged or of another format version.

    `verify` compares the sha256 of each file with the one in `dataset.json`; tools are then parsed when they are first
    asked for, and the catalog's hash is the one that was written with them.
    """
    path = Path(path)
    metadata = read_metadata(path)
    if verify:
        verify_files(path, metadata)
        catalog = Catalog.open(path / CATALOG_FILE, metadata.get("catalog_hash"))
    else:
        catalog = Catalog.load(path / CATALOG_FILE)
    return Dataset(
        name=metadata["name"],
        version=metadata["version"],
        source=metadata["source"],
        licence=metadata["licence"],
        catalog=catalog,
        queries=_read_splits(path, "queries", metadata, Query.from_dict),
        tasks=_read_splits(path, "tasks", metadata, Task.from_dict),
        trajectories=_read_splits(path, "trajectories", metadata, Trajectory.from_dict),
        preferences=_read_splits(path, "preferences", metadata, Preference.from_dict),
        reports=tuple(LoadReport.from_dict(report) for report in metadata.get("reports", ())),
    )


def read_metadata(path: Path) -> dict[str, Any]:
    """The content of `dataset.json`, checked for its format version and keys."""
    file = Path(path) / METADATA_FILE
    if not file.exists():
        raise DatasetError(
            f"{path} is not a dataset folder: it has no {METADATA_FILE}; make one with 'toolgen catalog build'"
        )
    try:
        metadata = read_json(file)
    except InputError as error:
        raise DatasetError(str(error)) from error
    version = metadata.get("format") if isinstance(metadata, dict) else None
    if version != FORMAT_VERSION:
        raise DatasetError(f"{file} has format version {version!r}; this toolgen reads version {FORMAT_VERSION}")
    try:
        typed(_Metadata, metadata)
    except ValueError as error:
        raise DatasetError(f"{file} is damaged: {error}; build the dataset again") from error
    if unknown := sorted(metadata["files"].keys() - _FILES):
        raise DatasetError(f"{file} names a file {unknown[0]!r}, which is none of a dataset; build the dataset again")
    result: dict[str, Any] = metadata
    return result


def verify_files(path: Path, metadata: Mapping[str, Any]) -> None:
    """DatasetError if a file of the folder is missing or differs from its sha256 in `dataset.json`."""
    if CATALOG_FILE not in metadata["files"]:
        raise DatasetError(f"{path}: {METADATA_FILE} lists no {CATALOG_FILE}; build the dataset again")
    for name, expected in metadata["files"].items():
        file = Path(path) / name
        if not file.is_file():
            raise DatasetError(f"{path} is incomplete: {name} is missing; build the dataset again")
        if (found := sha256_of(file)) != expected:
            raise DatasetError(
                f"{file} was changed or damaged: its sha256 is {found[:12]}..., {METADATA_FILE} says {expected[:12]}..."
            )


def _identity(record: Record) -> tuple[str, str]:
    return record.id, record.text if isinstance(record, Query) else ""


def _write_files(dataset: Dataset, folder: Path) -> None:
    dataset.catalog.save(folder / CATALOG_FILE)
    for kind in _KINDS:
        for split, records in getattr(dataset, kind).items():
            if records or kind in _ALWAYS:
                write_records(folder / f"{kind}.{split}.jsonl", (one.to_dict() for one in records))
    metadata = {
        "format": FORMAT_VERSION,
        "name": dataset.name,
        "version": dataset.version,
        "source": dataset.source,
        "licence": dataset.licence,
        "counts": dataset.counts,
        "catalog_hash": dataset.catalog.content_hash,
        "files": {file.name: sha256_of(file) for file in sorted(folder.iterdir())},
        "reports": [report.to_dict() for report in dataset.reports],
    }
    write_json(folder / METADATA_FILE, metadata)


def _read_splits(
    folder: Path, kind: str, metadata: Mapping[str, Any], from_dict: Callable[[Mapping[str, Any]], Record]
) -> dict[str, tuple[Record, ...]]:
    return {split: _read(folder / f"{kind}.{split}.jsonl", metadata, from_dict) for split in SPLITS}


def _read(
    path: Path, metadata: Mapping[str, Any], from_dict: Callable[[Mapping[str, Any]], Record]
) -> tuple[Record, ...]:
    if path.name not in metadata["files"]:
        return ()

    def refuse(line: str, reason: str) -> None:
        raise DatasetError(f"{path}, {line}: {reason}")

    records = []
    for number, record in read_objects(path, refuse):
        try:
            records.append(from_dict(record))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            reason = error if isinstance(error, ValueError) else repr(error)
            raise DatasetError(f"{path}, line {number}: not a record of this kind ({reason})") from error
    return tuple(records)
