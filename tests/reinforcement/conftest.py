"""A world of a few tools, in which a tiny model can learn by trying."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from toolgen.catalog import Catalog, Tool
from toolgen.checkpoint import Checkpoint
from toolgen.datasets import Dataset, Preference, Query
from toolgen.datasets.messages import call_message, result_message, user_message
from toolgen.datasets.query import Call
from toolgen.datasets.task import Task, Turn
from toolgen.datasets.trajectory import Message
from toolgen.reinforcement import ReinforceConfig
from toolgen.reinforcement.config import DEFAULTS
from toolgen.reinforcement.run import reinforce
from toolgen.testing import tiny_checkpoint

NOTHING = {"type": "object", "properties": {}, "additionalProperties": False}
SWITCH = {**NOTHING, "properties": {"on": {"type": "boolean"}}, "required": ["on"]}
TINY: dict[str, Any] = {
    "steps": 4,
    "batch_size": 3,
    "group_size": 6,
    "learning_rate": 1e-2,
    "row_learning_rate": 2e-2,
    "frozen_share": 0.0,
    "curriculum": 0.0,
    "task_steps": 2,
    "task_tokens": 24,
    "argument_tokens": 8,
}

TINY_PAIRS: dict[str, Any] = {
    "steps": 12,
    "batch_size": 4,
    "learning_rate": 3e-3,
    "row_learning_rate": 3e-3,
    "frozen_share": 0.0,
    "max_tokens": 512,
}
NOW, LAMP, DOOR = "clock&&now", "lamp&&switch", "door&&open"

Runner = Callable[..., Checkpoint]


def tiny_config(**settings: Any) -> ReinforceConfig:
    return ReinforceConfig(**{**DEFAULTS, **TINY, **settings})


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    """Requests for one tool and for two, a task of two turns, and a request that no tool fits."""
    texts = {"clock&&now": "Tells the time", "lamp&&switch": "Switches the lamp", "door&&open": "Opens the door"}
    schemas = {"lamp&&switch": SWITCH}
    tools = [
        Tool(
            id=name,
            provider=name.partition("&&")[0],
            name=name.partition("&&")[2],
            description=text,
            parameters=schemas.get(name, NOTHING),
        )
        for name, text in texts.items()
    ]
    calls = {name: Call(tool=name, arguments={"on": True} if name == "lamp&&switch" else {}) for name in texts}

    def query(name: str, text: str, *tools: str) -> Query:
        return Query(id=name, text=text, tools=tools, calls=tuple(calls[tool] for tool in tools))

    queries = [query(name, f"please: {text}", name) for name, text in texts.items()]
    queries.append(query("both", "open the door and tell the time", "door&&open", "clock&&now"))
    queries.append(Query(id="none", text="paint a cow", tools=()))
    turns = tuple(Turn(text=f"now: {texts[name]}", calls=(calls[name],)) for name in ("door&&open", "clock&&now"))
    return Dataset(
        name="house",
        version="1",
        source="tests",
        licence="Apache-2.0",
        catalog=Catalog(tools),
        queries={"train": tuple(queries)},
        tasks={"train": (Task(id="turns", turns=turns),)},
    )


@pytest.fixture
def checkpoint(dataset: Dataset) -> Checkpoint:
    return tiny_checkpoint(catalog=dataset.catalog)


@pytest.fixture
def run(dataset: Dataset, tmp_path: Path) -> Runner:
    """Runs stage 4 into `tmp_path / output` and returns the trained checkpoint."""

    def runner(checkpoint: Checkpoint, output: str = "out", *, on_step: Any = None, **settings: Any) -> Checkpoint:
        return reinforce(checkpoint, dataset, tiny_config(**settings), tmp_path / output, on_step=on_step)

    return runner


def done() -> Message:
    return call_message("finish", {"answer": "Done."}, "end")


def called(tool: str, **arguments: Any) -> tuple[Message, ...]:
    return call_message(tool, arguments, "1"), result_message("1", "ok")


@pytest.fixture
def paired(dataset: Dataset) -> Dataset:
    """Pairs that differ in a tool, in a value, in a call too many, and in declining."""
    lit, dark = called(LAMP, on=True), called(LAMP, on=False)
    told = called(NOW)
    tails: list[tuple[str, tuple[Message, ...], tuple[Message, ...], tuple[Message, ...]]] = [
        ("tool", (), (*told, done()), (*called(DOOR), done())),
        ("value", (), (*lit, done()), (*dark, done())),
        ("stop", told, (done(),), (*told, done())),
        ("decline", (), (call_message("no_tool", {}, "1"),), (*told, done())),
    ]
    pairs = tuple(
        Preference(
            id=name, query="both", prompt=(user_message(f"please: {name}"), *more), chosen=chosen, rejected=rejected
        )
        for name, more, chosen, rejected in tails
    )
    return replace(dataset, preferences={"train": pairs})
