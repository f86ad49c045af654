"""The agent's choice where a tool is several tokens: a walk down the trie that leaves the session as it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from toolgen.agent import DryRunEnvironment, GenerativePolicy, run_agent
from toolgen.checkpoint import Checkpoint
from toolgen.datasets import Task
from toolgen.datasets.messages import FINISH, NO_TOOL
from toolgen.decoding import DecodingOptions, Sampling, Session, ToolDecoder
from toolgen.errors import UsageError
from toolgen.testing import tiny_catalog, tiny_checkpoint
from toolgen.virtualization import INDEXINGS, Indexing


@pytest.fixture(scope="module", params=[one for one in INDEXINGS if one != "atomic"])
def checkpoint(request: pytest.FixtureRequest) -> Checkpoint:
    indexing: Indexing = request.param
    return tiny_checkpoint(indexing=indexing, initializer_range=1.0, max_position_embeddings=2048)


def opened(decoder: ToolDecoder, text: str = "a taxi") -> Session:
    session = decoder.session()
    session.sync(decoder.checkpoint.protocol.prompt([{"role": "user", "content": text}]))
    return session


def greedy(checkpoint: Checkpoint, ids: list[int], names: list[str]) -> tuple[str, float]:
    """The same walk by whole forward passes over lists of sequences."""
    left, done, probability = {name: checkpoint.vocabulary.sequence(name) for name in names}, 0, 1.0
    while len(left) > 1:
        with torch.inference_mode():
            logits = checkpoint.model(input_ids=torch.tensor([ids])).logits[0, -1]
        allowed = sorted({sequence[done] for sequence in left.values()})
        best = max(allowed, key=lambda token: float(logits[token]))
        probability *= float(logits[allowed].softmax(0)[allowed.index(best)])
        left = {name: sequence for name, sequence in left.items() if sequence[done] == best}
        ids, done = [*ids, best], done + 1
    return next(iter(left)), probability


@pytest.mark.parametrize("allowed", [None, ["mail&&send", "mail&&search", "clock&&now", "mail&&send"], []])
def test_the_choice_is_the_greedy_walk_and_the_session_stays(checkpoint: Checkpoint, allowed: list[str] | None) -> None:
    decoder = ToolDecoder(checkpoint)
    for text in ("a taxi", "storm warnings", "what time is it"):
        session = opened(decoder, text)
        before, scores = list(session.ids), session.logits_V.clone()
        choice = decoder.choose(session, allowed)
        names = [FINISH, NO_TOOL, *dict.fromkeys(checkpoint.catalog.ids if allowed is None else allowed)]
        tool, probability = greedy(checkpoint, before, names)
        assert choice.tool == tool
        assert [name for name, _ in choice.candidates[:1]] in ([], [tool])
        assert choice.probability == pytest.approx(probability, abs=1e-4)
        assert session.ids == before
        torch.testing.assert_close(session.logits_V, scores, rtol=1e-3, atol=1e-3)


def test_logits_are_added_to_tools_of_one_token_only(checkpoint: Checkpoint) -> None:
    decoder = ToolDecoder(checkpoint)
    with pytest.raises(UsageError, match="each tool is one token"):
        decoder.choose(opened(decoder, "a taxi"), added_N=np.zeros(len(decoder.checkpoint.catalog)))


def test_a_draw_reaches_every_allowed_tool_and_no_other(checkpoint: Checkpoint) -> None:
    decoder = ToolDecoder(checkpoint, DecodingOptions(sampling=Sampling(temperature=50, seed=1)))
    session = opened(decoder)
    found = {decoder.choose(session, ["mail&&send", "mail&&search"]).tool for _ in range(40)}
    assert found == {"mail&&send", "mail&&search", FINISH, NO_TOOL}


def test_a_call_begins_with_all_tokens_of_its_tool(checkpoint: Checkpoint) -> None:
    decoder = ToolDecoder(checkpoint)
    session = opened(decoder)
    before = list(session.ids)
    decoder.begin_call(session, "clock&&now")
    sequence = list(checkpoint.vocabulary.sequence("clock&&now"))
    assert session.ids == [*before, *sequence, *checkpoint.protocol.after_tool("clock&&now")]
    assert decoder.arguments(session, "clock&&now").value == {}


def test_an_agent_runs(checkpoint: Checkpoint) -> None:
    catalog = tiny_catalog()
    policy = GenerativePolicy(checkpoint, options=DecodingOptions(argument_tokens=20))
    trajectory = run_agent(policy, DryRunEnvironment(catalog), Task.from_text("a taxi"))
    named = [call["function"]["name"] for m in trajectory.messages for call in m.get("tool_calls") or ()]
    assert set(named) <= {*catalog.ids, FINISH, NO_TOOL}
