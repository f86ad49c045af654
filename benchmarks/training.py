"""Tokens per second of one training step: how the original trains, padded micro-batches, and toolgen's packed rows.

    python benchmarks/training.py CKPT DATASET [--stage retrieval] [--rounds 4] [-o RESULT.json]

All variants see the same batches in turns, in one process, with the stage's own mixture of examples:

    plain    one padded batch of `batch_size` examples after the other, all layers, logits of the whole vocabulary at every
             position, as `transformers.Trainer` does it (here: batches of 8 accumulated)
    padded   toolgen's loss and frozen layers, micro-batches padded to their longest example
    packed   what `toolgen train` does

`peak` is the best float32 product measured in the same run; `utilization` is the share of it that the products of a step
reach, counted from the tokens: 2 operations a weight forwards, 4 more where weights are trained.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from toolgen.checkpoint import Checkpoint
from toolgen.datasets import load_dataset
from toolgen.evaluation.provenance import hardware
from toolgen.training import resolve_config
from toolgen.training.collate import MicroBatch, collate, micro_batches
from toolgen.training.examples import TrainingExample, batches
from toolgen.training.machine import tune_allocator
from toolgen.training.model import TrainableModel
from toolgen.training.sources import stage_examples

Batch = Sequence[TrainingExample]


class PaddedModel(TrainableModel):
    """The same loss over a padded batch."""

    def hidden(self, batch: MicroBatch) -> Tensor:
        rows = self.embed(batch.ids_T).split(batch.lengths)
        padded = torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True)
        states: Tensor = self.trunk(inputs_embeds=padded, use_cache=False).last_hidden_state
        return torch.cat([row[:length] for row, length in zip(states, batch.lengths, strict=True)])


def padded_parts(batch: Batch, budget: int) -> list[list[TrainingExample]]:
    """Micro-batches of at most `budget` tokens, padding included."""
    parts: list[list[TrainingExample]] = []
    for example in sorted(batch, key=len):
        if parts and (len(parts[-1]) + 1) * len(example) <= budget:
            parts[-1].append(example)
        else:
            parts.append([example])
    return parts


def plain_step(checkpoint: Checkpoint, batch: Batch) -> None:
    """Forward and backward pass with full logits and every parameter trained."""
    for start in range(0, len(batch), 8):
        part = batch[start : start + 8]
        ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(one.ids) for one in part], batch_first=True)
        labels = torch.full_like(ids, -100)
        for row, one in enumerate(part):
            for position, targets in one.choices:
                labels[row, position] = targets[0]
            for position in one.text:
                labels[row, position] = one.ids[position + 1]
        logits = checkpoint.model(input_ids=ids, use_cache=False).logits
        functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum").backward()


def own_step(model: TrainableModel, parts: Sequence[Batch]) -> None:
    """Forward and backward pass of toolgen's loss."""
    for part in parts:
        losses = model(collate(part))
        (losses.choice + losses.text).backward()


def peak_gflops(seconds: float = 1.0) -> float:
    """The best rate of a float32 product of the shapes that the model has."""
    left, right = torch.randn(1024, 576), torch.randn(1536, 576)
    best = 0.0
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        started = time.perf_counter()
        for _ in range(10):
            functional.linear(left, right)
        best = max(best, 10 * 2 * left.numel() * right.shape[0] / (time.perf_counter() - started) / 1e9)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--stage", choices=["memorization", "retrieval", "agent"], default="retrieval")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--output", "-o", type=Path)
    options = parser.parse_args()

    tune_allocator()
    checkpoint, dataset = Checkpoint.load(options.checkpoint), load_dataset(options.dataset)
    config = resolve_config(options.stage)
    sources = stage_examples(options.stage, checkpoint, dataset, config)
    drawn = list(islice(batches(sources, config.shares, batch_size=config.batch_size, seed=0), options.rounds + 1))
    frozen = int(config.frozen_share * checkpoint.model.config.num_hidden_layers)
    layers = sum(p.numel() for name, p in checkpoint.model.named_parameters() if ".layers." in name)
    budget = config.micro_batch_tokens

    def plain(batch: Batch) -> None:
        checkpoint.model.requires_grad_(True)
        plain_step(checkpoint, batch)

    def own(
        kind: type[TrainableModel], cut: Callable[[Batch, int], list[list[TrainingExample]]]
    ) -> Callable[[Batch], None]:
        def step(batch: Batch) -> None:
            model = kind(checkpoint, frozen_layers=frozen)
            own_step(model, cut(batch, budget))
            model.release()

        return step

    variants = {"plain": plain, "padded": own(PaddedModel, padded_parts), "packed": own(TrainableModel, micro_batches)}
    rates: dict[str, list[float]] = {name: [] for name in variants}
    checkpoint.model.train()
    for number, batch in enumerate(drawn):  # the first round warms up
        for name, step in variants.items():
            started = time.perf_counter()
            step(batch)
            rate = sum(map(len, batch)) / (time.perf_counter() - started)
            if number:
                rates[name].append(rate)
            checkpoint.model.zero_grad(set_to_none=True)
    median = {name: statistics.median(values) for name, values in rates.items()}
    peak = peak_gflops()
    work = layers * (2 + 4 * (1 - frozen / checkpoint.model.config.num_hidden_layers)) / 1e9
    result = {
        "benchmark": "training",
        "stage": options.stage,
        "batch_size": config.batch_size,
        "tokens_a_batch": round(statistics.mean(sum(map(len, batch)) for batch in drawn)),
        "tokens_per_second": {name: round(value, 1) for name, value in median.items()},
        "all_rounds": {name: [round(value, 1) for value in values] for name, values in rates.items()},
        "packed_over_padded": round(median["packed"] / median["padded"], 2),
        "packed_over_plain": round(median["packed"] / median["plain"], 2),
        "peak_gflops": round(peak),
        "utilization_packed": round(median["packed"] * work / peak, 2),
        "hardware": hardware(),
    }
    print(json.dumps(result, indent=2))
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
