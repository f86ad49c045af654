"""A trained checkpoint with the tools' rows of another one of the same tools, such as the index that it was trained from.

    python benchmarks/rows_of.py CKPT INDEX -o CKPT2

The rows of actions (`finish`, `no_tool`) stay the trained ones. The checkpoint's record still says that rows were trained.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from toolgen.checkpoint import Checkpoint
from toolgen.virtualization.embeddings import output_rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("index", type=Path)
    parser.add_argument("--output", "-o", type=Path, required=True)
    options = parser.parse_args()
    trained, index = Checkpoint.load(options.checkpoint), Checkpoint.load(options.index)
    if lacking := [tool for tool in trained.catalog.ids if tool not in index.catalog]:
        raise SystemExit(
            f"{options.index} has no row of {lacking[0]!r}; take an index of all {len(trained.catalog):,} tools"
        )
    to, of = (torch.tensor([one.vocabulary.token_id(tool) for tool in trained.catalog.ids]) for one in (trained, index))
    with torch.no_grad():
        for matrix in (lambda model: model.get_input_embeddings().weight, output_rows):
            matrix(trained.model)[to] = matrix(index.model)[of]
    trained.save(options.output)
    print(f"wrote {options.output}: rows of {len(to):,} tools")


if __name__ == "__main__":
    main()
