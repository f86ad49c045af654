"""The mean of the weights of several checkpoints that were trained from one base: several runs in one, no slower than one.

Source: Model soups, Wortsman et al., arXiv 2203.05482, section 2 (the uniform soup).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from toolgen.checkpoint import Checkpoint
from toolgen.errors import UsageError


@torch.no_grad()
def average_checkpoints(folders: Sequence[Path]) -> Checkpoint:
    """The first checkpoint with the mean of the weights of all; two are in memory at a time. Its history names the others.

    Raises UsageError for fewer than two, or for one that has another base, catalog, vocabulary or shape.
    """
    if len(folders) < 2:
        raise UsageError(f"an average needs at least two checkpoints; {len(folders)} given")
    first = Checkpoint.load(folders[0])
    mean = dict(first.model.named_parameters())
    tool_sets, asked, others = dict.fromkeys(first.tool_sets), first.asked_tools, []
    for count, folder in enumerate(folders[1:], start=2):
        other = Checkpoint.load(folder, catalog=first.catalog)
        _check_alike(folders[0], first, folder, other)
        for name, parameter in other.model.named_parameters():
            mean[name].lerp_(parameter, 1 / count)
        tool_sets |= dict.fromkeys(other.tool_sets)
        asked |= other.asked_tools
        others.append({"checkpoint": str(folder), "stages": other.stages})
    entry = {"stage": "average", "with": others}
    return replace(first, stages=[*first.stages, entry], tool_sets=tuple(tool_sets), asked_tools=asked)


def _check_alike(first_folder: Path, first: Checkpoint, folder: Path, other: Checkpoint) -> None:
    for what, one, two in (
        ("base", first.base, other.base),
        ("catalog", first.catalog.content_hash[:12], other.catalog.content_hash[:12]),
    ):
        if one != two:
            raise UsageError(
                f"{folder} has the {what} {two}, {first_folder} has {one}; only checkpoints alike have a mean"
            )
    if first.vocabulary != other.vocabulary or _shapes(first) != _shapes(other):
        raise UsageError(
            f"{folder} has other tokens or weights of other shapes than {first_folder}; train both from one virtualized model"
        )


def _shapes(checkpoint: Checkpoint) -> dict[str, torch.Size]:
    return {name: parameter.shape for name, parameter in checkpoint.model.named_parameters()}
