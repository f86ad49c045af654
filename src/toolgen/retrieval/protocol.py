"""Retriever and Ranking: what every way of finding tools has in common, so that all are compared on equal terms.

Requests and a catalog in, tool ids best first out; knows no method and no model.
Shapes: Q requests, N tools of the catalog, k results.
"""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from toolgen.catalog.catalog import Catalog
from toolgen.catalog.tool import Tool
from toolgen.datasets.messages import NO_TOOL
from toolgen.errors import UsageError
from toolgen.foreign.data import clean_text

BEAM = 32
"""Beginnings of tools that a search keeps at each step where a tool is several tokens; ToolGen keeps 5."""


@dataclass(frozen=True)
class Ranking:
    """The tools found for one request: ids best first, each with its score (higher is better; `unit_of` says what it is).
    `no_tool` is the score of declining, from a method that can tell when no tool fits; `declining` says by how many logits
    that is above the best tool's, where such a method is one of a sum.

    Where scores are probabilities of a softmax, `log_total` is the logarithm of what all exponentials add up to. From a
    calibrated retriever (`confidence.py`): `confidence` is the probability that the first tool is a right one, `is_unsure`
    whether that is too little."""

    tools: tuple[str, ...]
    scores: tuple[float, ...]
    no_tool: float | None = None
    log_total: float | None = None
    declining: float | None = None
    confidence: float | None = None
    is_unsure: bool | None = None

    def first(self, k: int) -> Ranking:
        """The first k tools."""
        return replace(self, tools=self.tools[:k], scores=self.scores[:k])

    def logits(self, scores: Sequence[float | None]) -> list[float | None]:
        """The logits that these scores were made of."""
        if self.log_total is None:
            return [*scores]
        total, least = self.log_total, sys.float_info.min
        return [None if score is None else math.log(max(score, least)) + total for score in scores]

    @property
    def is_declined(self) -> bool:
        """Whether no tool fits: as the calibration says, else where declining scores more than every tool."""
        if self.is_unsure is not None:
            return self.is_unsure
        return self.no_tool is not None and self.no_tool > max(self.scores, default=0.0)

    def with_no_tool(self, k: int) -> Ranking:
        """The first k results, of which "no_tool" is one where it ranks among them."""
        if self.no_tool is None:
            return self.first(k)
        place = sum(score >= self.no_tool for score in self.scores)
        tools = (*self.tools[:place], NO_TOOL, *self.tools[place:])
        scores = (*self.scores[:place], self.no_tool, *self.scores[place:])
        return replace(self, tools=tools, scores=scores, no_tool=None).first(k)

    def to_dict(self, query_id: str) -> dict[str, Any]:
        """The record of a rankings file."""
        return {"id": query_id, "tools": list(self.tools), "scores": list(self.scores), **self.judgement}

    @property
    def judgement(self) -> dict[str, Any]:
        """For a record: `confidence`, and `declined` if the calibration says, where they are known."""
        known = {"confidence": self.confidence, "declined": self.is_unsure}
        return {name: value for name, value in known.items() if value is not None}


@runtime_checkable
class Retriever(Protocol):
    """Finds tools of a catalog for requests in plain language.

    `index` is called once before `search` and again when the catalog changes. `search` returns one ranking a query, in
    order, each with the best k tools and no tool twice; equal scores keep the order of the catalog. A method may leave out
    tools that it has no reason to name, as BM25 does those without a word of the query. One text alone is one query.
    A user's own class needs these three names and no base class; its `unit`, if it has one, says what its scores are.
    """

    name: str

    def index(self, catalog: Catalog) -> None:
        """Prepares to search this catalog."""

    def search(self, queries: Sequence[str], k: int) -> list[Ranking]:
        """The best k tools for each query."""


@runtime_checkable
class Composite(Protocol):
    """A retriever that asks others. It has them in `parts` and nowhere else, so that they can be changed or replaced."""

    parts: tuple[Retriever, ...]


def parts_of(retriever: Retriever) -> Iterator[Retriever]:
    """The retriever, and those that it is made of."""
    yield retriever
    if isinstance(retriever, Composite):
        for part in retriever.parts:
            yield from parts_of(part)


def separate(retriever: Retriever) -> Retriever:
    """The same retriever with an index of its own: it and all those that it is made of can be indexed again, and the one that
    was given finds what it found before. Models are shared."""
    other = copy(retriever)
    if isinstance(other, Composite):
        other.parts = tuple(map(separate, other.parts))
    return other


@runtime_checkable
class Changeable(Protocol):
    """A retriever that is made for a catalog, and has to change before it can index another."""

    def change(self, added: Sequence[Tool], changed: Sequence[Tool], removed: Collection[str]) -> None:
        """Takes tools in, takes other definitions of tools that it has (by id), and forgets tools."""


def texts_of(queries: Sequence[str]) -> list[str]:
    """The texts to search for: one alone, or each of several, cleaned of what no tokenizer reads (see `clean_text`).
    UsageError for anything that is no text."""
    given = [queries] if isinstance(queries, str) or not isinstance(queries, Iterable) else [*queries]
    for query in given:
        if not isinstance(query, str):
            raise UsageError(f"a request is a text; got {query!r:.60}; give one text, or a list of texts")
    return [clean_text(query) for query in given]


def count_of(k: int) -> int:
    """How many results are asked for. UsageError unless it is a whole number above 0."""
    try:
        count = operator.index(k)
    except TypeError:
        count = 0
    if count < 1 or isinstance(k, bool):
        raise UsageError(f"k is how many tools to return, a whole number above 0; got {k!r}")
    return count


def top_ranking(ids: Sequence[str], scores_N: npt.NDArray[np.floating[Any]], k: int) -> Ranking:
    """The exact best k of N scores, equal scores in the order of `ids`.

    A partition finds the k-th score; only what reaches it is sorted, so 100,000 tools cost a millisecond.
    """
    count = min(k, len(ids))
    if count <= 0:
        return Ranking((), ())
    threshold = np.partition(scores_N, len(ids) - count)[len(ids) - count]
    candidates = np.flatnonzero(scores_N >= threshold)
    best = candidates[np.argsort(-scores_N[candidates], kind="stable")][:count]
    return Ranking(tuple(ids[row] for row in best), tuple(float(scores_N[row]) for row in best))


@runtime_checkable
class Scorer(Protocol):
    """A retriever that also gives the scores of all tools at once, as numbers without ids: what sums and sets work on."""

    def score_all(self, queries: Sequence[str]) -> npt.NDArray[np.floating[Any]]:
        """Every tool's score for each query, tools in the order of the catalog (Q, N). Where it leaves tools out of a
        ranking, its attribute `left_out` is the score that says so; where a score is the share of the best one that a tool
        has for a query, its attribute `relative` is true."""


@runtime_checkable
class Declines(Protocol):
    """A `Scorer` that can tell when no tool fits."""

    def score_all_and_no_tool(
        self, queries: Sequence[str]
    ) -> tuple[npt.NDArray[np.floating[Any]], npt.NDArray[np.floating[Any]]]:
        """What `score_all` gives (Q, N), and the score of declining (Q), NaN where it is not known."""


def scores_of_all(
    retriever: Retriever, queries: Sequence[str], positions: Mapping[str, int]
) -> npt.NDArray[np.float64]:
    """The scores that a retriever gives all tools, by their positions (Q, N).

    One that is no `Scorer` is asked for its ranking of the whole catalog, which costs Python for each tool; what such a
    ranking leaves out is as bad as the last that it names.
    """
    if isinstance(retriever, Scorer):
        return retriever.score_all(queries).astype(np.float64)
    if not positions:
        return np.empty((len(queries), 0))
    rankings = retriever.search(queries, len(positions))
    scores_QN = np.empty((len(queries), len(positions)))
    for scores_N, ranking in zip(scores_QN, rankings, strict=True):
        scores_N[:] = min(ranking.scores, default=0.0)
        scores_N[[positions[tool] for tool in ranking.tools]] = ranking.scores
    return scores_QN


def is_ranked(retriever: Retriever, scores: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Which of these scores of a retriever are those of tools that it ranks."""
    ranked: npt.NDArray[np.bool_] = scores != getattr(retriever, "left_out", np.nan)  # nothing equals NaN
    return ranked


@runtime_checkable
class Hiding(Protocol):
    """A retriever that can hide tools from a query. One needs it where the score of a tool depends on the others."""

    def search_without(self, queries: Sequence[str], k: int, hidden: Sequence[Collection[str]]) -> list[Ranking]:
        """The best k tools for each query, of those that are not among its `hidden` ones (ids), as if these did not exist."""


def search_without(
    retriever: Retriever, queries: Sequence[str], k: int, hidden: Sequence[Collection[str]]
) -> list[Ranking]:
    """What `Hiding` gives; of a retriever that cannot hide tools, its rankings with them left out. A query that is there
    several times, each time without other tools, is searched for once."""
    if isinstance(retriever, Hiding):
        return retriever.search_without(queries, k, hidden)
    texts = texts_of(queries)
    distinct = [*dict.fromkeys(texts)]
    found = dict(zip(distinct, retriever.search(distinct, k + max(map(len, hidden), default=0)), strict=True))
    return [_left(found[text], tools).first(k) for text, tools in zip(texts, hidden, strict=True)]


def _left(ranking: Ranking, hidden: Collection[str]) -> Ranking:
    left = [pair for pair in zip(ranking.tools, ranking.scores, strict=True) if pair[0] not in hidden]
    return replace(ranking, tools=tuple(tool for tool, _ in left), scores=tuple(score for _, score in left))


def placed_ranking(tools: Sequence[str]) -> Ranking:
    """The ranking of a method that only orders: scores are 1 / place, places counted from 1."""
    return Ranking(tuple(tools), tuple(1.0 / place for place in range(1, len(tools) + 1)))


def unit_of(retriever: Retriever) -> str:
    """What the scores of a retriever's rankings are, as its attribute `unit` says."""
    return str(getattr(retriever, "unit", "score"))


def described(retriever: Retriever) -> dict[str, Any]:
    """What a result file records of a retriever: its name and, if it has one, what its `config` says."""
    return {"name": retriever.name, **getattr(retriever, "config", {})}
