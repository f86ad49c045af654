"""Training as the original does it and as toolgen does it: speed, share of the machine's peak, memory, parts, loss.

    python benchmarks/training.py CKPT DATASET [--stages retrieval ...] [--rounds 3] [--set KEY=VALUE] [-o RESULT.json]

One command measures everything and writes RESULT.json with a chart, RESULT.svg, beside it. Three variants of each stage:

    reference  a real `transformers.Trainer` run: padded batches of 8 examples accumulated (the original, arXiv 2410.03439, has
               2, which is slower here), all parameters trained, logits of the whole vocabulary at every position, AdamW
    full       a step of `toolgen train` with every layer trained (`frozen_share=0`)
    default    a step of `toolgen train` with the stage's own settings: the upper half of the layers

All three see the same batches in turns in one process, with the same constant learning rate, from the same checkpoint. A step
begins with drawn examples and ends after the optimizer. Tokens are those of the examples, padding not counted. The peak is the
best product of the model's own shapes, measured between the rounds; `utilization` is the share of the fp32 (or bf16) peak that
the layers' products reach, counted as 2 operations a weight and token forwards and 4 more where weights are trained, so padding
and the head count as lost time. Where the processor has no bf16 its peak is that of the emulation. `losses` are means over a
batch that none has trained on, before and after all rounds. `drawing` (making the examples) and kernel time (mostly the page
faults of allocations) are shares of the default variant's step. Peak memory is that of two steps in a process of its own;
on a card, the card's. The clock `wall` waits for a card at the end of each part.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from bars import chart
from stage_runs import CLOCKS, Batch, StageRun, child, draw, open_run, peak_gflops, peak_memory_gib, tokens
from torch import Tensor
from transformers import Trainer, TrainerCallback, TrainingArguments

from toolgen.checkpoint import Checkpoint
from toolgen.checkpoint.checkpoint import device_of
from toolgen.datasets import load_dataset
from toolgen.evaluation.provenance import collect_provenance
from toolgen.files import write_json, write_text
from toolgen.inference.machine import native_bf16, tune_allocator
from toolgen.training import STAGES, StageConfig, loop, resolve_config
from toolgen.training.collate import collate, micro_batches
from toolgen.training.examples import TrainingExample
from toolgen.training.model import TrainableModel

VARIANTS = {"full": ["frozen_share=0"], "default": []}
REFERENCE_BATCH = 8
PARTS = ("data", "trunk forward", "head and loss", "trunk backward", "optimizer")


# The reference


def labelled(example: TrainingExample) -> dict[str, list[int]]:
    """One example as the original has it: one tool of a set, the chosen token written out, one label a position."""
    ids, labels = list(example.ids), dict[int, int]()
    for position, targets in example.choices:
        labels[position + 1] = random.Random(str(example.ids)).choice(targets)
        if position + 1 == len(ids):
            ids.append(labels[position + 1])
    labels |= {position + 1: example.ids[position + 1] for position in example.text}
    return {"input_ids": ids, "labels": [labels.get(place, -100) for place in range(len(ids))]}


def padded(rows: Sequence[dict[str, list[int]]]) -> dict[str, Tensor]:
    """A batch as wide as its longest example."""

    def pad(name: str, value: int) -> Tensor:
        return torch.nn.utils.rnn.pad_sequence([torch.tensor(row[name]) for row in rows], True, value)

    ids, labels = pad("input_ids", 0), pad("labels", -100)
    widths = torch.tensor([len(row["input_ids"]) for row in rows])
    return {"input_ids": ids, "labels": labels, "attention_mask": (torch.arange(ids.shape[1]) < widths[:, None]).long()}


def reference(
    checkpoint: Checkpoint, drawn: Sequence[Batch], config: StageConfig, callback: TrainerCallback
) -> Trainer:
    """A Trainer over the batches, in their order."""
    arguments = TrainingArguments(
        output_dir=tempfile.mkdtemp(prefix="toolgen-benchmark-"),
        per_device_train_batch_size=REFERENCE_BATCH,
        gradient_accumulation_steps=config.batch_size // REFERENCE_BATCH,
        max_steps=len(drawn),
        train_sampling_strategy="sequential",
        learning_rate=config.learning_rate,
        lr_scheduler_type="constant",
        weight_decay=config.weight_decay,
        adam_beta2=0.95,
        max_grad_norm=config.clip,
        bf16=native_bf16(device_of()),
        use_cpu=not torch.accelerator.is_available(),
        remove_unused_columns=False,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
    )
    rows = [labelled(example) for batch in drawn for example in batch]
    return Trainer(checkpoint.model, arguments, data_collator=padded, train_dataset=rows, callbacks=[callback])


class Turns(TrainerCallback):
    """After each step of the Trainer the others have theirs; seconds of every step of every variant."""

    def __init__(
        self, others: dict[str, Callable[[int], None]], between: Callable[[], None], clock: Callable[[], float]
    ) -> None:
        self.others, self.between, self.clock = others, between, clock
        self.seconds: dict[str, list[float]] = {name: [] for name in ("reference", *others)}
        self.resumed = 0.0

    def on_train_begin(self, *_arguments: Any, **_settings: Any) -> None:
        self.resumed = self.clock()

    def on_step_end(self, _arguments: Any, state: Any, _control: Any, **_settings: Any) -> None:
        self.seconds["reference"].append(self.clock() - self.resumed)
        for name, step in self.others.items():
            started = self.clock()
            step(state.global_step - 1)
            self.seconds[name].append(self.clock() - started)
        self.between()
        self.resumed = self.clock()


# The parts of a step


class Parts:
    """Seconds of the parts of a run's steps. Each boundary that is passed ends the part before it."""

    def __init__(self, stage: StageRun, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.seconds, self._since = Counter[str](), clock()
        hidden, backward = stage.trainable.hidden, stage.run.accelerator.backward

        def collated(examples: Sequence[TrainingExample]) -> Any:
            self._since = self.clock()
            batch = collate(examples)
            self.lap("data")
            return batch

        def timed_hidden(batch: Any) -> Tensor:
            states = hidden(batch)
            self.lap("trunk forward")
            if states.requires_grad:
                states.register_hook(lambda _gradient: self.lap("head and loss"))
            return states

        def timed_backward(loss: Tensor) -> None:
            backward(loss)
            self.lap("trunk backward")

        self._collate = collated
        stage.trainable.hidden = timed_hidden
        stage.run.accelerator.backward = timed_backward
        self._step = stage.run.step

    def lap(self, part: str) -> None:
        now = self.clock()
        self.seconds[part] += now - self._since
        self._since = now

    def step(self, batch: Batch) -> None:
        """A step of the run, whose end is the optimizer's."""
        loop.collate, before = self._collate, loop.collate
        try:
            self._step(batch)
        finally:
            loop.collate = before
        self.lap("optimizer")

    def shares(self) -> dict[str, float]:
        return {part: round(self.seconds[part] / self.seconds.total(), 4) for part in PARTS}


# Losses


@torch.no_grad()
def mean_losses(trainable: TrainableModel, batch: Batch, budget: int) -> dict[str, float]:
    """Choice and text of a batch, each the mean over its positions, against the whole vocabulary."""
    trainable.trunk.eval()
    sums = Counter[str]()
    for part in map(collate, micro_batches(batch, budget)):
        part = part.to(trainable.input_rows.device)
        logits = trainable.logits(trainable.hidden(part)[part.positions_P]).float()
        chosen = (part.weights_PK * logits.gather(1, part.targets_PK.clamp_min(0))).sum(1)
        loss = logits.logsumexp(1) - chosen
        for name, mask in (("choice", part.is_choice_P), ("text", ~part.is_choice_P)):
            sums[name] += float(loss[mask].sum())
            sums[f"{name} positions"] += int(mask.sum())
    trainable.trunk.train()
    return {
        name: round(sums[name] / sums[f"{name} positions"], 4)
        for name in ("choice", "text")
        if sums[f"{name} positions"]
    }


# Measuring, each in a process of its own


def settings_of(variant: str, options: argparse.Namespace) -> list[str]:
    """One constant learning rate for all, rows included, as a Trainer has it."""
    return [
        *options.set,
        *VARIANTS[variant],
        "schedule=constant_with_warmup",
        "warmup=0",
        *([f"batch_size={options.batch}"] if options.batch else []),
    ]


def measure_speed(options: argparse.Namespace, stage: str) -> dict[str, Any]:
    """Seconds, utilization, parts and losses of all variants in turns."""
    tune_allocator()
    clock = CLOCKS[options.clock]
    dataset = load_dataset(options.dataset)
    config = resolve_config(STAGES[stage], None, settings_of("default", options))
    checkpoint = Checkpoint.load(options.checkpoint)
    started = clock()
    *drawn, held = draw(checkpoint, dataset, config, stage, options.rounds + 2)  # the first round warms up
    drawing = (clock() - started) / (len(drawn) + 1)
    same_rate = f"row_learning_rate={config.learning_rate}"
    stages = {
        name: open_run(options.checkpoint, dataset, stage, [*settings_of(name, options), same_rate])
        for name in VARIANTS
    }
    parts = {name: Parts(one, clock) for name, one in stages.items()}
    faults: list[tuple[int, float]] = []

    def stepper(name: str) -> Callable[[int], None]:
        def step(number: int) -> None:
            before = resource.getrusage(resource.RUSAGE_SELF)
            parts[name].step(drawn[number])
            after = resource.getrusage(resource.RUSAGE_SELF)
            if name == "default":
                faults.append((after.ru_minflt - before.ru_minflt, after.ru_stime - before.ru_stime))

        return step

    def evaluate() -> dict[str, Any]:
        whole = TrainableModel(checkpoint)
        found = {"reference": mean_losses(whole, held, config.micro_batch_tokens)}
        whole.release()
        checkpoint.model.train()
        return found | {
            name: mean_losses(one.trainable, held, config.micro_batch_tokens) for name, one in stages.items()
        }

    peaks: dict[str, float] = {"fp32": 0.0, "bf16": 0.0}

    def measure_peak() -> None:
        for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
            peaks[name] = max(peaks[name], peak_gflops(checkpoint, dtype, clock))

    begin = evaluate()
    for one in parts.values():
        one.seconds.clear()
    measure_peak()
    turns = Turns({name: stepper(name) for name in stages}, measure_peak, clock)
    reference(checkpoint, drawn, config, turns).train()
    rates = {
        name: [tokens(batch) / each for batch, each in zip(drawn, seconds, strict=True)][1:]
        for name, seconds in turns.seconds.items()
    }
    median = {name: statistics.median(values) for name, values in rates.items()}
    weights = sum(p.numel() for name, p in checkpoint.model.named_parameters() if "layers." in name or ".h." in name)
    layers = checkpoint.model.config.num_hidden_layers
    trained = {name: 1 - one.trainable.frozen_layers / layers for name, one in stages.items()} | {"reference": 1.0}
    operations = {name: weights * (2 + 4 * share) / 1e9 for name, share in trained.items()}
    return {
        "batch_size": config.batch_size,
        "tokens_a_batch": round(statistics.mean(map(tokens, drawn))),
        "tokens_per_second": rounded(median, 1),
        "all_rounds": {name: [round(value, 1) for value in values] for name, values in rates.items()},
        "over_reference": {name: round(median[name] / median["reference"], 2) for name in VARIANTS},
        "gflop_a_token": rounded(operations, 3),
        "peak_gflops": rounded(peaks, 1),
        "utilization": {
            kind: {name: round(median[name] * operations[name] / peak, 3) for name in median}
            for kind, peak in peaks.items()
        },
        "parts": {name: one.shares() for name, one in parts.items()},
        "drawing": round(drawing / statistics.mean(turns.seconds["default"][1:]), 4),
        "page_faults_a_step": round(statistics.mean(count for count, _ in faults[1:])),
        "kernel_share": round(sum(each for _, each in faults[1:]) / sum(turns.seconds["default"][1:]), 4),
        "losses": {"before": begin, "after": evaluate()},
    }


def rounded(values: dict[str, float], digits: int) -> dict[str, float]:
    return {name: round(value, digits) for name, value in values.items()}


def measure_memory(options: argparse.Namespace, stage: str, variant: str) -> float:
    """Peak memory in GiB of two steps of one variant."""
    dataset = load_dataset(options.dataset)
    settings = settings_of(variant if variant in VARIANTS else "default", options)
    if variant == "reference":
        checkpoint = Checkpoint.load(options.checkpoint)
        config = resolve_config(STAGES[stage], None, settings)
        reference(checkpoint, draw(checkpoint, dataset, config, stage, 2), config, TrainerCallback()).train()
    else:
        run = open_run(options.checkpoint, dataset, stage, settings)
        for _ in range(2):
            run.run.step(next(run.batches))
    return round(peak_memory_gib(), 2)


# Showing


def table(stages: dict[str, Any]) -> str:
    """What stands in the result, as lines of text."""
    lines = [f"{'stage':<14}{'variant':<11}{'tokens/s':>9}{'ratio':>7}{'of fp32':>9}{'GiB':>7}  loss before > after"]
    for stage, found in stages.items():
        for name in ("reference", *VARIANTS):
            ratio = found["tokens_per_second"][name] / found["tokens_per_second"]["reference"]
            before, after = (found["losses"][when][name] for when in ("before", "after"))
            losses = ", ".join(f"{kind} {before[kind]:.2f} > {after[kind]:.2f}" for kind in before)
            lines.append(
                f"{stage:<14}{name:<11}{found['tokens_per_second'][name]:>9.1f}{ratio:>7.2f}"
                f"{found['utilization']['fp32'][name]:>9.1%}{found['peak_memory_gib'][name]:>7.2f}  {losses}"
            )
        for name in VARIANTS:
            shares = ", ".join(f"{part} {share:.1%}" for part, share in found["parts"][name].items())
            lines.append(f"{'':<14}{name} step: {shares}")
    return "\n".join(lines)


def arguments(options: argparse.Namespace) -> Iterator[str]:
    """For a child process."""
    yield from (
        str(options.checkpoint),
        str(options.dataset),
        "--rounds",
        str(options.rounds),
        "--clock",
        options.clock,
    )
    if options.batch:
        yield from ("--batch", str(options.batch))
    for setting in options.set:
        yield from ("--set", setting)


def save(found: dict[str, Any], options: argparse.Namespace, seconds: float) -> None:
    """What was found so far, and its chart."""
    config = {
        "rounds": options.rounds,
        "batch": options.batch,
        "set": options.set,
        "clock": options.clock,
        "threads": torch.get_num_threads(),
    }
    origin = collect_provenance(load_dataset(options.dataset), config=config, seconds=seconds)
    result = {
        "benchmark": "training",
        "stages": found,
        "native_bf16": native_bf16(device_of()),
        "origin": origin.to_dict(),
    }
    write_json(options.output, result)
    write_text(options.output.with_suffix(".svg"), chart(result))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--stages", nargs="+", choices=list(STAGES), default=["memorization", "retrieval", "agent"])
    parser.add_argument("--rounds", type=int, default=3, help="steps that count, after one that does not")
    parser.add_argument("--batch", type=int, help="examples a step, a multiple of 8 (default: the stage's own)")
    parser.add_argument("--set", action="append", default=[], help="a setting of the training, for all but the Trainer")
    parser.add_argument(
        "--clock", choices=list(CLOCKS), default="wall", help="cpu: for a machine that others use (one thread)"
    )
    parser.add_argument("--output", "-o", type=Path)
    parser.add_argument("--measure", help=argparse.SUPPRESS)  # `speed` or a variant: what a child process does
    options = parser.parse_args()
    if options.measure:
        (stage,) = options.stages
        speed = options.measure == "speed"
        print(json.dumps(measure_speed(options, stage) if speed else measure_memory(options, stage, options.measure)))
        return

    started = time.monotonic()
    found: dict[str, Any] = {}
    for stage in options.stages:
        common = (*arguments(options), "--stages", stage, "--measure")
        found[stage] = child(__file__, *common, "speed")
        found[stage]["peak_memory_gib"] = {name: child(__file__, *common, name) for name in ("reference", *VARIANTS)}
        print(table({stage: found[stage]}), flush=True)
        if options.output:  # after each stage: the agent's takes longest
            save(found, options, time.monotonic() - started)
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
