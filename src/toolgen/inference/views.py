"""A model seen with other parts: it shares the weights with the model itself, which stays as it is.

Whoever runs only some layers, or makes products in another precision, does it on such a view; others may run the model at the
same time. Knows modules; no token and no task.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from torch import nn

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
