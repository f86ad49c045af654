"""LowRank: what pretraining changes of a base, two thin factors for each weight matrix (LoRA, arXiv 2106.09685).

The difference is added to the weight, not to the layer's output, once a step: its passes then cost what those of the base
cost, and once the factors are merged the model is an ordinary one.
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
    """`weight + left @ right`; nothing at first, because `left` begins as zeros.

    The sum is made by the first pass and kept; the passes leave their gradients at it until `settle`.
    """

    def __init__(self, weight_OI: Tensor, rank: int) -> None:
        super().__init__()
        outputs, inputs = weight_OI.shape
        self.left_OK = nn.Parameter(torch.zeros(outputs, rank, device=weight_OI.device))
        self.right_KI = nn.Parameter(torch.randn(rank, inputs, device=weight_OI.device) / inputs**0.5)
        self._sum_OI: Tensor | None = None

    @torch.no_grad()
    def forward(self, weight_OI: Tensor) -> Tensor:
        if self._sum_OI is None:
            added_OI = weight_OI + (self.left_OK @ self.right_KI).to(weight_OI.dtype)
            self._sum_OI = added_OI.requires_grad_()
        return self._sum_OI

    @torch.no_grad()
    def settle(self) -> None:
        """Hands the gradient of the sum on to the factors; the next pass makes the sum anew."""
        if self._sum_OI is not None and self._sum_OI.grad is not None:
            slope_OI = self._sum_OI.grad.float()
            _add_gradient(self.left_OK, slope_OI @ self.right_KI.T)
            _add_gradient(self.right_KI, self.left_OK.T @ slope_OI)
        self._sum_OI = None


def _add_gradient(parameter: nn.Parameter, slope: Tensor) -> None:
    parameter.grad = slope if parameter.grad is None else parameter.grad + slope


def attach(trunk: nn.Module, rank: int, frozen: int = 0) -> list[LowRank]:
    """Gives the linear layers above the `frozen` lowest layers of `trunk` a trainable difference and freezes all else.
    Returns the differences."""
    trunk.requires_grad_(False)
    differences: list[LowRank] = []
    still = {module for layer in layers_of(trunk)[:frozen] for module in layer.modules()}
    for _, layer in linear_layers(trunk):
        if layer in still:
            continue
        difference = LowRank(layer.weight, rank)
        # Unsafe only in what it leaves out: a check that calls the difference, which keeps its sum.
        parametrize.register_parametrization(layer, "weight", difference, unsafe=True)
        differences.append(difference)
    return differences


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
def put_back(trunk: nn.Module, factors: Mapping[str, Tensor]) -> None:
    """Gives an attached difference saved values; CheckpointError where they are of another one."""
    own = factors_of(trunk)
    if {name: value.shape for name, value in own.items()} != {name: value.shape for name, value in factors.items()}:
        raise CheckpointError(
            "the difference to start from is of other layers or of another rank; take the base, `rank` and `frozen_share` "
            "that it was trained with"
        )
    for name, value in own.items():
        value.copy_(factors[name])


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
