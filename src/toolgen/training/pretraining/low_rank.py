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

LEFT, RIGHT = "left", "right"


class LowRank(nn.Module):
    """`weight + left @ right`; nothing at first, because `left` begins as zeros."""

    def __init__(self, weight_OI: Tensor, rank: int) -> None:
        super().__init__()
        outputs, inputs = weight_OI.shape
        self.left_OK = nn.Parameter(torch.zeros(outputs, rank, device=weight_OI.device))
        self.right_KI = nn.Parameter(torch.randn(rank, inputs, device=weight_OI.device) / inputs**0.5)

    def forward(self, weight_OI: Tensor) -> Tensor:
        return weight_OI + (self.left_OK @ self.right_KI).to(weight_OI.dtype)


def attach(trunk: nn.Module, rank: int) -> list[nn.Parameter]:
    """Gives every linear layer of `trunk` a trainable difference and freezes all else. Returns the factors."""
    trunk.requires_grad_(False)
    factors: list[nn.Parameter] = []
    for _, layer in linear_layers(trunk):
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
        (difference,) = layer.parametrizations["weight"]  # type: ignore[index]
        found[f"{name}.{LEFT}"] = difference.left_OK.detach()
        found[f"{name}.{RIGHT}"] = difference.right_KI.detach()
    return found


@torch.no_grad()
def add(trunk: nn.Module, factors: Mapping[str, Tensor]) -> None:
    """Adds a saved difference to the weights of the base that it was made for; CheckpointError where the layers differ."""
    layers = dict(linear_layers(trunk))
    if {f"{name}.{side}" for name in layers for side in (LEFT, RIGHT)} != factors.keys():
        raise CheckpointError(
            f"the difference was made for {len(factors) // 2} other layers than the {len(layers)} of this base; take the base "
            "that it was trained from"
        )
    for name, layer in layers.items():
        difference_OI = factors[f"{name}.{LEFT}"].float() @ factors[f"{name}.{RIGHT}"].float()
        layer.weight += difference_OI.to(layer.weight.dtype)
