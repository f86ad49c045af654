"""The published files of every registered set, where they are at hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolgen.catalog.schema import check_schema
from toolgen.datasets.training_sets.registry import TRAINING_SETS

# Of ProfSynapse's rows a quarter are rejected halves of pairs; a third of Glaive's offer no tool.
MOST_LOST = 0.45


@pytest.mark.parametrize("name", TRAINING_SETS)
def test_the_published_set_is_read_and_every_loss_has_a_reason(name: str, shared_data: Path) -> None:
    if not (shared_data / name).is_dir():
        pytest.skip(f"{name} is not in the folder of foreign benchmarks")

    loaded = TRAINING_SETS[name].load(shared_data / name)

    taken = len(loaded.conversations) or len(loaded.tools)
    assert taken > 50
    assert len(loaded.report.losses) < MOST_LOST * (taken + len(loaded.report.losses))
    assert all(loss.name and loss.reason for loss in loaded.report.losses)
    tools = {id(tool): tool for one in loaded.conversations for tool in one.tools} | {id(t): t for t in loaded.tools}
    for tool in list(tools.values())[:200]:
        check_schema(tool.parameters)
    for conversation in loaded.conversations:
        offered = {tool.id for tool in conversation.tools}
        assert len(offered) == len(conversation.tools)
        assert {action.tool for action in conversation.actions} <= offered
        for request in conversation.requests():
            assert request.text
            assert set(request.tools) <= offered
