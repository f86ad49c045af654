"""The loss over all rows, forwards and backwards: chunked, as training does it, against all logits at once.

    python benchmarks/softmax.py [--rows 1415 125200] [--positions 64 1000] [--dtypes float32 bfloat16] [-o RESULT.json]

Sizes of SmolLM2-135M: 576 dimensions, 49,152 rows of the base, which are frozen. Each case is a process of its own, so that
its peak memory is its own; `extra_mib` is what it needs beyond rows and hidden states. `seconds` is the best of `--rounds`
by the clock, `cpu_seconds` by the processor's, which other programs on the machine disturb less.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from toolgen.evaluation.provenance import hardware
from toolgen.files import write_json
from toolgen.inference.machine import tune_allocator
from toolgen.training.softmax import Block, set_cross_entropy

HIDDEN, BASE = 576, 49152


def plain(hidden_PD: Tensor, base_VD: Tensor, rows_RD: Tensor, targets_PK: Tensor) -> Tensor:
    """All logits at once, the gradient left to autograd."""
    logits = torch.cat([functional.linear(hidden_PD, base_VD), functional.linear(hidden_PD, rows_RD)], dim=-1).float()
    return (logits.logsumexp(1) - logits.gather(1, targets_PK).mean(1)).sum()


def chunked(hidden_PD: Tensor, base_VD: Tensor, rows_RD: Tensor, targets_PK: Tensor) -> Tensor:
    """What training does."""
    among_asked_P = torch.zeros(len(hidden_PD), dtype=torch.bool)
    weights_PK = torch.full(targets_PK.shape, 1 / targets_PK.shape[1])
    return set_cross_entropy(hidden_PD, Block(0, base_VD), Block(BASE, rows_RD), targets_PK, weights_PK, among_asked_P)


def measure(way: str, rows: int, positions: int, dtype: str, rounds: int) -> dict[str, float]:
    """Best times and peak memory of one way."""
    tune_allocator()
    torch.manual_seed(0)
    hidden_PD = torch.randn(positions, HIDDEN, requires_grad=True)
    base_VD, rows_RD = torch.randn(BASE, HIDDEN) / 24, torch.nn.Parameter(torch.randn(rows, HIDDEN) / 24)
    targets_PK = torch.randint(BASE, BASE + rows, (positions, 2))
    loss_of = chunked if way == "chunked" else plain
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    clock, cpu = [], []
    for _ in range(rounds):
        hidden_PD.grad = rows_RD.grad = None
        started, used = time.perf_counter(), time.process_time()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == "bfloat16"):
            loss = loss_of(hidden_PD, base_VD, rows_RD, targets_PK)
        torch.autograd.backward(loss)
        clock.append(time.perf_counter() - started)
        cpu.append(time.process_time() - used)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "seconds": round(min(clock), 4),
        "cpu_seconds": round(min(cpu), 4),
        "extra_mib": round((peak - before) / 1024),
        "loss": round(float(loss.detach()) / positions, 5),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1415, 125200])
    parser.add_argument("--positions", type=int, nargs="+", default=[64, 1000])
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--output", "-o", type=Path)
    parser.add_argument("--case", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        way, rows, positions, dtype = options.case
        print(json.dumps(measure(way, int(rows), int(positions), dtype, options.rounds)))
        return

    result: dict[str, Any] = {"benchmark": "softmax", "hidden": HIDDEN, "base_rows": BASE, "cases": []}
    for dtype, rows, positions in itertools.product(options.dtypes, options.rows, options.positions):
        case: dict[str, Any] = {"rows": rows, "positions": positions, "dtype": dtype}
        for way in ("plain", "chunked"):
            arguments = ["--rounds", str(options.rounds), "--case", way, str(rows), str(positions), dtype]
            done = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True, check=True)
            case[way] = json.loads(done.stdout.splitlines()[-1])
        case["speed_up"] = round(case["plain"]["seconds"] / case["chunked"]["seconds"], 2)
        print(json.dumps(case), file=sys.stderr)
        result["cases"].append(case)
    result["hardware"] = hardware()
    print(json.dumps(result, indent=2))
    if options.output:
        write_json(options.output, result)


if __name__ == "__main__":
    main()
