"""A dataset of BFCL, Seal-Tools and published training sets for the agent stage (docs/results/agent.md, "More conversations").

    python benchmarks/mixed_conversations.py both CORPUS -o calls
    toolgen tools add CKPT calls/tools
    toolgen train agent CKPT calls/all -o CKPT2 --recipe recipes/agent-mixed.yaml

`both` is the dataset that CKPT has learned (BFCL with Seal-Tools), CORPUS holds a dataset a set (`pretraining_corpus.py`). Of
sets that hold much of the same, some conversations are drawn by seed. `calls/tools` are the tools that `both` lacks, without
requests.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from random import Random

from toolgen.catalog import Catalog
from toolgen.datasets import Dataset, load_dataset, save_dataset
from toolgen.datasets.transforms import join

MOST: dict[str, int | None] = {
    "xlam-sample-qwenstar": None,
    "glaive-v2-sample": None,
    "toolrl-rlla-sft": None,
    "t-eval": None,
    "hammerbench": 500,
    "api-bank": 400,
    "seq-apiblend": 400,
    "snips": 250,
}
"""The sets, and how many conversations are taken; None: all."""


def drawn(dataset: Dataset, count: int | None) -> Dataset:
    """The dataset with so many conversations and the requests of these."""
    trajectories = dataset.trajectories["train"]
    if count is None or len(trajectories) <= count:
        return dataset
    trajectories = tuple(Random(0).sample(trajectories, count))
    kept = {one.query for one in trajectories}
    queries = tuple(one for one in dataset.queries["train"] if one.id in kept)
    tasks = tuple(one for one in dataset.tasks["train"] if one.id in kept)
    return replace(dataset, queries={"train": queries}, tasks={"train": tasks}, trajectories={"train": trajectories})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("learned", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--output", "-o", type=Path, required=True)
    options = parser.parse_args()
    learned = load_dataset(options.learned)
    parts = [drawn(load_dataset(options.corpus / name), count) for name, count in MOST.items()]
    whole = join([learned, *parts], name="calls", source=", ".join([learned.source, *MOST]))
    new = Catalog([tool for tool in whole.catalog if tool.id not in learned.catalog])
    none: dict[str, tuple[()]] = dict.fromkeys(whole.queries, ())
    tools = replace(whole, name="calls-tools", catalog=new, queries=none, tasks=none, trajectories=none)
    save_dataset(whole, options.output / "all")
    save_dataset(tools, options.output / "tools")
    print(f"{len(whole.catalog):,} tools, {len(new):,} of them new; {len(whole.trajectories['train']):,} conversations")


if __name__ == "__main__":
    main()
