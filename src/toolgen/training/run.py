"""Runs a stage: checkpoint in, checkpoint out, with the configuration and last metrics added to the history that it carries."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from accelerate import PartialState
from pydantic import BaseModel

from toolgen.catalog.tool import canonical_json
from toolgen.checkpoint import Checkpoint, StageRecord
from toolgen.checkpoint.layout import weights_of, work_folder
from toolgen.checkpoint.tensors import digest
from toolgen.datasets import Dataset
from toolgen.errors import UsageError
from toolgen.training.config import StageConfig, TrainingConfig
from toolgen.training.examples import TrainingExample, targets_of
from toolgen.training.loop import OnStep, train
from toolgen.training.stages import Stage
from toolgen.training.teacher import LogitsOfAll, Teacher
from toolgen.virtualization.vocabulary import TURN_START


def run_stage(
    stage: Stage,
    checkpoint: Checkpoint,
    dataset: Dataset,
    config: StageConfig,
    output: Path,
    *,
    teacher: LogitsOfAll | None = None,
    restart: bool = False,
    tensorboard: bool = False,
    on_step: OnStep | None = None,
) -> Checkpoint:
    """Trains `checkpoint` (in place) and saves it as `output`; rerun after an interrupt, it resumes.

    `teacher` gives the logits of the retrievers that `config.teacher` names. Started by `torchrun` or `accelerate launch`, each
    process takes its part of every batch, and the first one saves.

    The dataset's catalog must be the checkpoint's. Raises UsageError otherwise, and KeyboardInterrupt after saving the
    state when the user stops it.
    """
    check_catalog(checkpoint, dataset)
    _check_settings(config, checkpoint, has_teacher=teacher is not None)
    work = work_folder(output)
    sources = stage.examples(checkpoint, dataset, config)
    records = train(
        checkpoint,
        sources,
        config,
        work,
        stage=stage.name,
        loss=stage.loss,
        fingerprint={
            **fingerprint(stage.name, checkpoint, dataset, config, sources),
            "teacher": [weights_of(folder) for folder in (config.teacher_encoder, config.teacher_checkpoint) if folder],
        },
        unasked=_unasked(checkpoint, dataset) if config.negatives == "asked" else (),
        untargeted=[*_never(checkpoint), *(_untargeted(checkpoint, sources) if config.negatives == "asked" else ())],
        teach=Teacher(teacher, checkpoint.vocabulary, config.teacher_share) if teacher else None,
        restart=restart,
        tensorboard=tensorboard,
        on_step=on_step,
    )
    trained = recorded(stage.name, checkpoint, dataset, config, sources, records)
    if stage.learns_requests:
        trained = replace(trained, tool_sets=dataset.tool_sets, asked_tools=dataset.asked_tools)
    if stage.writes_text:
        trained.model.generation_config.suppress_tokens = [*checkpoint.vocabulary.action_token_ids]
    finish(trained, output)
    return trained


def finish(trained: Checkpoint, output: Path) -> None:
    """Saves what a run made and removes its state; of several processes, the first one does."""
    if not PartialState().is_main_process:
        return
    work = work_folder(output)
    trained.save(output)
    if (work / "tensorboard").exists():
        shutil.move(work / "tensorboard", output / "tensorboard")
    shutil.rmtree(work, ignore_errors=True)


def _check_settings(config: StageConfig, checkpoint: Checkpoint, *, has_teacher: bool) -> None:
    if config.max_tokens > checkpoint.context_length:
        raise UsageError(
            f"max_tokens is {config.max_tokens}; this model reads at most {checkpoint.context_length} tokens"
        )
    if bool(config.teacher) != has_teacher:
        raise UsageError(f"the configuration names the teacher {config.teacher}; pass its logits, and only then")


def recorded(
    stage: str,
    checkpoint: Checkpoint,
    dataset: Dataset,
    config: TrainingConfig,
    examples: Mapping[str, Sequence[Any]],
    records: Sequence[dict[str, Any]],
) -> Checkpoint:
    """The checkpoint with what made it in its history, and without what its weights before gave rise to."""
    entry = StageRecord(
        stage=stage,
        dataset={"name": dataset.name, "version": dataset.version, "licence": dataset.licence},
        examples={name: len(found) for name, found in examples.items()},
        config=config.model_dump(mode="json"),
        result=records[-1] if records else {},
    )
    return replace(
        checkpoint,
        stages=(*checkpoint.stages, entry),
        metrics=[*checkpoint.metrics, *records],
        made=checkpoint.made if config.rows_stay else {},
        changed=checkpoint.changed if config.rows_stay else frozenset(),
        row_map=None,
        text_states=None,
        calibrations={},
    )


def _unasked(checkpoint: Checkpoint, dataset: Dataset) -> list[int]:
    """Token ids of the tools that no training request, task or conversation asks for; of shared tokens, those that only such
    tools are written with."""
    asked = dataset.asked_tools.union(*(one.called_tools for one in dataset.trajectories["train"]))
    vocabulary = checkpoint.vocabulary
    used = {token for tool in vocabulary.tool_ids if tool in asked for token in vocabulary.sequence(tool)}
    return [token for token in vocabulary.tool_token_ids if token not in used]


def _untargeted(checkpoint: Checkpoint, sources: Mapping[str, Sequence[TrainingExample]]) -> list[int]:
    """Token ids of tools and actions that no example of this stage asks for: `finish` before the agent stage."""
    asked = frozenset[int]().union(*map(targets_of, sources.values()))
    return [token for token in checkpoint.vocabulary.action_token_ids if token not in asked]


def _never(checkpoint: Checkpoint) -> list[int]:
    """Token ids that the model never writes, so that their rows could only learn to be wrong: the marker that opens a turn,
    where the base lacked it, and the tokens of no tool."""
    opening = [token for marker, token in checkpoint.vocabulary.marker_token_ids.items() if marker == TURN_START]
    return [*opening, *checkpoint.vocabulary.free_token_ids]


def check_catalog(checkpoint: Checkpoint, dataset: Dataset) -> None:
    """UsageError where the dataset has another catalog than the checkpoint."""
    difference = checkpoint.catalog.diff(dataset.catalog)
    if difference:
        raise UsageError(
            f"the dataset's catalog is not the checkpoint's: it has {len(difference.added):,} more tools "
            f"(`toolgen tools add CKPT DATASET`), lacks {len(difference.removed):,} (`toolgen tools remove CKPT --not-in "
            f"DATASET`) and defines {len(difference.changed):,} otherwise (`toolgen tools update CKPT DATASET`)"
        )


def fingerprint(
    stage: str,
    checkpoint: Checkpoint,
    dataset: Dataset,
    config: BaseModel,
    examples: Mapping[str, Sequence[Any]],
) -> dict[str, Any]:
    """What makes two runs the same run."""
    return {
        "stage": stage,
        "history": _digest([canonical_json([checkpoint.base, [record.to_dict() for record in checkpoint.stages]])]),
        "weights": digest(checkpoint.model.named_parameters()),
        "catalog": checkpoint.catalog.content_hash,
        "dataset": [dataset.name, dataset.version],
        "examples": {name: len(found) for name, found in examples.items()},
        "requests": _digest(canonical_json(query.to_dict()) for query in dataset.queries["train"]),
        "tasks": _digest(canonical_json(task.to_dict()) for task in dataset.tasks["train"]),
        "trajectories": _digest(canonical_json(one.to_dict()) for one in dataset.trajectories["train"]),
        "preferences": _digest(canonical_json(one.to_dict()) for one in dataset.preferences["train"]),
        "config": config.model_dump(mode="json"),
    }


def _digest(texts: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode())
    return digest.hexdigest()[:16]
