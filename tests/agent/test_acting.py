"""How a checkpoint acts by default."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from toolgen.agent import Agent, DryRunEnvironment, GenerativePolicy, acting, acting_policy
from toolgen.checkpoint import Checkpoint
from toolgen.checkpoint.calibration import Calibration
from toolgen.checkpoint.layout import StageRecord
from toolgen.datasets.messages import FINISH, NO_TOOL, call_message
from toolgen.datasets.trajectory import Message
from toolgen.decoding import ToolDecoder
from toolgen.errors import UsageError
from toolgen.retrieval import Resources, RetrieverSpec, make_retriever, make_sum
from toolgen.retrieval.confidence import evidence
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
    policy, alone = acting_policy(checkpoint), acting_policy(checkpoint, alone=True)
    assert policy.added is not None and policy.only_said
    assert policy.further_by_text is (stages == (INDEX,)), "nothing has taught an index when to go on"
    assert alone.added is None and not alone.only_said and not alone.further_by_text
    acting_policy(checkpoint, ["tfidf"])
    assert added == [expected, ("tfidf",)]


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
    with pytest.raises(UsageError, match="one token each"):
        acting_policy(several, ["bm25"])


# --- declining ---------------------------------------------------------------------------------------------------------

NEVER_SURE = Calibration(weights=(-50.0, 0.0, 0.0, 0.0), confidences=(0.5,) * 100)
SURE = Calibration(weights=(50.0, 0.0, 0.0, 0.0), confidences=(0.5,) * 100)
ASKED = [{"role": "user", "content": "Will it rain in Oslo?"}]
GONE_ON = [*ASKED, call_message(FINISH, {"answer": "Yes."}, "a"), {"role": "user", "content": "And in Bergen?"}]


def calibrated(calibration: Calibration, *stages: StageRecord) -> Checkpoint:
    """A checkpoint that always takes a tool."""
    made = tiny_checkpoint()
    rows = made.model.get_output_embeddings().weight
    with torch.no_grad():
        for action in (made.vocabulary.no_tool_id, made.vocabulary.finish_id):
            rows[action] = 0.0
    return replace(made, stages=stages, calibrations={"generative+bm25": calibration, "generative": calibration})


def first_tool(policy: GenerativePolicy, messages: Sequence[Message] = ASKED, **how: Any) -> str:
    return policy.act(messages, **how).tool


@pytest.mark.parametrize("added", [False, True], ids=["alone", "with BM25"])
def test_a_choice_is_judged_by_what_a_search_is_judged_by(added: bool) -> None:
    checkpoint = tiny_checkpoint()
    catalog, text = checkpoint.catalog, "storm warnings for Oslo"
    summed = make_sum(["bm25"], Resources(checkpoint=checkpoint), beside=("generative",))
    summed.index(catalog)
    spec = RetrieverSpec(method="generative", add=("bm25",) if added else ())
    retriever = make_retriever(spec, Resources(checkpoint=checkpoint))
    retriever.index(catalog)
    decoder = ToolDecoder(checkpoint)
    session = decoder.session()
    session.sync(checkpoint.protocol.prompt([{"role": "user", "content": text}]))
    found = decoder.evidence(session, added_N=summed.scores_among(text, None) if added else None)
    assert found == pytest.approx(evidence(retriever.search([text], 2)[0]), abs=1e-3)


def test_a_first_request_whose_tool_is_too_unsure_is_declined() -> None:
    index = StageRecord(stage="index", config={"rows": "made", "added": ["bm25"]})
    unsure, sure = (calibrated(one, index) for one in (NEVER_SURE, SURE))
    assert first_tool(acting_policy(unsure)) == NO_TOOL, "an index has not learned to decline, so its calibration does"
    assert first_tool(acting_policy(sure)) != NO_TOOL
    assert first_tool(acting_policy(unsure, decline_rate=0.0)) != NO_TOOL
    assert first_tool(acting_policy(unsure, alone=True)) != NO_TOOL
    assert first_tool(acting_policy(unsure, alone=True, decline_rate=0.5)) == NO_TOOL
    assert first_tool(acting_policy(unsure), required=True) != NO_TOOL
    assert first_tool(acting_policy(unsure), GONE_ON) != NO_TOOL, "a later text says little without those before it"
    assert first_tool(acting_policy(unsure).extended(unsure)) != NO_TOOL, "it was calibrated without those tools"
    assert first_tool(acting_policy(unsure), given=[unsure.catalog.ids[0]]) == unsure.catalog.ids[0]


def test_what_was_trained_declines_by_its_calibration_if_it_is_told_to() -> None:
    trained = calibrated(NEVER_SURE, StageRecord(stage="agent"))
    assert first_tool(acting_policy(trained)) != NO_TOOL
    assert first_tool(acting_policy(trained, decline_rate=0.05)) == NO_TOOL
    with pytest.raises(UsageError, match=r"not calibrated for generative\+tfidf"):
        acting_policy(trained, ["tfidf"], decline_rate=0.05)
    with pytest.raises(UsageError, match="one token each"):
        acting_policy(tiny_checkpoint(indexing="numeric"), decline_rate=0.05)
