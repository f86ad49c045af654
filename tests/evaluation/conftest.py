"""A tiny dataset and a retriever that returns what it is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pytest

from toolgen.catalog import Catalog, Tool
from toolgen.datasets import Dataset, Query, Task, Turn
from toolgen.evaluation import RetrievalResult, evaluate_retrieval
from toolgen.retrieval import Ranking

TOOLS = [f"p&&t{i}" for i in range(12)]


class Told:
    """A retriever that knows the answer to each text beforehand."""

    def __init__(self, answers: Mapping[str, Sequence[str]], name: str = "told") -> None:
        self.name, self.answers = name, answers
        self.indexed: Catalog | None = None
        self.asked: list[int] = []

    def index(self, catalog: Catalog) -> None:
        self.indexed = catalog

    def search(self, queries: Sequence[str], k: int) -> list[Ranking]:
        self.asked.append(k)
        answers = [tuple(self.answers.get(query, ()))[:k] for query in queries]
        return [Ranking(tools, tuple(-float(place) for place in range(len(tools)))) for tools in answers]


def query(name: str, *tools: str, category: str = "simple") -> Query:
    return Query(id=name, text=f"text of {name}", tools=tools, category=category)


@pytest.fixture
def dataset() -> Dataset:
    return Dataset(
        name="demo",
        version="1",
        source="test",
        licence="Apache-2.0",
        catalog=Catalog([Tool(id=tool, provider="p", name=tool[3:]) for tool in TOOLS]),
        queries={
            "train": (query("a", "p&&t0", "p&&t1"), query("b", "p&&t2")),
            "test": (
                query("asked", "p&&t0"),
                query("two", "p&&t1", "p&&t2", category="parallel"),
                query("unasked", "p&&t3"),
                query("mixed", "p&&t0", "p&&t1", "p&&t5", category=""),
                query("nothing fits"),
            ),
        },
        tasks={"test": (Task(id="several turns", turns=(Turn(text="one"), Turn(text="two"))),)},
    )


ANSWERS = {
    "text of asked": TOOLS,
    "text of two": ["p&&t2", "p&&t9", "p&&t1", *TOOLS[3:9]],
    "text of unasked": TOOLS[4:],
    "text of mixed": ["p&&t7", "p&&t0", *TOOLS[8:], "p&&t5", "p&&t1"],
}


@pytest.fixture
def told() -> Told:
    return Told(ANSWERS)


@pytest.fixture
def measure(dataset: Dataset) -> Callable[..., RetrievalResult]:
    """Evaluates a retriever of this name that answers as told, with some answers replaced."""

    def run(name: str = "told", **replaced: Sequence[str]) -> RetrievalResult:
        answers = {**ANSWERS, **{f"text of {key}": tools for key, tools in replaced.items()}}
        return evaluate_retrieval(Told(answers, name), dataset)

    return run
