"""Learns from pairs: what was better becomes likelier against what was worse (DPO, arXiv 2305.18290), without a single rollout.

The probabilities are those of stage 4: of tools among the tools that were offered, of arguments among what the grammar allows.
The loop is that of the other stages (`training.loop.Run`).

Shapes: P drawn tokens, K pairs (chosen and rejected), N pairs of all.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from toolgen.checkpoint import Checkpoint
from toolgen.checkpoint.layout import METRICS, read_metrics, work_folder
from toolgen.datasets import Dataset, Preference
from toolgen.datasets.trajectory import Message
from toolgen.decoding import ToolDecoder
from toolgen.decoding.choices import choices
from toolgen.errors import DatasetError, UsageError
from toolgen.files import named_failure
from toolgen.reinforcement.config import PREFERENCE, PreferenceConfig
from toolgen.reinforcement.objective import chosen_loss, preference_loss
from toolgen.reinforcement.policy import PolicyBatch, PolicyExample, log_probabilities, policy_batch
from toolgen.reinforcement.rollouts import Passage, Recorder
from toolgen.training.budget import TokenBudget
from toolgen.training.collate import micro_batches
from toolgen.training.examples import shuffled
from toolgen.training.loop import OnStep, Run, opened
from toolgen.training.model import TrainableModel
from toolgen.training.run import check_catalog, fingerprint, finish, recorded
from toolgen.virtualization.vocabulary import ACTIONS

REFERENCE = "reference.safetensors"


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A pair as the model reads it; `place` is its number among all."""

    place: int
    chosen: Passage
    rejected: Passage

    def __len__(self) -> int:
        return len(self.chosen) + len(self.rejected)


def learn_preferences(
    checkpoint: Checkpoint,
    dataset: Dataset,
    config: PreferenceConfig,
    output: Path,
    *,
    restart: bool = False,
    tensorboard: bool = False,
    on_step: OnStep | None = None,
) -> Checkpoint:
    """Trains `checkpoint` (in place) on the training preferences of a dataset with the same catalog and saves it as `output`;
    rerun after an interrupt, it resumes.

    Raises UsageError and KeyboardInterrupt as `run_stage` does, DatasetError where there is no pair to learn from.
    """
    check_catalog(checkpoint, dataset)
    if config.max_tokens > checkpoint.context_length:
        raise UsageError(
            f"max_tokens is {config.max_tokens}; this model reads at most {checkpoint.context_length} tokens"
        )
    examples = read_pairs(checkpoint, dataset, config)
    pairs: Sequence[Pair] = examples["pairs"]
    work = work_folder(output)
    identity = fingerprint(PREFERENCE, checkpoint, dataset, config, examples)
    with opened(checkpoint, config, work, fingerprint=identity, restart=restart, tensorboard=tensorboard) as arranged:
        run = PreferenceRun(*arranged, config, work, pairs)
        run.go(_batches(pairs, config), on_step)
        run.trainable.write_back()
    trained = recorded(PREFERENCE, checkpoint, dataset, config, examples, read_metrics(work / METRICS))
    finish(trained, output)
    return trained


def read_pairs(checkpoint: Checkpoint, dataset: Dataset, config: PreferenceConfig) -> dict[str, Sequence[Any]]:
    """The training preferences as `pairs`, and those that are left out: `too_long`, or without a choice on one side
    (`no_choice`). DatasetError if no pair is left, or one names a tool that is not in the catalog."""
    reader = _PairReader(checkpoint, dataset, config.max_tokens)
    pairs: list[Pair] = []
    too_long: list[str] = []
    no_choice: list[str] = []
    for one in dataset.preferences["train"]:
        chosen, rejected = reader.passage(one, one.chosen), reader.passage(one, one.rejected)
        if chosen is None or rejected is None:
            too_long.append(one.id)
        elif chosen.drawn and rejected.drawn:
            pairs.append(Pair(place=len(pairs), chosen=chosen, rejected=rejected))
        else:
            no_choice.append(one.id)
    if not pairs:
        given = len(too_long) + len(no_choice)
        raise DatasetError(
            f"none of the {given} training preferences of {dataset.name} can be learned from: {len(too_long)} are longer than "
            f"{config.max_tokens} tokens (max_tokens), {len(no_choice)} have no call to choose"
            if given
            else f"{dataset.name} has no training preferences; make some with toolgen sample"
        )
    return {"pairs": pairs, "too_long": too_long, "no_choice": no_choice}


class _PairReader:
    """Makes passages of conversations."""

    def __init__(self, checkpoint: Checkpoint, dataset: Dataset, max_tokens: int) -> None:
        self._tools = {*dataset.catalog.ids, *ACTIONS}
        self._definitions = {task.id: task.definitions for task in dataset.tasks["train"] if task.definitions}
        self._decoder = ToolDecoder(checkpoint)
        self._size = checkpoint.vocabulary.new_token_ids.stop
        self._max_tokens = max_tokens
        self._known: dict[bytes, bytes] = {}

    def passage(self, preference: Preference, tail: Sequence[Message]) -> Passage | None:
        """One side of a preference, with what was free to choose in it; None if it is too long."""
        if unknown := sorted({*preference.called_tools, *(preference.tools or ())} - self._tools):
            raise DatasetError(
                f"preference {preference.id!r} names the tool {unknown[0]!r}, which the catalog does not have"
            )
        definitions = self._definitions.get(preference.query, ())
        decoder = self._decoder.redefined(definitions) if definitions else self._decoder
        ids, written = decoder.protocol.supervised([*preference.prompt, *tail], len(preference.prompt))
        if len(ids) > self._max_tokens:
            return None
        recorder = Recorder(self._size, self._known)
        for draw in choices(decoder, ids, written, preference.tools):
            recorder(draw)
        return recorder.passages[0] if recorder.passages else Passage([])


def _batches(pairs: Sequence[Pair], config: PreferenceConfig) -> Iterator[list[Pair]]:
    """Endless batches. A resumed run skips those it has had."""
    walk = shuffled(len(pairs), f"{config.seed}/pairs")
    while True:
        yield [pairs[next(walk)[1]] for _ in range(config.batch_size)]


class PreferenceRun(Run[Pair]):
    """One run over pairs. What the weights that the run began with say of each pair is computed once, and kept beside the
    state."""

    def __init__(
        self,
        accelerator: Accelerator,
        trainable: TrainableModel,
        config: PreferenceConfig,
        work: Path,
        pairs: Sequence[Pair],
    ) -> None:
        trainable.eval()  # no dropout: the probability of a token is one number
        self.reference_N2 = _reference(accelerator, trainable, pairs, config, work / REFERENCE)
        super().__init__(accelerator, trainable, config, work, PREFERENCE)
        trainable.eval()
        self.config, self.trainable = config, trainable

    def step(self, batch: list[Pair]) -> dict[str, Any]:
        """One optimizer step. Records how many pairs are told apart as they should be, and what the log probabilities of
        chosen and rejected runs have gained on the reference: both may fall, the rejected should fall more."""
        started, own = time.perf_counter(), self.own_part(batch)
        sums = torch.zeros(4, device=self.accelerator.device)
        parts = micro_batches(own, self.budget.tokens)
        for number, part in enumerate(parts, start=1):
            row = _row(part).to(self.accelerator.device)
            with self.exchanging(is_last=number == len(parts)):
                with self.accelerator.autocast():
                    log_P = self.model(row, _LOG_PROBABILITIES)
                log_K2 = _sums(log_P, row, part)
                gained_K2 = log_K2 - self.reference_N2[[pair.place for pair in part]]
                choices_K = log_P.new_tensor([len(pair.chosen.drawn) for pair in part])
                likely_K = self.config.chosen_weight * chosen_loss(log_K2[:, 0], choices_K)
                losses_K = preference_loss(gained_K2, self.config.beta) + likely_K
                # The exchange takes the mean over the processes.
                self.accelerator.backward(losses_K.sum() / len(batch) * self.processes)
            told_apart = (gained_K2[:, 0] > gained_K2[:, 1]).sum()
            sums += torch.stack([losses_K.sum(), told_apart, *gained_K2.sum(0)]).detach() / len(batch)
        self.budget.took(sum(map(len, own)), time.perf_counter() - started)
        loss, accuracy, chosen, rejected = self.accelerator.reduce(sums, "sum").tolist()
        measured = {"loss": loss, "accuracy": accuracy, "chosen": chosen, "rejected": rejected}
        return {**self.update(measured), "batch_tokens": sum(map(len, batch))}


_LOG_PROBABILITIES = partial(log_probabilities, temperature=1.0)


def _row(pairs: Sequence[Pair]) -> PolicyBatch:
    """Both passages of each pair in one row."""
    return policy_batch([PolicyExample(one, 0.0) for pair in pairs for one in (pair.chosen, pair.rejected)])


def _sums(log_P: Tensor, row: PolicyBatch, pairs: Sequence[Pair]) -> Tensor:
    """The log probability of each passage (K, 2)."""
    return log_P.new_zeros(2 * len(pairs)).index_add(0, row.examples_P, log_P).view(-1, 2)


@torch.no_grad()
def _reference(
    accelerator: Accelerator, trainable: TrainableModel, pairs: Sequence[Pair], config: PreferenceConfig, path: Path
) -> Tensor:
    """The log probabilities of all passages (N, 2) before anything was learned; each process computes some."""
    if (found_N2 := _kept(path)) is None or found_N2.shape != (len(pairs), 2):
        found_N2 = torch.zeros(len(pairs), 2, device=accelerator.device)
        own = pairs[accelerator.process_index :: accelerator.num_processes]
        for part in micro_batches(own, TokenBudget(config.micro_batch_tokens).tokens) if own else ():
            row = _row(part).to(accelerator.device)
            with accelerator.autocast():
                log_P = _LOG_PROBABILITIES(trainable, row)
            found_N2[[pair.place for pair in part]] = _sums(log_P, row, part)
        found_N2 = accelerator.reduce(found_N2, "sum")
        if accelerator.is_main_process:
            with named_failure(path):
                save_file({"reference": found_N2.cpu()}, path)
    accelerator.wait_for_everyone()  # all have looked, or the first has written
    return found_N2.to(accelerator.device)


def _kept(path: Path) -> Tensor | None:
    """What an earlier run of the same pairs left; None if that is nothing sound."""
    try:
        return load_file(path).get("reference")
    except (OSError, SafetensorError):
        return None
