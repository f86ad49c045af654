"""What the training benchmarks share: toolgen's loop on a real checkpoint, the peak of products, child processes.

Not a benchmark itself. The loop is the package's own, private parts included: what is timed is what `toolgen train` does.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from toolgen.checkpoint import Checkpoint
from toolgen.checkpoint.checkpoint import device_of
from toolgen.datasets import Dataset
from toolgen.inference.machine import tune_allocator
from toolgen.training import STAGES, StageConfig, resolve_config
from toolgen.training.examples import TrainingExample, batches
from toolgen.training.loop import SupervisedRun, _frozen_layers, opened_accelerator
from toolgen.training.model import TrainableModel
from toolgen.training.run import _unasked, _untargeted

GIB = 2**30


def wall() -> float:
    """Seconds, once a card has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


CLOCKS: dict[str, Callable[[], float]] = {"wall": wall, "cpu": time.process_time}
"""`cpu` counts what this process computes: right with one thread on a machine that others use."""
Batch = list[TrainingExample]


@dataclass(frozen=True)
class StageRun:
    """A stage that is ready to step: the loop, its model, and its batches in the order in which training sees them."""

    checkpoint: Checkpoint
    run: SupervisedRun
    trainable: TrainableModel
    batches: Iterator[Batch]
    config: StageConfig
    clock: Callable[[], float] = wall

    def seconds(self, call: Callable[[], object]) -> float:
        """How long a call takes."""
        started = self.clock()
        call()
        return self.clock() - started


def open_run(
    checkpoint: Path, dataset: Dataset, stage: str, settings: Sequence[str] = (), *, tuned: bool = True
) -> StageRun:
    """The loop of `toolgen train STAGE CHECKPOINT DATASET --set ...`, short of its end; `tuned`: allocator settings too."""
    if tuned:
        tune_allocator()
    loaded = Checkpoint.load(checkpoint)
    config = resolve_config(STAGES[stage], None, settings)
    work = Path(tempfile.mkdtemp(prefix="toolgen-benchmark-"))
    accelerator = opened_accelerator(config.precision, work)
    loaded.model.to(accelerator.device)
    sources = STAGES[stage].examples(loaded, dataset, config)
    asked = config.negatives == "asked"
    trainable = TrainableModel(
        loaded,
        frozen_layers=_frozen_layers(loaded, config),
        unasked=_unasked(loaded, dataset) if asked else (),
        untargeted=_untargeted(loaded, sources) if asked else (),
        blend=config.blend,
        rows_stay=config.rows_stay,
    )
    run = SupervisedRun(accelerator, trainable, config, work, stage)
    loaded.model.train()
    drawn = batches(sources, config.shares, batch_size=config.batch_size, seed=config.seed)
    return StageRun(loaded, run, trainable, drawn, config)


def draw(checkpoint: Checkpoint, dataset: Dataset, config: StageConfig, stage: str, count: int) -> list[Batch]:
    """The first batches of a stage."""
    sources = STAGES[stage].examples(checkpoint, dataset, config)
    return list(islice(batches(sources, config.shares, batch_size=config.batch_size, seed=config.seed), count))


def tokens(batch: Batch) -> int:
    """Tokens of the examples, padding not counted."""
    return sum(map(len, batch))


def peak_gflops(checkpoint: Checkpoint, dtype: torch.dtype, clock: Callable[[], float], seconds: float = 1.0) -> float:
    """The best rate of a product of 1,024 tokens (16,384 on a card) with one of the trunk's matrices, in 10^9 operations a
    second."""
    shapes = {
        p.shape for name, p in checkpoint.model.base_model.named_parameters() if p.dim() == 2 and "layers." in name
    }
    rows = 16_384 if torch.cuda.is_available() else 1024
    return max(_rate(rows, *shape, dtype, clock, seconds / len(shapes)) for shape in shapes)


def best_product(size: int, dtype: torch.dtype, seconds: float = 1.0) -> float:
    """The best rate of a product of two square matrices, in 10^9 operations a second: what a machine can do."""
    return _rate(size, size, size, dtype, wall, seconds)


def _rate(rows: int, out: int, inner: int, dtype: torch.dtype, clock: Callable[[], float], seconds: float) -> float:
    device, best = device_of(), 0.0
    left, right = (torch.randn(count, inner, device=device).to(dtype) for count in (rows, out))
    until = clock() + seconds
    while clock() < until:
        started = clock()
        functional.linear(left, right)
        best = max(best, 2 * rows * inner * out / (clock() - started) / 1e9)
    return best


def peak_memory_gib() -> float:
    """The most memory that this process has had, on the card if there is one."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / GIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB


def child(script: str, *arguments: str) -> Any:
    """Runs a benchmark script in a process of its own and returns what it prints as its last line, read as JSON."""
    found = subprocess.run([sys.executable, script, *arguments], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(found.stdout.splitlines()[-1])
