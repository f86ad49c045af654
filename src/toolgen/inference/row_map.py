"""What training or a fit made of the rows of known tools, carried over to tools that come later, in closed form.

Rows of known tools are no longer what their documentation made of them. Ridge regression over these tools finds the linear map
from what is known of a tool at once (its bag of words, and what the model makes of its description, both of length 1, and a
constant) to the difference; a new tool's row gets what the map gives. It is found once after each training and kept.
Shapes: N tools, D hidden size, F features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from toolgen.catalog.text import statement
from toolgen.catalog.tool import Tool
from toolgen.checkpoint import Checkpoint
from toolgen.inference.row_maker import states_after

KNOWN = 1024
"""Tools, evenly spread over the catalog, that the map is found from."""
PENALTY = 0.01

RowMap = Mapping[str, Tensor]
"""`center` (D) of the states, and `map` (F, D)."""


def statement_states(
    checkpoint: Checkpoint,
    tools: Sequence[Tool],
    on_progress: Callable[[int, int], None] | None = None,
    parts: Path | None = None,
) -> Tensor:
    """What the model makes of the descriptions of tools, read as if they were requests (N, D). `parts`: see `states_after`."""
    return request_states(checkpoint, [statement(tool) for tool in tools], on_progress, parts)


def request_states(
    checkpoint: Checkpoint,
    texts: Sequence[str],
    on_progress: Callable[[int, int], None] | None = None,
    parts: Path | None = None,
) -> Tensor:
    """What the model makes of requests, where it would choose (N, D)."""
    longest = checkpoint.context_length - 1
    prompts = [checkpoint.protocol.prompt([{"role": "user", "content": text}], max_tokens=longest) for text in texts]
    return states_after(checkpoint, prompts, on_progress, parts)


@torch.no_grad()
def find_row_map(states_ND: Tensor, bags_ND: Tensor, differences_ND: Tensor) -> RowMap:
    """The map that comes closest to the differences of known tools."""
    center_D = states_ND.double().mean(0)
    known_NF = _features(states_ND, bags_ND, center_D)
    pull_FF = PENALTY * torch.eye(known_NF.shape[1], dtype=torch.float64)
    map_FD = torch.linalg.solve(known_NF.T @ known_NF + pull_FF, known_NF.T @ differences_ND.double())
    return {"center": center_D.float(), "map": map_FD.float().contiguous()}


@torch.no_grad()
def mapped(row_map: RowMap, states_ND: Tensor, bags_ND: Tensor) -> Tensor:
    """What is to be added to the rows of other tools (N, D)."""
    return (_features(states_ND, bags_ND, row_map["center"].double()) @ row_map["map"].double()).float()


def _features(states_ND: Tensor, bags_ND: Tensor, center_D: Tensor) -> Tensor:
    parts = [functional.normalize(bags_ND.double()), functional.normalize(states_ND.double() - center_D)]
    return torch.cat([*parts, torch.ones(len(bags_ND), 1, dtype=torch.float64)], dim=1)
