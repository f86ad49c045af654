"""Tools learn requests in closed form: they lead on their own, and nothing else moves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from toolgen.checkpoint import Checkpoint
from toolgen.checkpoint.layout import TEXT_STATES
from toolgen.errors import CheckpointError, UsageError
from toolgen.retrieval.generative import GenerativeRetriever
from toolgen.testing import tiny_checkpoint
from toolgen.training.late_requests import Asked, learn_requests, with_text_states
from toolgen.virtualization import output_rows

REQUESTS = [
    Asked("who plays the piano on Sunday", ("mail&&send",)),
    Asked("a table for two, quietly", ("clock&&now",)),
    Asked("both of these at once", ("mail&&send", "clock&&now")),
    Asked("something else entirely", ("weather&&get_forecast",)),
]
TOOLS = ("mail&&send", "clock&&now")


def learned(checkpoint: Checkpoint, **settings: float) -> Checkpoint:
    return learn_requests(checkpoint, REQUESTS, GenerativeRetriever(checkpoint).hidden_states, TOOLS, **settings)


def test_tools_lead_on_their_requests_and_other_rows_stay() -> None:
    before = tiny_checkpoint()
    after = learned(tiny_checkpoint(), penalty=1e-3)
    for text, tools in REQUESTS[:3]:
        (ranking,) = GenerativeRetriever(after).search([text], k=len(tools))
        assert {*ranking.tools} == {*tools}
    ids = [after.vocabulary.token_id(tool) for tool in TOOLS]
    same = np.setdiff1d(np.arange(len(output_rows(after.model))), ids)
    assert torch.equal(output_rows(after.model)[same], output_rows(before.model)[same])
    assert [after.row_origin(tool) for tool in (*TOOLS, "mail&&search")] == ["requests", "requests", "documentation"]
    assert after.asked_tools == {*TOOLS} and after.stages[-1].examples == {"requests": 3}


def test_the_step_is_the_solution_of_least_squares() -> None:
    before, after = tiny_checkpoint(), learned(tiny_checkpoint(), penalty=2, margin=1)
    assert after.text_states is not None
    others = after.text_states.double().numpy()
    own = GenerativeRetriever(before).hidden_states([one.text for one in REQUESTS[:3]]).double().numpy()
    logits = own @ before.tool_rows.detach().double().numpy().T
    place = [before.catalog.position(tool) for tool in TOOLS]
    wanted = np.zeros((3, 2))
    for row, one in enumerate(REQUESTS[:3]):
        mine = [before.catalog.position(tool) for tool in one.tools]
        best = np.delete(logits[row], mine).max()
        for column, tool in enumerate(place):
            if tool in mine:
                wanted[row, column] = max(0.0, best + 1 - logits[row, tool])
    keys = np.vstack([own, others])
    pull = np.sqrt(2 * (keys**2).mean()) * np.eye(keys.shape[1])
    targets = np.vstack([wanted, np.zeros((len(others) + len(pull), 2))])
    expected, *_ = np.linalg.lstsq(np.vstack([keys, pull]), targets, rcond=None)
    moved = (after.tool_rows - before.tool_rows).detach().numpy()[place]
    np.testing.assert_allclose(moved, expected.T, atol=1e-4)


def test_states_of_other_texts_are_kept_with_the_checkpoint(tmp_path: Path) -> None:
    checkpoint = tiny_checkpoint()
    known = with_text_states(checkpoint, GenerativeRetriever(checkpoint).hidden_states)
    assert known.text_states is not None and len(known.text_states) == len(checkpoint.catalog)
    known.save(tmp_path / "ckpt")
    loaded = Checkpoint.load(tmp_path / "ckpt")
    assert loaded.text_states is not None and torch.equal(loaded.text_states, known.text_states)
    assert with_text_states(loaded, lambda texts: pytest.fail("they are read again")) is loaded
    (tmp_path / "ckpt" / TEXT_STATES).write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=f"{TEXT_STATES} is damaged"):
        Checkpoint.load(tmp_path / "ckpt")


def test_a_request_for_every_tool_there_is_changes_nothing() -> None:
    checkpoint = tiny_checkpoint()
    before = checkpoint.tool_rows.detach().clone()
    everything = [Asked("all of it", checkpoint.catalog.ids)]
    after = learn_requests(checkpoint, everything, GenerativeRetriever(checkpoint).hidden_states, TOOLS)
    assert torch.isfinite(after.tool_rows).all() and before.shape == after.tool_rows.shape


def test_without_a_request_there_is_nothing_to_learn() -> None:
    checkpoint = tiny_checkpoint()
    with pytest.raises(UsageError, match="no request asks for one of these tools"):
        learn_requests(checkpoint, REQUESTS[3:], GenerativeRetriever(checkpoint).hidden_states, TOOLS)
