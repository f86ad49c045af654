"""Runs stage 4: checkpoint in, checkpoint out. A step carries tasks out, judges what was done, and learns from it.

The loop is that of the other stages (`training.loop.Run`): state, resume, interrupt, precision, several processes. Each process
holds the whole model and carries out its own tasks, each with its whole group; only gradients and sums are exchanged.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from toolgen.agent.environments import NO_PACKAGES, Packages, environment_for
from toolgen.agent.loop import Budget
from toolgen.agent.policy import GenerativePolicy
from toolgen.checkpoint import Checkpoint
from toolgen.checkpoint.layout import METRICS, read_metrics, work_folder
from toolgen.datasets import Dataset
from toolgen.datasets.task import Task
from toolgen.decoding import DecodingOptions, Sampling
from toolgen.evaluation.scorers import scorer_for
from toolgen.inference.engine import Engine
from toolgen.reinforcement.config import STAGE, ReinforceConfig
from toolgen.reinforcement.curriculum import batches_of_tasks, tasks_by_level
from toolgen.reinforcement.objective import METHODS, Clip, divergence, is_telling
from toolgen.reinforcement.policy import PolicyBatch, PolicyExample, log_probabilities, policy_batch, with_reference
from toolgen.reinforcement.rewards import PARTS, Attempt, Reward, reward
from toolgen.reinforcement.rollouts import Rollout, RolloutMaker
from toolgen.training.collate import PackedRow, micro_batches
from toolgen.training.loop import OnStep, Run, opened
from toolgen.training.model import TrainableModel
from toolgen.training.run import check_catalog, fingerprint, finish, recorded
from toolgen.training.saving import trained_parameters

SECONDS = 86_400.0
"""That a rollout may take: how busy a machine is must not change what is learned."""

Judged = tuple[Rollout, Reward]


def reinforce(
    checkpoint: Checkpoint,
    dataset: Dataset,
    config: ReinforceConfig,
    output: Path,
    *,
    packages: Packages = NO_PACKAGES,
    restart: bool = False,
    tensorboard: bool = False,
    on_step: OnStep | None = None,
) -> Checkpoint:
    """Trains `checkpoint` (in place) on the training tasks of a dataset with the same catalog and saves it as `output`; rerun
    after an interrupt, it resumes. Tasks that need a package which is not among `packages` are left out.

    Raises UsageError and KeyboardInterrupt as `run_stage` does, DatasetError where there is no task to learn from.
    """
    check_catalog(checkpoint, dataset)
    levels = tasks_by_level(dataset, packages, given_tools=config.given_tools)
    batches = batches_of_tasks(levels, config)
    work = work_folder(output)
    examples: dict[str, Sequence[Task]] = dict(levels.items())
    identity = fingerprint(STAGE, checkpoint, dataset, config, examples)
    with opened(checkpoint, config, work, fingerprint=identity, restart=restart, tensorboard=tensorboard) as arranged:
        run = ReinforcementRun(*arranged, config, work, checkpoint, dataset, packages)
        with run.engine:
            run.go(batches, on_step)
        run.trainable.write_back()
    trained = recorded(STAGE, checkpoint, dataset, config, examples, read_metrics(work / METRICS))
    finish(trained, output)
    return trained


class ReinforcementRun(Run[Task]):
    """One run of stage 4. `engine` makes the passes of its rollouts, with the model's own weights."""

    def __init__(
        self,
        accelerator: Accelerator,
        trainable: TrainableModel,
        config: ReinforceConfig,
        work: Path,
        checkpoint: Checkpoint,
        dataset: Dataset,
        packages: Packages,
    ) -> None:
        self.reference: dict[str, Tensor] | None = None
        if config.kl_weight:  # what the stage begins with, before a state is resumed
            self.reference = {name: one.detach().clone() for name, one in trained_parameters(trainable).items()}
        super().__init__(accelerator, trainable, config, work, STAGE)
        trainable.eval()  # no dropout: the probability of a token is one number
        self.config, self.method, self.trainable = config, METHODS[config.method], trainable
        self.catalog, self.packages = dataset.catalog, packages
        self.engine = Engine(checkpoint.model, weights="full", concurrency=config.concurrency)
        sampling = Sampling(temperature=config.temperature, seed=config.seed)
        options = DecodingOptions(
            argument_tokens=config.argument_tokens, thought_tokens=config.thought_tokens, sampling=sampling
        )
        self.maker = RolloutMaker(
            policy=GenerativePolicy(checkpoint, options=options, only_said=True),
            environment=partial(environment_for, catalog=dataset.catalog, packages=packages),
            budget=Budget(steps=config.task_steps, tokens=config.task_tokens, seconds=SECONDS),
            concurrency=config.concurrency,
            given_tools=config.given_tools,
        )
        self.log_probabilities = partial(log_probabilities, temperature=config.temperature)

    def step(self, batch: list[Task]) -> dict[str, Any]:
        """Rollouts with the weights as they are, then `updates` optimizer steps on those that tell something."""
        started = time.perf_counter()
        groups = self._groups(self.own_part(batch))
        seconds, started = time.perf_counter() - started, time.perf_counter()
        kept = [group for group in groups if is_telling([one.share for _, one in group], *self.config.keep_between)]
        examples = self._examples(kept)
        record = self._measured(groups, kept)
        drawn = self._sum(sum(len(one.passage.drawn) for one in examples))
        if drawn:
            rows = [self._prepared(part) for part in micro_batches(examples, self.budget.tokens)] if examples else []
            learned = [self._learn(rows, drawn) for _ in range(self.config.updates)]
            self.budget.took(sum(map(len, examples)), time.perf_counter() - started)
            # Before the first update the two are the same, up to rounding.
            record |= learned[-1] | {"sampling_gap": learned[0]["log_ratio"]}
        else:
            record |= dict.fromkeys(
                ("loss", "divergence", "clipped", "log_ratio", "sampling_gap", "gradient_norm"), 0.0
            )
        return {**record, "drawn": int(drawn), "rollout_seconds": round(seconds, 2)}

    def _groups(self, tasks: list[Task]) -> list[list[Judged]]:
        """Each task's rollouts and what they earned."""
        self.trainable.write_rows()
        self.engine.prefixes.clear()  # they were read with other weights
        groups = self.maker.groups(self.engine, tasks, self.config.group_size, str(self.progress.step))
        return [[(rollout, self._judged(rollout)) for rollout in group] for group in groups]

    def _judged(self, rollout: Rollout) -> Reward:
        scorer = scorer_for(rollout.task, self.catalog, self.packages)
        assert scorer is not None, "other tasks are left out"
        score = scorer.score(rollout.task, rollout.trajectory)
        return reward(Attempt(task=rollout.task, trajectory=rollout.trajectory, score=score), self.config.reward)

    def _examples(self, kept: Sequence[Sequence[Judged]]) -> list[PolicyExample]:
        examples = []
        for group in kept:
            advantages = self.method.weigh([one.total for _, one in group])
            for (rollout, _), advantage in zip(group, advantages, strict=True):
                examples += [PolicyExample(passage, advantage) for passage in rollout.passages if advantage]
        return examples

    def _prepared(self, part: Sequence[PolicyExample]) -> PolicyBatch:
        row = policy_batch(part).to(self.accelerator.device)
        if self.reference is None:
            return row
        with self.accelerator.autocast():
            return with_reference(row, self.trainable, self.trained, self.reference, self.config.temperature)

    def _learn(self, rows: Sequence[PolicyBatch], drawn: float) -> dict[str, float]:
        """One optimizer step. The loss is the mean over all tokens that were drawn, so that a long rollout weighs as its tokens
        do (DAPO, arXiv 2503.14476)."""
        sums = torch.zeros(4, device=self.accelerator.device)
        for number, row in enumerate(rows, start=1):
            with self.exchanging(is_last=number == len(rows)):
                with self.accelerator.autocast():
                    log_P = self.model(row, self.log_probabilities)
                loss, measures = self._loss(log_P, row)
                self.accelerator.backward(
                    loss / drawn * self.processes
                )  # the exchange takes the mean over the processes
            sums += measures / drawn
        if not rows:  # the others wait for this process's gradient
            token = torch.zeros(1, dtype=torch.long, device=self.accelerator.device)
            empty = PackedRow(ids_T=token, places_T=token, lengths=(1,))
            self.accelerator.backward(self.model(empty, lambda model, one: 0 * model.logits(model.hidden(one)).sum()))
        loss, kl, clipped, log_ratio = self.accelerator.reduce(sums, "sum").tolist()
        losses = {"loss": loss, "divergence": kl, "clipped": clipped, "log_ratio": log_ratio}
        return self.update(losses)

    def _loss(self, log_P: Tensor, row: PolicyBatch) -> tuple[Tensor, Tensor]:
        """The loss summed over the tokens of a row; beside it what is recorded: loss, divergence, how many tokens are beyond
        the clip, and how far their log probabilities are from those at the draw."""
        clip = Clip(below=self.config.clip_below, above=self.config.clip_above)
        loss_P = self.method.surrogate(log_P, row.drawn_P, row.advantages_P, clip)
        kl_P = torch.zeros_like(loss_P) if row.reference_P is None else divergence(log_P, row.reference_P)
        loss_P = loss_P + self.config.kl_weight * kl_P
        gap_P = (log_P - row.drawn_P).detach()
        ratio_P = gap_P.exp()
        clipped_P = (ratio_P < 1 - clip.below) | (ratio_P > 1 + clip.above)
        loss = loss_P.sum()
        return loss, torch.stack([loss.detach(), kl_P.detach().sum(), clipped_P.sum(), gap_P.abs().sum()])

    def _measured(self, groups: Sequence[Sequence[Judged]], kept: Sequence[Sequence[Judged]]) -> dict[str, Any]:
        """The mean reward of all rollouts and of each of its parts, passages of a rollout, the share of the groups that tell
        something, and how many tokens the passages have."""
        judged = [one for group in groups for one in group]
        sums = self._sums(
            len(judged),
            sum(one.total for _, one in judged),
            *(sum(one.parts[name] for _, one in judged) for name in PARTS),
            len(groups),
            len(kept),
            sum(len(rollout.passages) for rollout, _ in judged),
            sum(len(passage) for rollout, _ in judged for passage in rollout.passages),
        )
        count, total, *parts, made, telling, passages, tokens = sums
        means: dict[str, float] = dict(zip(PARTS, (part / count for part in parts), strict=True))
        return {
            "reward": total / count,
            **means,
            "telling": telling / made,
            "passages": passages / count,
            "batch_tokens": int(tokens),
        }

    def _sum(self, value: float) -> float:
        (total,) = self._sums(value)
        return total

    def _sums(self, *values: float) -> list[float]:
        """Each summed over the processes."""
        summed: list[float] = self.accelerator.reduce(
            torch.tensor(values, device=self.accelerator.device, dtype=torch.float32), "sum"
        ).tolist()
        return summed
