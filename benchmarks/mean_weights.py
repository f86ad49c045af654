"""The mean of the weights of two checkpoints of one base (model soups, arXiv 2203.05482), with the tools that both have.

    python benchmarks/mean_weights.py CKPT CKPT2 -o MEAN

The tools' tokens must have the same ids in both, as they have where one checkpoint comes from the other or both from a third.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from toolgen.checkpoint import Checkpoint
from toolgen.checkpoint.changes import without_tools


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", type=Path, nargs=2)
    parser.add_argument("--output", "-o", type=Path, required=True)
    options = parser.parse_args()
    # The one with more tools is kept, and the other's weights are added to it: its rows are the first of the same tokens.
    more, less = sorted(map(Checkpoint.load, options.checkpoints), key=lambda one: len(one.catalog), reverse=True)
    common = [tool for tool in less.catalog.ids if tool in more.catalog]
    if any(more.vocabulary.token_id(tool) != less.vocabulary.token_id(tool) for tool in common):
        raise SystemExit(
            "a tool has another token id in the other checkpoint: train one from the other, or both from a third"
        )
    others = [tool for tool in more.catalog.ids if tool not in less.catalog]
    mean = without_tools(more, others) if others else more
    with torch.no_grad():
        for weight, added in zip(mean.model.parameters(), less.model.parameters(), strict=True):
            rows = min(len(weight), len(added))
            weight[:rows].add_(added[:rows]).div_(2)
    mean.save(options.output)
    print(f"wrote {options.output}: {len(common):,} tools")


if __name__ == "__main__":
    main()
