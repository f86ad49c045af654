"""How a checkpoint acts by default."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from toolgen.agent import Agent, DryRunEnvironment, GenerativePolicy, acting, acting_policy
from toolgen.checkpoint.layout import StageRecord
from toolgen.errors import UsageError
from toolgen.retrieval import make_sum
from toolgen.serving.assistant import Assistant
from toolgen.testing import tiny_checkpoint

INDEX = StageRecord(stage="index", config={"rows": "made", "added": ["bm25", "dense"]})


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """What was asked to be added; BM25 stands for all of it."""
    asked: list[Sequence[str]] = []

    def summed(names: Sequence[str], *arguments: Any, **options: Any) -> Any:
        asked.append(tuple(names))
        return make_sum(["bm25"], *arguments, **options)

    monkeypatch.setattr(acting, "make_sum", summed)
    return asked


@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        ((), ("bm25",)),
        ((INDEX,), ("bm25", "dense")),
        ((INDEX, StageRecord(stage="agent")), ("bm25",)),
    ],
)
def test_the_agent_of_an_index_adds_what_its_searches_add_until_it_is_trained(
    stages: tuple[StageRecord, ...], expected: tuple[str, ...], added: list[Sequence[str]]
) -> None:
    checkpoint = replace(tiny_checkpoint(), stages=stages)
    assert acting_policy(checkpoint).added is not None and acting_policy(checkpoint).only_said
    alone = acting_policy(checkpoint, alone=True)
    assert alone.added is None and not alone.only_said
    acting_policy(checkpoint, ["tfidf"])
    assert added == [expected, expected, ("tfidf",)]


def test_an_agent_and_a_server_act_as_the_command_does(added: list[Sequence[str]]) -> None:
    checkpoint = replace(tiny_checkpoint(), stages=(INDEX,))
    with Agent(checkpoint, environment=DryRunEnvironment(checkpoint.catalog)) as agent:
        assert isinstance(agent.policy, GenerativePolicy) and agent.policy.added is not None
    with Agent(checkpoint, environment=DryRunEnvironment(checkpoint.catalog), alone=True) as agent:
        assert isinstance(agent.policy, GenerativePolicy) and agent.policy.added is None
    assistant = Assistant(checkpoint)
    assert assistant._policy.added is not None
    assistant.close()
    assert added == [("bm25", "dense")] * 2


def test_what_cannot_be_added_is_refused() -> None:
    with pytest.raises(UsageError, match="alone"):
        acting_policy(tiny_checkpoint(), ["bm25"], alone=True)
    several = tiny_checkpoint(indexing="numeric")
    assert acting_policy(several).added is None
    with pytest.raises(UsageError, match="here a tool is several"):
        acting_policy(several, ["bm25"])
