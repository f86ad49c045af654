"""The one loop that all stages run: batches in, a trained checkpoint and `metrics.jsonl` out.

Precision, clipping, schedules, saved states, loggers and the exchange of gradients between processes are accelerate's and
transformers'; the loss is the stage's, the batches in `examples.py`. Stops cleanly at a step on Ctrl-C and resumes from
there, on any number of processes: each takes its part of every batch, so the curve is the same. Knows no stage.
"""

from __future__ import annotations

import atexit
import gc
import math
import shutil
import signal
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any, Generic, TypeVar

import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, DistributedType, set_seed
from transformers import get_scheduler

from toolgen.checkpoint import Checkpoint
from toolgen.checkpoint.layout import METRICS, RUN, STATE, read_metrics
from toolgen.errors import DivergenceError, InputError, MissingExtraError, ProcessesError, Terminated, UsageError
from toolgen.files import append_record, named_failure, write_json
from toolgen.foreign.data import read_json
from toolgen.inference.machine import native_bf16, tune_allocator
from toolgen.training.budget import TokenBudget
from toolgen.training.collate import collate, micro_batches
from toolgen.training.config import StageConfig, TrainingConfig
from toolgen.training.examples import TrainingExample, batches, repeats
from toolgen.training.loss import Loss, set_cross_entropy
from toolgen.training.model import TrainableModel, check_logits, probe_batch
from toolgen.training.saving import (
    Progress,
    StateWriter,
    other_run,
    put_curve_back,
    resume,
    tensors_of,
    trained_parameters,
)
from toolgen.training.sharding import distribute, equal_count, whole

Item = TypeVar("Item")
Other = TypeVar("Other")
OnStep = Callable[[Mapping[str, Any]], None]
Teach = Callable[[Sequence[TrainingExample]], list[TrainingExample]]
RECENT_STEPS = 10
"""Whose mean loss tells whether anything is left to learn (`StageConfig.stop_below`)."""


def train(
    checkpoint: Checkpoint,
    sources: Mapping[str, Sequence[TrainingExample]],
    config: StageConfig,
    work: Path,
    *,
    stage: str,
    loss: Loss = set_cross_entropy,
    fingerprint: Mapping[str, Any],
    unasked: Sequence[int] = (),
    untargeted: Sequence[int] = (),
    teach: Teach | None = None,
    restart: bool = False,
    tensorboard: bool = False,
    on_step: OnStep | None = None,
) -> list[dict[str, Any]]:
    """Trains `checkpoint` in place and returns the records of `work/metrics.jsonl`.

    A run with the same `fingerprint` (input, data, configuration) that stopped before is resumed, unless `restart`;
    another run's state is a UsageError. KeyboardInterrupt leaves the state behind. `on_step` is called in the first process
    only. `unasked` and `untargeted` are those of `TrainableModel`; `teach` changes the examples of a batch before its step.
    """
    with opened(
        checkpoint,
        config,
        work,
        fingerprint=fingerprint,
        unasked=unasked,
        untargeted=untargeted,
        blend=config.blend,
        whole=not config.shard_trunk,
        restart=restart,
        tensorboard=tensorboard,
    ) as (accelerator, trainable):
        trainable.train()
        # Processes that hold shards of the model must go through the same layers, whatever each has seen before.
        if not (config.is_sharded and in_group(accelerator)) and repeats(
            sources, config.shares, config.steps * config.batch_size
        ):
            with accelerator.autocast():
                trainable.keep_frozen_states(config.frozen_states_mib, probe_batch(checkpoint))
        run = SupervisedRun(accelerator, trainable, config, work, stage, loss, teach)
        run.go(batches(sources, config.shares, batch_size=config.batch_size, seed=config.seed), on_step)
        trainable.write_back()
    return read_metrics(work / METRICS)


@contextmanager
def opened(
    checkpoint: Checkpoint,
    config: TrainingConfig,
    work: Path,
    *,
    fingerprint: Mapping[str, Any],
    unasked: Sequence[int] = (),
    untargeted: Sequence[int] = (),
    blend: float = 1.0,
    whole: bool = True,
    restart: bool = False,
    tensorboard: bool = False,
) -> Iterator[tuple[Accelerator, TrainableModel]]:
    """What a run needs: the folder of its state, its processes and the model arranged for training, on its device if it is
    `whole` there. Afterwards the checkpoint's model can be used again."""
    tune_allocator()
    set_seed(config.seed)
    accelerator = opened_accelerator(config.precision, work, tensorboard=tensorboard)
    if config.batch_size < accelerator.num_processes:
        raise UsageError(
            f"a batch_size of {config.batch_size} cannot be split among {accelerator.num_processes} processes; "
            "set it to at least their number"
        )
    prepare_work(work, fingerprint, restart=restart, accelerator=accelerator)
    if whole or not in_group(accelerator):  # else its shards go to the device, and it stays
        checkpoint.model.to(accelerator.device)
    trainable = TrainableModel(
        checkpoint,
        frozen_layers=_frozen_layers(checkpoint, config),
        unasked=unasked,
        untargeted=untargeted,
        blend=blend,
        rows_stay=config.rows_stay,
    )
    try:
        check_logits(checkpoint, trainable)
        yield accelerator, trainable
    finally:
        checkpoint.model.eval()
        trainable.release()
        # Not end_training, which also drops the process group while the wrapped model is alive: see _leave_processes.
        for tracker in accelerator.trackers:
            tracker.finish()


def prepare_work(work: Path, fingerprint: Mapping[str, Any], *, restart: bool, accelerator: Accelerator) -> None:
    """Opens the folder of a run; UsageError if it holds the state of another. A run that saved no state can be replaced."""
    path = work / RUN
    if not restart and (work / STATE).exists() and (found := fingerprint_in(path)) != fingerprint:
        raise UsageError(other_run(work, found, fingerprint))
    accelerator.wait_for_everyone()  # all have looked
    if accelerator.is_main_process:
        if restart:
            shutil.rmtree(work, ignore_errors=True)
        with named_failure(work):
            work.mkdir(parents=True, exist_ok=True)
        write_json(path, fingerprint)
    accelerator.wait_for_everyone()


def fingerprint_in(path: Path) -> Any:
    """What `run.json` holds; None where it is missing or damaged: then the state beside it is another run's."""
    try:
        return read_json(path)
    except InputError:
        return None


def _frozen_layers(checkpoint: Checkpoint, config: TrainingConfig) -> int:
    return int(config.frozen_share * checkpoint.model.config.num_hidden_layers)


def opened_accelerator(precision: str, work: Path, *, tensorboard: bool = False) -> Accelerator:
    """A new accelerator; its precision is global, so that of an earlier run in this process is forgotten first."""
    if tensorboard and find_spec("tensorboard") is None:
        raise MissingExtraError("tensorboard", "tensorboard")
    AcceleratorState._reset_state(reset_partial_state=True)
    trackers = "tensorboard" if tensorboard else None
    exchange = DistributedDataParallelKwargs(gradient_as_bucket_view=True)
    # Several processes find each other on a CPU only if it is named.
    device = PartialState(cpu=not torch.accelerator.is_available()).device
    half = precision == "bf16" or (precision == "auto" and native_bf16(device))
    accelerator = Accelerator(
        cpu=device.type == "cpu",
        mixed_precision="bf16" if half else "no",
        log_with=trackers,
        project_dir=str(work),
        kwargs_handlers=[exchange],
    )
    if accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM):
        raise UsageError(
            f"training shards the model itself: launch it without {accelerator.distributed_type.value} and --set "
            "shard_trunk=true (FSDP2) or shard_rows=true"
        )
    if in_group(accelerator):
        atexit.register(_leave_processes)
    if tensorboard:
        accelerator.init_trackers("tensorboard", config={})
    return accelerator


def in_group(accelerator: Accelerator) -> bool:
    """Whether a launcher started this process, perhaps as the only one: then it can hold its part of a model."""
    return bool(accelerator.distributed_type != DistributedType.NO)


def _leave_processes() -> None:
    """Ends the process group when everything that uses it is gone. Its thread needs the interpreter's lock to let go of
    gradients: it must be joined before the interpreter ends, and not by the wrapped model, whose destructor holds the lock."""
    gc.collect()
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


class Run(ABC, Generic[Item]):
    """Model, optimizer and schedule of one run, and its place. A subclass says what a step makes of a batch."""

    def __init__(
        self,
        accelerator: Accelerator,
        trainable: TrainableModel,
        config: TrainingConfig,
        work: Path,
        stage: str,
        *,
        shard_rows: bool = False,
        shard_trunk: bool = False,
    ) -> None:
        self.accelerator, self.optimization, self.work, self.stage = accelerator, config, work, stage
        self.budget = TokenBudget(config.micro_batch_tokens)
        self.processes = accelerator.num_processes
        self.is_sharded = in_group(accelerator) and (shard_rows or shard_trunk)
        model = (
            distribute(trainable, accelerator.device, rows=shard_rows, trunk=shard_trunk)
            if self.is_sharded
            else trainable
        )
        self.trained = trained_parameters(trainable)
        groups = [
            {"params": trainable.trunk_parameters(), "lr": config.learning_rate, "weight_decay": config.weight_decay},
            {"params": trainable.row_parameters(), "lr": config.row_learning_rate, "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW([group for group in groups if group["params"]], betas=(0.9, 0.95), fused=True)
        # The rate is a function of the step, so that no state of a schedule has to be saved.
        schedule = get_scheduler(config.schedule, optimizer, round(config.warmup * config.steps), config.steps)
        self.peaks, (self.share, *_) = schedule.base_lrs, schedule.lr_lambdas
        self.model: torch.nn.Module
        self.optimizer: torch.optim.Optimizer
        self.model, self.optimizer = (
            (model, optimizer) if self.is_sharded else accelerator.prepare(trainable, optimizer)
        )
        self.moments = optimizer
        self.writer = StateWriter(work / STATE, in_place=accelerator.device.type == "cpu")
        self.progress = self._resume()

    @abstractmethod
    def step(self, batch: list[Item]) -> dict[str, Any]:
        """Learns from a batch. What there is to record of it, and its number of tokens as `batch_tokens`."""

    def has_learned(self) -> bool:
        """Whether nothing is left to learn, so that the run ends before its last step."""
        return False

    def go(self, data: Iterator[list[Item]], on_step: OnStep | None) -> None:
        """Steps until the end or until an interrupt, which is honoured between two steps."""
        started, before = time.monotonic(), self.progress.seconds
        saved = started
        main = self.accelerator.is_main_process
        with self.writer, deferred_interrupt() as interrupted, _named_failure(self.processes):
            for batch in islice(data, self.progress.step, self.optimization.steps):
                if self.has_learned():
                    break
                record = self.step(batch)
                seconds = before + time.monotonic() - started
                self.progress = Progress(
                    self.progress.step + 1, self.progress.tokens + record.pop("batch_tokens"), seconds
                )
                record = {"stage": self.stage, "step": self.progress.step, **record, "tokens": self.progress.tokens}
                record["seconds"] = round(seconds, 2)
                self.accelerator.log({k: v for k, v in record.items() if isinstance(v, float)}, step=self.progress.step)
                if main:
                    append_record(self.work / METRICS, record)
                    if on_step:
                        on_step(record)
                due = (
                    time.monotonic() - saved > 60 * self.optimization.save_minutes
                    and self.progress.step < self.optimization.steps
                )
                stop, save = self._agree(bool(interrupted()), due)
                if stop or save:
                    self._save()
                    saved = time.monotonic()
                if stop:
                    self.writer.finish()
                    raise interrupted() or KeyboardInterrupt

    def own_part(self, batch: Sequence[Other]) -> list[Other]:
        """What of a batch this process learns from."""
        return list(batch[self.accelerator.process_index :: self.processes])

    def seed_step(self) -> None:
        """Dropout of a step depends on nothing but its number, and differs between processes."""
        number = self.progress.step * self.processes + self.accelerator.process_index
        torch.manual_seed((self.optimization.seed << 32) + number)

    def exchanging(self, *, is_last: bool) -> AbstractContextManager[Any]:
        """Around each part of a step: gradients are exchanged once, after the last part of each process."""
        return nullcontext() if is_last else self.accelerator.no_sync(self.model)

    def update(self, losses: Mapping[str, float]) -> dict[str, Any]:
        """Changes the weights by the gradients that are there, and returns what is to be recorded of it beside the losses."""
        norm = self.accelerator.clip_grad_norm_(self._unwrapped().trunk_parameters(), self.optimization.clip)
        measured = {**losses, "gradient_norm": 0.0 if norm is None else float(whole(norm))}
        check_finite(self.progress.step + 1, measured)
        self.writer.before_change()
        rates = self._set_rates()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return {**measured, "learning_rate": rates[0]}

    def _set_rates(self) -> list[float]:
        rates = [peak * self.share(self.progress.step) for peak in self.peaks]
        for group, rate in zip(self.moments.param_groups, rates, strict=True):
            group["lr"] = rate
        return rates

    def _unwrapped(self) -> TrainableModel:
        model: TrainableModel = self.accelerator.unwrap_model(self.model)
        return model

    def _agree(self, interrupted: bool, due: bool) -> tuple[bool, bool]:
        """Whether all processes stop, and whether they save: yes as soon as one of them wants to."""
        if self.processes == 1:
            return interrupted, due
        wanted = torch.tensor([float(interrupted), float(due)], device=self.accelerator.device)
        stop, save = (self.accelerator.reduce(wanted, "sum") > 0).tolist()
        return stop, save

    def _save(self) -> None:
        """One process goes on training while its state is written; several wait for the first one, which writes."""
        main, alone = self.accelerator.is_main_process, self.processes == 1
        tensors = tensors_of(self.trained, self.moments, keep=main)
        if main:
            self.writer.start(tensors, self.progress, self.work / METRICS)
            if not alone:
                self.writer.finish()
        self.accelerator.wait_for_everyone()

    def _resume(self) -> Progress:
        state = self.work / STATE
        progress = resume(state, self.trained, self.moments)
        if self.accelerator.is_main_process:
            put_curve_back(state, self.work / METRICS)
        self.accelerator.wait_for_everyone()
        return progress


class SupervisedRun(Run[TrainingExample]):
    """Learns from examples that say what should follow where."""

    def __init__(
        self,
        accelerator: Accelerator,
        trainable: TrainableModel,
        config: StageConfig,
        work: Path,
        stage: str,
        loss: Loss = set_cross_entropy,
        teach: Teach | None = None,
    ) -> None:
        super().__init__(
            accelerator,
            trainable,
            config,
            work,
            stage,
            shard_rows=config.shard_rows,
            shard_trunk=config.shard_trunk,
        )
        self.config, self.loss, self.teach = config, loss, teach
        self.recent = deque((record["loss"] for record in read_metrics(work / METRICS)), maxlen=RECENT_STEPS)

    def has_learned(self) -> bool:
        return len(self.recent) == RECENT_STEPS and fmean(self.recent) < self.config.stop_below

    def step(self, batch: list[TrainingExample]) -> dict[str, Any]:
        choices = max(1, sum(len(example.choices) for example in batch))
        texts = sum(example.text_weight for example in batch) or 1
        own = self.own_part(sorted(batch, key=len))
        if self.teach:
            own = self.teach(own)
        self.seed_step()
        started, budget = time.perf_counter(), self.budget.tokens
        parts = micro_batches(own, budget)
        if self.is_sharded:
            parts = equal_count(parts, self.accelerator.device)
        sums = torch.zeros(3, device=self.accelerator.device)
        for number, part in enumerate(parts, start=1):
            with self.exchanging(is_last=number == len(parts)):
                with self.accelerator.autocast():
                    losses = self.model(collate(part).to(self.accelerator.device), self.loss)
                loss = losses.choice / choices + self.config.text_weight * (losses.text + losses.replayed) / texts
                self.accelerator.backward(loss * self.processes)  # the exchange takes the mean over the processes
            sums += torch.stack([losses.choice / choices, losses.text / texts, losses.replayed / texts]).detach()
        choice, text, replayed = self.accelerator.reduce(sums, "sum").tolist()
        self.budget.took(sum(map(len, own)), time.perf_counter() - started)
        # What is replayed is never learned: it tells nothing of what is left to learn (`has_learned`).
        losses = {"loss": choice + self.config.text_weight * text, "choice_loss": choice, "text_loss": text}
        losses["replayed_loss"] = replayed
        self.recent.append(losses["loss"])
        return {**self.update(losses), "micro_batch_tokens": budget, "batch_tokens": sum(map(len, batch))}


def check_finite(step: int, measured: Mapping[str, float]) -> None:
    """DivergenceError if a loss or norm of this step is no number."""
    if wrong := [f"{name} is {value}" for name, value in measured.items() if not math.isfinite(value)]:
        raise DivergenceError(step, wrong[0])


@contextmanager
def _named_failure(processes: int) -> Iterator[None]:
    """When one of several processes dies, the others fail while they wait for it; this says so."""
    try:
        yield
    except RuntimeError as error:
        if processes == 1 or not _is_lost_peer(error):
            raise
        raise ProcessesError(
            "another process of this run has ended; what was saved last is kept, rerun the command to resume "
            f"({' '.join(str(error).split())[:120]})"
        ) from error


def _is_lost_peer(error: RuntimeError) -> bool:
    return isinstance(error, torch.distributed.DistError) or any(word in str(error) for word in ("gloo", "NCCL"))


@contextmanager
def deferred_interrupt() -> Iterator[Callable[[], KeyboardInterrupt | None]]:
    """Ctrl-C and SIGTERM ask for an end after the current step, with the exception that is given; a second Ctrl-C does not
    wait."""
    asked: list[int] = []

    def ask(number: int, _frame: Any) -> None:
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.append(number)

    try:
        previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread: signals are somebody else's
        previous = {}
    try:
        yield lambda: _exception(asked[0]) if asked else None
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _exception(number: int) -> KeyboardInterrupt:
    return Terminated() if number == signal.SIGTERM else KeyboardInterrupt()
