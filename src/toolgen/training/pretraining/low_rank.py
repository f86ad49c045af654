"""LowRank: what pretraining changes of a base, two thin factors for each weight matrix (LoRA, arXiv 2106.09685).

The difference is added to the weight, not to the layer's output: with tens of thousands of tokens a step the sum costs nothing,
and once the factors are merged the model is an ordinary one.
Shapes: O outputs, I inputs, K rank.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from toolgen.errors import CheckpointError
from toolgen.fetching.shipped import LEFT, RIGHT
from toolgen.inference.views import layers_of


class LowRank(nn.Module):
    """`weight + left @ right`; nothing at first, because `left` begins as zeros."""

    def __init__(self, weight_OI: Tensor, rank: int) -> None:
        super().__init__()
        outputs, inputs = weight_OI.shape
        self.left_OK = nn.Parameter(torch.zeros(outputs, rank, device=weight_OI.device))
        self.right_KI = nn.Parameter(torch.randn(rank, inputs, device=weight_OI.device) / inputs**0.5)

    def forward(self, weight_OI: Tensor) -> Tensor:
        return weight_OI + (self.left_OK @ self.right_KI).to(weight_OI.dtype)


def attach(trunk: nn.Module, rank: int, frozen: int = 0) -> list[nn.Parameter]:
    """Gives the linear layers above the `frozen` lowest layers of `trunk` a trainable difference and freezes all else.
    Returns the factors."""
    trunk.requires_grad_(False)
    factors: list[nn.Parameter] = []
    still = {module for layer in layers_of(trunk)[:frozen] for module in layer.modules()}
    for _, layer in linear_layers(trunk):
        if layer in still:
            continue
        difference = LowRank(layer.weight, rank)
        parametrize.register_parametrization(layer, "weight", difference)
        factors += [difference.left_OK, difference.right_KI]
    return factors


def linear_layers(trunk: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    """The linear layers by name, whether they carry a difference or not."""
    yield from ((name, module) for name, module in trunk.named_modules() if isinstance(module, nn.Linear))


def factors_of(trunk: nn.Module) -> dict[str, Tensor]:
    """The factors by layer, `layers.0.mlp.up_proj.left`; what `add` takes."""
    found: dict[str, Tensor] = {}
    for name, layer in linear_layers(trunk):
        if not parametrize.is_parametrized(layer):
            continue
        (difference,) = layer.parametrizations["weight"]  # type: ignore[index]
        found[f"{name}.{LEFT}"] = difference.left_OK.detach()
        found[f"{name}.{RIGHT}"] = difference.right_KI.detach()
    return found


@torch.no_grad()
def add(trunk: nn.Module, factors: Mapping[str, Tensor]) -> None:
    """Adds a saved difference to the weights of the base that it was made for; CheckpointError where the layers differ."""
    layers, names = dict(linear_layers(trunk)), {name.rpartition(".")[0] for name in factors}
    if not names <= layers.keys() or {f"{name}.{side}" for name in names for side in (LEFT, RIGHT)} != factors.keys():
        raise CheckpointError(
            f"the difference was made for {len(names)} other layers than the {len(layers)} of this base; take the base "
            "that it was trained from"
        )
    for name in names:
        difference_OI = factors[f"{name}.{LEFT}"].float() @ factors[f"{name}.{RIGHT}"].float()
        layers[name].weight += difference_OI.to(layers[name].weight.dtype)
