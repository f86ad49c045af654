"""A model seen with other parts: it shares the weights with the model itself, which stays as it is.

Whoever runs only some layers, or makes products in another precision, does it on such a view; others may run the model at the
same time. Knows modules; no token and no task.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


def replaced(module: M, part_for: Callable[[nn.Module], nn.Module | None]) -> M:
    """The module with every part for which `part_for` gives another. Only what leads to such a part is new, and shallow; all
    else, parameters and buffers too, is the module's own."""
    own = {}
    for name, child in module.named_children():
        new = part_for(child)
        new = replaced(child, part_for) if new is None else new
        if new is not child:
            own[name] = new
    if not own:
        return module
    view = copy.copy(module)
    view._modules = {**module._modules, **own}
    return view


class StandIn(nn.Module):
    """Stands where a layer was, with the layer's attributes: some trunks read what kind of layer it is."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("layer"), name)


def layers_of(trunk: nn.Module) -> nn.ModuleList:
    """The transformer layers from below; empty where the architecture does not list them."""
    total: int = trunk.config.num_hidden_layers  # type: ignore[union-attr, assignment]
    lists = (module for module in trunk.modules() if isinstance(module, nn.ModuleList) and len(module) == total)
    return next(lists, nn.ModuleList())


def with_layers(trunk: M, layers: Sequence[nn.Module]) -> M:
    """The trunk with these in place of its layers, as many as it has."""
    own, other = layers_of(trunk), nn.ModuleList(layers)
    other.training = trunk.training
    return replaced(trunk, lambda module: other if module is own else None)


def watched(trunk: M, count: int, *, above: bool = True) -> tuple[M, Watched]:
    """The trunk, and where a pass through it leaves the states above the lowest `count` layers; the others do nothing unless
    `above`.

    UnknownOutputError from the pass itself where a layer hands on more than a tensor.
    """
    layers = layers_of(trunk)
    last, upper = Watched(layers[count - 1]), layers[count:]
    return with_layers(trunk, [*layers[: count - 1], last, *(upper if above else map(_Passing, upper))]), last


def from_states(trunk: M, count: int, states: Tensor) -> M:
    """The trunk whose lowest `count` layers do nothing: `states` are what leaves them."""
    layers = layers_of(trunk)
    return with_layers(trunk, [*(_Given(layer, states) for layer in layers[:count]), *layers[count:]])


class UnknownOutputError(TypeError):
    """A layer that returns more than its hidden states."""


class _Passing(StandIn):
    """Passes on what it gets."""

    def forward(self, states: Tensor, *_args: Any, **_options: Any) -> Tensor:
        return states


class _Given(StandIn):
    """Computes nothing; what leaves it is given."""

    def __init__(self, layer: nn.Module, states: Tensor) -> None:
        super().__init__(layer)
        self.states = states

    def forward(self, *_args: Any, **_options: Any) -> Tensor:
        return self.states


class Watched(StandIn):
    """The layer itself, whose output stays in `states`."""

    states: Tensor

    def forward(self, *args: Any, **options: Any) -> Tensor:
        output = self.layer(*args, **options)
        if not isinstance(output, Tensor):
            raise UnknownOutputError(type(output).__name__)
        self.states = output
        return output
