"""Whether the parts of a dataset fit together: queries and trajectories name tools and requests that exist."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from toolgen.catalog.catalog import Catalog
from toolgen.catalog.overview import catalog_errors
from toolgen.catalog.schema import schema_errors
from toolgen.catalog.tool import Definition
from toolgen.datasets.folder import Dataset
from toolgen.datasets.messages import FINISH, NO_TOOL
from toolgen.datasets.preference import Preference
from toolgen.datasets.query import Query
from toolgen.datasets.task import Task
from toolgen.datasets.trajectory import Trajectory


@dataclass(frozen=True)
class Validation:
    """`errors` break the rules of a dataset; `warnings` are faults that the source declares, such as ground truth that
    contradicts its own function (`faults` of a query or task)."""

    errors: tuple[str, ...]
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """A record for JSON."""
        return {"valid": not self.errors, "errors": list(self.errors), "warnings": list(self.warnings)}


def validate_dataset(dataset: Dataset, on_progress: Callable[[int, int], None] | None = None) -> Validation:
    """Checks schemas, ids, the catalog's hash, and every call against its tool's schema."""
    requests = [request for split in dataset.queries for request in dataset.requests_and_tasks(split)]
    errors = catalog_errors(dataset.catalog, on_progress)
    # An opened catalog believes the hash in dataset.json; one made of the same tools counts it.
    if (counted := Catalog(dataset.catalog).content_hash) != dataset.catalog.content_hash:
        errors.append(
            f"the catalog's hash is {counted[:12]}..., but dataset.json says {dataset.catalog.content_hash[:12]}..."
        )
    ids = Counter((_kind(request), request.id) for request in requests)
    errors += [f"{kind} id {name!r} occurs {count} times" for (kind, name), count in ids.items() if count > 1]
    warnings: list[str] = []
    definitions = {task.id: task.definitions for tasks in dataset.tasks.values() for task in tasks}
    for request in requests:
        found = _call_errors(dataset.catalog, request, definitions.get(request.id, ()))
        (warnings if request.faults else errors).extend(found)
    errors += _split_errors(dataset)
    errors += _run_errors(dataset, {request.id for request in requests})
    errors += _preference_errors(dataset)
    return Validation(tuple(errors), tuple(warnings))


def _kind(record: Query | Task | Trajectory | Preference) -> str:
    return type(record).__name__.lower()


def _call_errors(catalog: Catalog, request: Query | Task, definitions: Sequence[Definition]) -> Iterator[str]:
    place = f"{_kind(request)} {request.id}"
    named = dict.fromkeys((*request.tools, *(call.tool for call in request.calls or ())))
    unknown = [tool for tool in named if tool not in catalog]
    meant = catalog.redefined(one for one in definitions if one.tool in catalog)
    yield from (f"{place}: no tool {tool!r} in the catalog" for tool in unknown)
    for call in request.calls or ():
        if call.tool not in unknown:
            faults = schema_errors(call.arguments, meant.get(call.tool).parameters)
            yield from (f"{place}: call of {call.tool}: {fault}" for fault in faults)


def _split_errors(dataset: Dataset) -> Iterator[str]:
    """A task and its query in two splits: what one tests, the other trains."""
    split_of = {query.id: split for split, queries in dataset.queries.items() for query in queries}
    for split, tasks in dataset.tasks.items():
        for task in tasks:
            if (other := split_of.get(task.id, split)) != split:
                yield f"task {task.id} is in the split {split}, its query in {other}"


def _run_errors(dataset: Dataset, known: set[str]) -> Iterator[str]:
    """Trajectories and preferences of requests that do not exist."""
    runs: Iterator[Trajectory | Preference] = chain(*dataset.trajectories.values(), *dataset.preferences.values())
    for one in runs:
        if one.query not in known:
            yield f"{_kind(one)} {one.id}: no query or task {one.query!r} in the dataset"


def _preference_errors(dataset: Dataset) -> Iterator[str]:
    for one in chain.from_iterable(dataset.preferences.values()):
        for tool in sorted({*one.called_tools, *(one.tools or ())} - {FINISH, NO_TOOL}):
            if tool not in dataset.catalog:
                yield f"preference {one.id}: no tool {tool!r} in the catalog"
