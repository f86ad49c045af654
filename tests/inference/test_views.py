"""A view computes with other parts, shares the weights, and leaves the model as it was."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from toolgen.inference.views import layers_of, replaced, with_layers
from toolgen.testing import ARCHITECTURES, Architecture, tiny_model

IDS = torch.arange(9)[None]


class Doubled(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, states: Tensor) -> Tensor:
        doubled: Tensor = 2 * self.inner(states)
        return doubled


@torch.inference_mode()
def states(trunk: nn.Module) -> Tensor:
    found: Tensor = trunk(input_ids=IDS, use_cache=False).last_hidden_state
    return found


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_view_with_other_layers_leaves_the_trunk_alone(architecture: Architecture) -> None:
    trunk = tiny_model(architecture).base_model
    before, (first, second) = states(trunk), layers_of(trunk)
    exchanged = with_layers(trunk, [second, first])
    assert not torch.allclose(states(exchanged), before)
    assert torch.equal(states(trunk), before) and [*layers_of(trunk)] == [first, second]
    assert {*map(id, exchanged.parameters())} == {*map(id, trunk.parameters())}
    assert torch.equal(states(with_layers(exchanged, [first, second])), before)


def test_parts_at_any_depth_are_replaced_and_weights_stay_shared() -> None:
    trunk = tiny_model().base_model
    before = states(trunk)
    view = replaced(trunk, lambda part: Doubled(part) if isinstance(part, nn.Linear) else None)
    assert sum(isinstance(part, Doubled) for part in view.modules()) == 14
    assert not any(isinstance(part, Doubled) for part in trunk.modules())
    assert not torch.allclose(states(view), before) and torch.equal(states(trunk), before)
    with torch.no_grad():
        for part in trunk.modules():
            if isinstance(part, nn.Linear):
                part.weight.div_(2)
    torch.testing.assert_close(states(view), before)


def test_where_nothing_is_replaced_the_module_itself_comes_back() -> None:
    trunk = tiny_model().base_model
    assert replaced(trunk, lambda _part: None) is trunk
