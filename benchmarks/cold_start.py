"""What `toolgen index` takes and what it finds, on a part of a catalog.

    python benchmarks/cold_start.py DATASET [--tools 300] [--split dev ...] [--base smollm2-135m-instruct]
                                    [--before SRC] [-o RESULT.json]

The tools are those that requests of the splits ask for, then others, evenly spread over the catalog; a request counts if all
its tools are among them. BM25 and MiniLM are measured beside the index. Each index is made in a process of its own with a cache
of its own, so that no document is encoded beforehand. `processor_seconds` has everything from the first import to the saved
folder, `found` is what `toolgen index` says of its ways. With `--before` the same is measured with another version of toolgen,
from its source folder SRC, in turns.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

WAYS: Mapping[str, Sequence[str]] = {
    "model": ("generative",),
    "model_and_bm25": ("generative", "bm25"),
    "bm25": ("bm25",),
    "minilm": ("dense",),
    "minilm_and_bm25": ("dense", "bm25"),
    "model_bm25_and_minilm": ("generative", "bm25", "dense"),
}


def part_of(dataset: Any, splits: Sequence[str], count: int) -> Any:
    """The dataset with so many of its tools, and the requests of these splits that they answer."""
    from toolgen.catalog import Catalog

    every = list(dataset.catalog)
    asked = {tool for split in splits for query in dataset.searches(split) for tool in query.tools}
    others = [tool for tool in every if tool.id not in asked]
    free = max(count - len(asked), 0)
    spread = others[:: max(len(others) // free, 1)][:free] if free else []
    kept = {tool.id for tool in [*[tool for tool in every if tool.id in asked][:count], *spread]}
    queries = {split: tuple(q for q in dataset.searches(split) if kept.issuperset(q.tools)) for split in splits}
    catalog = Catalog([tool for tool in every if tool.id in kept])
    return replace(dataset, catalog=catalog, queries=queries, tasks={}, trajectories={})


def measure(folder: Path, splits: Sequence[str], count: int, base: str) -> dict[str, Any]:
    """One index, and the quality of its searches."""
    from toolgen.cli.index import indexed
    from toolgen.datasets import load_dataset

    dataset = part_of(load_dataset(folder, verify=False), splits, count)
    wall = time.perf_counter()
    made = indexed(dataset.catalog, base)
    with tempfile.TemporaryDirectory() as work:
        made.save(Path(work) / "checkpoint")
    return {
        "tools": len(dataset.catalog),
        "processor_seconds": round(time.process_time(), 1),
        "wall_seconds": round(time.perf_counter() - wall, 1),
        "rows": made.stages[-1].config["rows"],
        "found": {way: round(value, 4) for way, value in made.stages[-1].result.items()},
        "splits": {split: quality(made, dataset, split) for split in splits if dataset.queries[split]},
    }


def quality(checkpoint: Any, dataset: Any, split: str, ways: Mapping[str, Sequence[str]] = WAYS) -> dict[str, Any]:
    """Mean, low and high end of the 95% interval of each way to search, in percent."""
    from toolgen.evaluation import evaluate_retrieval
    from toolgen.retrieval import Resources, RetrieverSpec, make_retriever

    found: dict[str, Any] = {"requests": len(dataset.queries[split])}
    for name, (method, *added) in ways.items():
        spec = RetrieverSpec(method=method, add=tuple(added))
        metrics = evaluate_retrieval(make_retriever(spec, Resources(checkpoint=checkpoint)), dataset, split).metrics[
            "all"
        ]
        found[name] = {
            metric: [
                round(100 * value, 1) for value in (metrics[metric].mean, metrics[metric].low, metrics[metric].high)
            ]
            for metric in ("ndcg@1", "recall@5", "comp@5")
        }
    return found


def in_own_process(arguments: list[str], source: Path | None) -> dict[str, Any]:
    """The answer of a process with this source folder and an empty cache, to which the fetched models are linked."""
    from toolgen.fetching import cache_folder

    with tempfile.TemporaryDirectory() as cache:
        (Path(cache) / "base").symlink_to(cache_folder() / "base")
        environment = {**os.environ, "TOOLGEN_CACHE": cache}
        if source:
            environment["PYTHONPATH"] = str(source)
        done = subprocess.run(
            [sys.executable, __file__, *arguments, "--alone"], capture_output=True, text=True, env=environment
        )
    if done.returncode:
        raise SystemExit(done.stderr)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--tools", type=int, default=300)
    parser.add_argument("--split", nargs="+", default=["dev"])
    parser.add_argument("--base", default="smollm2-135m-instruct")
    parser.add_argument("--before", type=Path, metavar="SRC")
    parser.add_argument("--output", "-o", type=Path)
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        print(json.dumps(measure(options.dataset, options.split, options.tools, options.base)))
        return

    from toolgen.evaluation.provenance import hardware
    from toolgen.files import write_json

    common = [str(options.dataset), "--tools", str(options.tools), "--base", options.base]
    common += ["--split", *options.split]
    result: dict[str, Any] = {"benchmark": "cold-start", "dataset": options.dataset.name, "base": options.base}
    result["now"] = in_own_process(common, None)
    if options.before:
        result["before"] = in_own_process(common, options.before.resolve())
        ratio = result["before"]["processor_seconds"] / result["now"]["processor_seconds"]
        result["times_as_fast"] = round(ratio, 2)
    result["hardware"] = hardware()
    print(json.dumps(result, indent=2))
    if options.output:
        write_json(options.output, result)


if __name__ == "__main__":
    main()
