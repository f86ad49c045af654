"""What single settings of training are worth on this machine, each against its alternative in turns.

    python benchmarks/training_settings.py CKPT DATASET [--only micro-batches ...] [--stage retrieval] [-o RESULT.json]

    micro-batches   tokens a second with `micro_batch_tokens` 256 to 4,096
    frozen-states   `frozen_states_mib` on and off, after 1, 2 and 4 epochs over the same examples
    saving          how long training stands still for the state to resume from: written at once, and beside training
    compile         tokens a second with the layers' norms and gated products compiled by `torch.compile`, and how long it takes
    optimizer       seconds of AdamW over the trained layers and 1,415, 46,985 and 125,200 rows, and its share of a step

Each part runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from stage_runs import CLOCKS, Batch, StageRun, child, open_run, tokens
from torch._dynamo.utils import counters

from toolgen.datasets import load_dataset
from toolgen.evaluation.provenance import collect_provenance
from toolgen.files import write_json
from toolgen.training import STAGES
from toolgen.training.collate import collate, micro_batches
from toolgen.training.model import probe_batch

BUDGETS = (256, 512, 1024, 2048, 4096)
EPOCHS = (1, 2, 4)
ROWS = (1_415, 46_985, 125_200)


def passes(stage: StageRun, batch: Batch, budget: int) -> None:
    """Forward and backward pass of a batch, without an optimizer step."""
    for part in map(collate, micro_batches(batch, budget)):
        losses = stage.trainable(part.to(stage.run.accelerator.device))
        stage.run.accelerator.backward((losses.choice + losses.text) / len(batch))
    stage.run.optimizer.zero_grad()


def measure_micro_batches(stage: StageRun, rounds: int) -> dict[str, Any]:
    """Large batches, so that the largest micro-batch is full."""
    rates: dict[int, list[float]] = {budget: [] for budget in BUDGETS}
    for number in range(rounds + 1):  # the first one warms up
        batch: Batch = []
        while tokens(batch) < max(BUDGETS):
            batch += next(stage.batches)
        for budget in BUDGETS:
            took = stage.seconds(lambda: passes(stage, batch, budget))  # noqa: B023 - called at once
            if number:
                rates[budget].append(tokens(batch) / took)
    median = {budget: statistics.median(values) for budget, values in rates.items()}
    return {"tokens_per_second": {str(budget): round(rate, 1) for budget, rate in median.items()}}


def measure_frozen_states(stage: StageRun, rounds: int) -> dict[str, Any]:
    """`rounds` batches are an epoch, shuffled anew each time; steps with and without kept states in turns."""
    held = stage.trainable.keep_frozen_states(1024, probe_batch(stage.checkpoint))
    states, chooser = stage.trainable.frozen_states, random.Random(0)
    examples = [example for batch in islice(stage.batches, rounds) for example in batch]
    stage.trainable.frozen_states = None
    stage.run.step(examples[: stage.config.batch_size])  # warms up
    took = {"kept": 0.0, "anew": 0.0}
    found: dict[str, Any] = {"holds": held}
    for epoch in range(1, max(EPOCHS) + 1):
        chooser.shuffle(examples)
        for start in range(0, len(examples), stage.config.batch_size):
            batch = examples[start : start + stage.config.batch_size]
            for name in took:
                stage.trainable.frozen_states = states if name == "kept" else None
                took[name] += stage.seconds(lambda: stage.run.step(batch))  # noqa: B023 - called at once
        if epoch in EPOCHS:
            found[f"gain after {epoch} epochs"] = round(took["anew"] / took["kept"], 3)
    return found


def measure_saving(stage: StageRun, rounds: int) -> dict[str, Any]:
    """Seconds on the wall that a step takes longer when a state is written."""
    stage = replace(stage, clock=time.perf_counter)
    run, plain, beside, started, at_once = stage.run, [], [], [], []
    batches = iter(list(islice(stage.batches, 3 * rounds + 1)))
    run.step(next(batches))
    for _ in range(rounds):
        plain.append(stage.seconds(lambda: run.step(next(batches))))
        started.append(stage.seconds(run._save))
        beside.append(stage.seconds(lambda: run.step(next(batches))))
        run.writer.finish()
        at_once.append(stage.seconds(lambda: run.accelerator.save_state(str(run.work / "at-once"))))
    size = sum(file.stat().st_size for file in (run.work / "state").rglob("*"))
    base = statistics.median(plain)
    return {
        "state_gib": round(size / 2**30, 2),
        "step_seconds": round(base, 2),
        "pause_written_at_once": round(statistics.median(at_once), 2),
        "pause_to_start": round(statistics.median(started), 3),
        "pause_beside": round(statistics.median(a + b for a, b in zip(started, beside, strict=True)) - base, 2),
    }


def measure_compile(stage: StageRun, rounds: int) -> dict[str, Any]:
    """Norms and gated products of every layer; attention is packed by lengths that change with each batch."""
    batches = list(islice(stage.batches, rounds + 1))
    budget, layers = stage.config.micro_batch_tokens, list(stage.trainable.layers())
    modules = [m for layer in layers for name, m in layer.named_children() if "norm" in name or name == "mlp"]
    plain = [module.forward for module in modules]
    compiled = [torch.compile(module.forward, dynamic=True) for module in modules]

    def use(forwards: Sequence[Any]) -> None:
        for module, forward in zip(modules, forwards, strict=True):
            module.forward = forward

    passes(stage, batches[0], budget)
    use(compiled)
    first = stage.seconds(lambda: passes(stage, batches[0], budget))
    rates: dict[str, list[float]] = {"plain": [], "compiled": []}
    for batch in batches[1:]:
        for name, forwards in (("plain", plain), ("compiled", compiled)):
            use(forwards)
            passes(stage, batch, budget)  # another number of tokens may mean another graph
            rates[name].append(tokens(batch) / stage.seconds(lambda: passes(stage, batch, budget)))  # noqa: B023
    median = {name: statistics.median(values) for name, values in rates.items()}
    return {
        "tokens_per_second": {name: round(rate, 1) for name, rate in median.items()},
        "gain": round(median["compiled"] / median["plain"], 3),
        "first_pass_seconds": round(first, 1),
        "graphs": counters["stats"]["unique_graphs"],
    }


def measure_optimizer(stage: StageRun, rounds: int) -> dict[str, Any]:
    """Fused AdamW, as the loop has it, over the trained layers alone and over rows alone; and a step's forward and backward."""
    batch = next(stage.batches)
    budget = stage.config.micro_batch_tokens
    passes(stage, batch, budget)
    both = statistics.median(stage.seconds(lambda: passes(stage, batch, budget)) for _ in range(rounds))
    width = stage.trainable.input_rows.shape[1]

    def update(parameters: list[torch.nn.Parameter]) -> float:
        optimizer = torch.optim.AdamW(parameters, lr=1e-9, fused=True)
        for parameter in parameters:
            parameter.grad = torch.full_like(parameter, 1e-3)
        optimizer.step()
        took = statistics.median(stage.seconds(optimizer.step) for _ in range(rounds + 2))
        for parameter in parameters:
            parameter.grad = None
        return took

    layers = update(stage.trainable.trunk_parameters())
    rows = {count: update([torch.nn.Parameter(torch.randn(count, width))]) for count in ROWS}
    return {
        "passes_seconds": round(both, 2),
        "layers_seconds": round(layers, 3),
        "rows_seconds": {str(count): round(took, 3) for count, took in rows.items()},
        "share_of_rows": {str(count): round(took / (both + layers + took), 4) for count, took in rows.items()},
    }


MEASURES: dict[str, Callable[[StageRun, int], dict[str, Any]]] = {
    "micro-batches": measure_micro_batches,
    "frozen-states": measure_frozen_states,
    "saving": measure_saving,
    "compile": measure_compile,
    "optimizer": measure_optimizer,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--only", nargs="+", choices=list(MEASURES), default=list(MEASURES))
    parser.add_argument("--stage", choices=list(STAGES), default="retrieval")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--clock", choices=list(CLOCKS), default="wall", help="cpu: for a machine that others use (one thread)"
    )
    parser.add_argument("--output", "-o", type=Path)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    dataset = load_dataset(options.dataset)
    if options.child:
        (name,) = options.only
        stage = replace(open_run(options.checkpoint, dataset, options.stage), clock=CLOCKS[options.clock])
        print(json.dumps(MEASURES[name](stage, options.rounds)))
        return

    started, found = time.monotonic(), {}
    common = (str(options.checkpoint), str(options.dataset), "--stage", options.stage, "--rounds", str(options.rounds))
    common = (*common, "--clock", options.clock)
    for name in options.only:
        found[name] = child(__file__, *common, "--child", "--only", name)
        print(json.dumps({name: found[name]}), flush=True)
    config = {
        "stage": options.stage,
        "rounds": options.rounds,
        "clock": options.clock,
        "threads": torch.get_num_threads(),
    }
    origin = collect_provenance(dataset, config=config, seconds=time.monotonic() - started)
    result = {"benchmark": "training settings", **found, "load": os.getloadavg()[0], "origin": origin.to_dict()}
    if options.output:
        write_json(options.output, result)


if __name__ == "__main__":
    main()
