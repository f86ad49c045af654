"""The mean of the weights of two checkpoints of one base (model soups, arXiv 2203.05482), with the tools that both have.

    python benchmarks/mean_weights.py CKPT CKPT2 -o MEAN

The tools' tokens must have the same ids in both, as they have where one checkpoint comes from the other or both from a third.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file, save_file

from toolgen.checkpoint import Checkpoint
from toolgen.checkpoint.changes import without_tools

MODEL = "model.safetensors"
"""Stages change no other file of weights: the row maker is the base's."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", type=Path, nargs=2)
    parser.add_argument("--output", "-o", type=Path, required=True)
    options = parser.parse_args()
    one, other = map(Checkpoint.load, options.checkpoints)
    common = [tool for tool in one.catalog.ids if tool in other.catalog]
    if any(one.vocabulary.token_id(tool) != other.vocabulary.token_id(tool) for tool in common):
        raise SystemExit(
            "a tool has another token id in the other checkpoint: train one from the other, or both from a third"
        )
    # The one with more room for tokens is kept, and the other's rows are added to those that both have.
    more, less = sorted((one, other), key=lambda checkpoint: -len(checkpoint.catalog))
    without_tools(more, [tool for tool in more.catalog.ids if tool not in less.catalog]).save(options.output)
    smaller = options.checkpoints[1] if less is other else options.checkpoints[0]
    place = options.output / MODEL
    added, weights = load_file(smaller / MODEL), load_file(place)
    with safe_open(place, "pt") as opened:
        metadata = opened.metadata()
    for key, weight in weights.items():
        rows = min(len(weight), len(added[key]))
        weight[:rows] = ((weight[:rows].float() + added[key][:rows].float()) / 2).to(weight.dtype)
    save_file(weights, place, metadata=metadata)
    print(f"wrote {options.output}: {len(common):,} tools")


if __name__ == "__main__":
    main()
