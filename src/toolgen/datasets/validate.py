"""Whether the parts of a dataset fit together: queries and trajectories name tools and requests that exist."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from toolgen.catalog.catalog import Catalog
from toolgen.catalog.overview import catalog_errors
from toolgen.catalog.schema import schema_errors
from toolgen.datasets.folder import Dataset
from toolgen.datasets.query import Query


@dataclass(frozen=True)
class Validation:
    """`errors` break the rules of a dataset; `warnings` are faults that the source declares, such as ground truth that
    contradicts its own function (`meta["call_errors"]`)."""

    errors: tuple[str, ...]
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """A record for JSON."""
        return {"valid": not self.errors, "errors": list(self.errors), "warnings": list(self.warnings)}


def validate_dataset(dataset: Dataset, on_progress: Callable[[int, int], None] | None = None) -> Validation:
    """Checks schemas, ids, the catalog's hash, and every call against its tool's schema."""
    queries = [query for split in dataset.queries.values() for query in split]
    errors = catalog_errors(dataset.catalog, on_progress)
    # An opened catalog believes the hash in dataset.json; one made of the same tools counts it.
    if (counted := Catalog(dataset.catalog).content_hash) != dataset.catalog.content_hash:
        errors.append(
            f"the catalog's hash is {counted[:12]}..., but dataset.json says {dataset.catalog.content_hash[:12]}..."
        )
    errors += [f"query id {name!r} occurs {n} times" for name, n in Counter(q.id for q in queries).items() if n > 1]
    warnings: list[str] = []
    for query in queries:
        found = list(_query_errors(dataset, query))
        (warnings if "call_errors" in query.meta else errors).extend(found)
    errors += _trajectory_errors(dataset, {query.id for query in queries})
    return Validation(tuple(errors), tuple(warnings))


def _query_errors(dataset: Dataset, query: Query) -> Iterator[str]:
    named = dict.fromkeys((*query.tools, *(call.tool for call in query.calls or ())))
    unknown = [tool for tool in named if tool not in dataset.catalog]
    yield from (f"query {query.id}: no tool {tool!r} in the catalog" for tool in unknown)
    for call in query.calls or ():
        if call.tool not in unknown:
            faults = schema_errors(call.arguments, dataset.catalog.get(call.tool).parameters)
            yield from (f"query {query.id}: call of {call.tool}: {fault}" for fault in faults)


def _trajectory_errors(dataset: Dataset, query_ids: set[str]) -> list[str]:
    trajectories = [trajectory for split in dataset.trajectories.values() for trajectory in split]
    return [
        f"trajectory {trajectory.id}: no query {trajectory.query!r} in the dataset"
        for trajectory in trajectories
        if trajectory.query not in query_ids
    ]
