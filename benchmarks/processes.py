"""Tokens per second of a training stage in one process and in several, and whether their curves are one.

    python benchmarks/processes.py CKPT DATASET [--stage retrieval] [--processes 2] [--steps 8] [--set KEY=VALUE]
                                   [-o RESULT.json]

Every variant is `toolgen train` itself; all but the first are started by torchrun, over gloo on CPUs and NCCL on cards:

    one           one process with all cores
    replicated    `processes` processes that share the cores, a whole model in each (DDP)
    crowded       the same, but each with as many threads as there are cores
    shard_rows    as replicated, the rows of tools in slices
    shard_trunk   as replicated, the base's own parameters sharded (FSDP2)

Tokens per second are those of the steps after the first. `peak_gib` is that of the largest process.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolgen.checkpoint.layout import METRICS, read_metrics
from toolgen.evaluation.provenance import hardware
from toolgen.files import write_json


@dataclass(frozen=True)
class Variant:
    """One way to start the stage."""

    name: str
    processes: int
    threads: int
    settings: Sequence[str]


def variants(processes: int, cores: int, settings: Sequence[str]) -> list[Variant]:
    """What is compared."""
    share = max(1, cores // processes)
    return [
        Variant("one", 1, cores, settings),
        Variant("replicated", processes, share, settings),
        *([Variant("crowded", processes, cores, settings)] if share < cores else []),
        Variant("shard_rows", processes, share, (*settings, "shard_rows=true")),
        Variant("shard_trunk", processes, share, (*settings, "shard_trunk=true")),
    ]


def run(variant: Variant, stage: str, checkpoint: Path, dataset: Path, steps: int, output: Path) -> dict[str, Any]:
    """Trains some steps, and what they took."""
    launcher = [sys.executable]
    if variant.name != "one":
        launcher += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={variant.processes}"]
    command = [*launcher, "-m", "toolgen", "train", stage, str(checkpoint), str(dataset), "-o", str(output), "--json"]
    for setting in (f"steps={steps}", *variant.settings):
        command += ["--set", setting]
    environment = {**os.environ, "OMP_NUM_THREADS": str(variant.threads), "TOOLGEN_NO_HINTS": "1"}
    with (output.with_suffix(".log")).open("w+", encoding="utf-8") as log:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            log.seek(0)
            raise SystemExit(f"{variant.name} failed: {log.read()[-1500:]}")
    records = read_metrics(output / METRICS)[-steps:]
    first, last = records[0], records[-1]
    return {
        "processes": variant.processes,
        "threads_each": variant.threads,
        "tokens_per_second": round((last["tokens"] - first["tokens"]) / (last["seconds"] - first["seconds"]), 1),
        "peak_gib": round(usage.ru_maxrss / (1 << 20), 2),
        "losses": [round(record["loss"], 5) for record in records],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--stage", choices=["memorization", "retrieval", "agent"], default="retrieval")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--set", action="append", default=[], help="another setting of the training")
    parser.add_argument("--output", "-o", type=Path)
    options = parser.parse_args()

    result: dict[str, Any] = {"benchmark": "processes", "stage": options.stage, "steps": options.steps}
    with tempfile.TemporaryDirectory() as work:
        for variant in variants(options.processes, os.cpu_count() or 1, options.set):
            result[variant.name] = run(
                variant, options.stage, options.checkpoint, options.dataset, options.steps, Path(work) / variant.name
            )
    one, *others = (value for value in result.values() if isinstance(value, dict))
    result["largest_relative_difference_of_losses"] = max(
        abs(loss / own - 1) for other in others for loss, own in zip(other["losses"], one["losses"], strict=True)
    )
    result["hardware"] = hardware()
    print(json.dumps(result, indent=2))
    if options.output:
        write_json(options.output, result)


if __name__ == "__main__":
    main()
