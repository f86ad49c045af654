"""Corpus: what pretraining draws from, many catalogs with the requests for their tools and conversations about them.

Knows no model. A corpus is read from dataset folders; a request counts by who wrote it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from toolgen.catalog.tool import Tool
from toolgen.datasets import Dataset
from toolgen.datasets.query import Query, Synthetic
from toolgen.datasets.trajectory import Message

KIND_WEIGHTS = {"user": 3.0, "trained": 2.0, "vague": 0.5, "specified": 0.5, "descriptive": 0.5}
"""How often a request is drawn, by the style of who wrote it: people, a writer that learned from people, rules."""


class Asked(NamedTuple):
    """A request and the places of its tools in their catalog; none where no tool fits it."""

    text: str
    tools: tuple[int, ...]
    weight: float = 1.0


@dataclass(frozen=True)
class TrainingCatalog:
    """One catalog of a corpus. `weight` says how often it is drawn."""

    name: str
    tools: tuple[Tool, ...]
    requests: tuple[Asked, ...]
    conversations: tuple[tuple[Message, ...], ...] = ()
    weight: float = 1.0

    @cached_property
    def positions(self) -> Mapping[str, int]:
        """The place of each tool in this catalog, by id."""
        return {tool.id: place for place, tool in enumerate(self.tools)}

    @cached_property
    def by_id(self) -> Mapping[str, Tool]:
        """The tools by id."""
        return {tool.id: tool for tool in self.tools}

    @classmethod
    def of(cls, dataset: Dataset, weight: float | None = None) -> TrainingCatalog:
        """The training split of a dataset. By default a catalog is drawn in proportion to the square root of its asked tools,
        so that large ones lead and small ones are not drowned."""
        requests = tuple(
            Asked(query.text, tuple(map(dataset.catalog.position, query.tools)), _weight(query))
            for query in dataset.queries["train"]
        )
        asked = {tool for one in requests for tool in one.tools}
        return cls(
            dataset.name,
            tuple(dataset.catalog),
            requests,
            tuple(trajectory.messages for trajectory in dataset.trajectories["train"]),
            len(asked) ** 0.5 if weight is None else weight,
        )


def _weight(query: Query) -> float:
    style = query.origin.style if isinstance(query.origin, Synthetic) else "user"
    return KIND_WEIGHTS.get(style, 1.0)


@dataclass(frozen=True)
class Corpus:
    """Catalogs one after another; a *place* is that of a tool in all of them."""

    catalogs: tuple[TrainingCatalog, ...]

    @cached_property
    def offsets(self) -> Sequence[int]:
        """The place of each catalog's first tool."""
        offsets = [0]
        for catalog in self.catalogs:
            offsets.append(offsets[-1] + len(catalog.tools))
        return offsets

    @cached_property
    def tools(self) -> tuple[Tool, ...]:
        """The tools by place."""
        return tuple(tool for catalog in self.catalogs for tool in catalog.tools)
