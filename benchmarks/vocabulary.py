"""A large vocabulary: how long it takes, and how much memory, to virtualize, save, open, search and train it.

    python benchmarks/vocabulary.py DATASET [--base smollm2-135m-instruct] [--steps 6] [-o RESULT.json]

Each step is a process of its own, so that its peak memory is its own. `train` runs each stage's own mixture for `steps`
optimizer steps (the agent stage is left out where the dataset has no trajectories).
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from toolgen.evaluation.provenance import hardware
from toolgen.files import write_json

SEARCHES = 20


def virtualize(dataset: Path, folder: Path, base: str, initialization: str) -> dict[str, Any]:
    """Rows for every tool, in memory, and the checkpoint's folder."""
    from toolgen.checkpoint import Checkpoint
    from toolgen.datasets import load_dataset
    from toolgen.fetching import resolve_base

    catalog = load_dataset(dataset).catalog
    place = resolve_base(base)
    started = time.perf_counter()
    checkpoint = Checkpoint.create(place, catalog, initialization=initialization)  # type: ignore[arg-type]
    made = time.perf_counter()
    checkpoint.save(folder)
    return {
        "tools": len(catalog),
        "virtualize_seconds": made - started,
        "save_seconds": time.perf_counter() - made,
        "megabytes": sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6,
    }


def search(folder: Path) -> dict[str, Any]:
    """Opens the checkpoint and searches it with descriptions of its tools."""
    from toolgen.checkpoint import Checkpoint
    from toolgen.retrieval.generative import GenerativeRetriever

    started = time.perf_counter()
    checkpoint = Checkpoint.load(folder)
    opened = time.perf_counter()
    retriever = GenerativeRetriever(checkpoint)
    tools = [tool for tool in checkpoint.catalog[:: len(checkpoint.catalog) // (3 * SEARCHES)] if tool.description]
    times = []
    for tool in tools[: SEARCHES + 2]:
        before = time.perf_counter()
        retriever.search([tool.description[:200]], 10)
        times.append(1000 * (time.perf_counter() - before))
    return {"open_seconds": opened - started, "search_milliseconds_median": statistics.median(times[2:])}


def train(dataset: Path, folder: Path, stage: str, steps: int) -> dict[str, Any]:
    """Some steps of a stage, from opening the checkpoint to the last step."""
    from toolgen.checkpoint import Checkpoint
    from toolgen.datasets import load_dataset
    from toolgen.training import STAGES, resolve_config
    from toolgen.training.run import run_stage

    data = load_dataset(dataset)
    checkpoint = Checkpoint.load(folder, catalog=data.catalog)
    opened = time.perf_counter()
    records: list[dict[str, Any]] = []
    config = resolve_config(STAGES[stage], None, [f"steps={steps}"])
    out = folder.with_name("trained")
    run_stage(STAGES[stage], checkpoint, data, config, out, on_step=lambda r: records.append(dict(r)))
    first, last = records[0], records[-1]
    return {
        "tokens_per_second": (last["tokens"] - first["tokens"]) / (last["seconds"] - first["seconds"]),
        "seconds_to_first_step": time.perf_counter() - opened - (last["seconds"] - first["seconds"]),
        "losses": [round(record["loss"], 3) for record in records],
    }


def measured(arguments: list[str]) -> dict[str, Any]:
    """The answer of one step in a process of its own, with its peak memory."""
    command = [sys.executable, __file__, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"failed": done.stderr.strip().splitlines()[-1:]}
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {key: round(value, 2) if isinstance(value, float) else value for key, value in answer.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--base", default="smollm2-135m-instruct")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--output", "-o", type=Path)
    parser.add_argument("--step", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        name, folder, *rest = options.step
        place = Path(folder)
        if name == "virtualize":
            answer = virtualize(options.dataset, place, options.base, rest[0])
        elif name == "search":
            answer = search(place)
        else:
            answer = train(options.dataset, place, rest[0], options.steps)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)
        print(json.dumps({**answer, "peak_gib": peak}))
        return

    common = [str(options.dataset), "--base", options.base, "--steps", str(options.steps)]
    result: dict[str, Any] = {"benchmark": "vocabulary", "base": options.base}
    with tempfile.TemporaryDirectory() as work:
        folder = str(Path(work) / "checkpoint")
        result["by_name"] = measured([*common, "--step", "virtualize", str(Path(work) / "named"), "name"])
        result["by_documentation"] = measured([*common, "--step", "virtualize", folder, "documentation"])
        result["search"] = measured([*common, "--step", "search", folder])
        for stage in ("memorization", "retrieval"):
            result[stage] = measured([*common, "--step", "train", folder, stage])
    result["hardware"] = hardware()
    print(json.dumps(result, indent=2))
    if options.output:
        write_json(options.output, result)


if __name__ == "__main__":
    main()
