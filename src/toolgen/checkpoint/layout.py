"""What folders are made of: names of their files, and what kind of folder one is. Reads no weights, needs no torch.

CKPT/              a Hugging Face model folder, and
  README.md          the model card
  toolgen.json       format, base, catalog hash, vocabulary with its indexing, history of stages
  catalog.jsonl      one tool a line
  metrics.jsonl      one record a training step
  row_maker.safetensors    where the base makes rows of documentation, what it makes them with
  row_map.safetensors      where tools came after training, how training had moved the rows of the others
  text_states.safetensors  where tools learned requests when they came, what the model makes of other texts
CKPT.unfinished/   a training that will write CKPT
  run.json           what makes it this run and no other
  metrics.jsonl      its steps so far
  state/             where it resumes, with progress.json
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from toolgen.checkpoint.calibration import Calibration
from toolgen.datasets.folder import METADATA_FILE
from toolgen.errors import CheckpointError, InputError
from toolgen.files import sha256_of
from toolgen.foreign.data import line_values, lines_so_far, read_json
from toolgen.foreign.typed import typed

FORMAT = 1
METADATA, CATALOG, METRICS = "toolgen.json", "catalog.jsonl", "metrics.jsonl"
ROW_MAKER, ROW_MAP, TEXT_STATES = "row_maker.safetensors", "row_map.safetensors", "text_states.safetensors"
RUN, STATE, PROGRESS = "run.json", "state", "progress.json"
OWN = (METADATA, CATALOG, METRICS, ROW_MAKER, ROW_MAP, TEXT_STATES, "README.md", ".eval_results", "model*.safetensors*",
       "config.json", "generation_config.json", "tokenizer*", "*.model", "vocab.*", "merges.txt", "added_tokens.json",
       "special_tokens_map.json", "chat_template.*", "additional_chat_templates")  # fmt: skip
"""What a checkpoint's files are called, those of transformers too, as patterns; anything else in its folder is its user's."""

CLOSED_FORM = frozenset({"index", "tools", "distillation"})
"""Entries of a checkpoint's history that are no training."""

Precision = Literal["f16", "bf16", "f32", "q8_0"]
"""Of the weights in an exported file, by the names of GGUF."""

Kind = Literal["checkpoint", "dataset", "encoder", "pretrained base"]
MARKERS: Mapping[Kind, str] = {
    "checkpoint": METADATA,
    "dataset": METADATA_FILE,
    "encoder": "toolgen-encoder.json",
    "pretrained base": "pretraining.json",
}
"""The file by which a folder of this kind is known."""


@dataclass(frozen=True, kw_only=True)
class StageRecord:
    """One stage in the history of a checkpoint: the dataset (name, version, licence), how many `examples` each source gave, the
    resolved `config`, and what came out of it, for example the last record of the training curve."""

    __pydantic_config__: ClassVar[Mapping[str, str]] = {
        "extra": "forbid"
    }  # another form of the history is none of ours
    stage: str
    dataset: Mapping[str, str] = field(default_factory=dict)
    examples: Mapping[str, int] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    result: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The record in `toolgen.json`."""
        return {
            "stage": self.stage,
            "dataset": self.dataset,
            "examples": self.examples,
            "config": self.config,
            "result": self.result,
        }


def is_kind(path: str | Path, kind: Kind) -> bool:
    """Whether a folder claims to be of this kind."""
    return (Path(path) / MARKERS[kind]).is_file()


def is_checkpoint(path: str | Path) -> bool:
    """Whether a folder claims to be a checkpoint."""
    return is_kind(path, "checkpoint")


def is_only_indexed(metadata: Mapping[str, Any]) -> bool:
    """Whether `toolgen index` made a checkpoint, and nothing has trained it since; `metadata` as from `read_metadata`."""
    stages = [record["stage"] for record in metadata["stages"]]
    return "index" in stages and {*stages} <= CLOSED_FORM


def added_to_searches(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """What `toolgen index` decided that searches of the checkpoint that it made add to the model."""
    *_, last = (record for record in metadata["stages"] if record["stage"] == "index")
    return tuple(last["config"].get("added") or ("bm25",))


def has_bags_alone(metadata: Mapping[str, Any], *, has_row_maker: bool) -> bool:
    """Whether the rows of such a checkpoint are bags of words, neither fitted nor made by a base that has learned to."""
    ways = {record["config"].get("rows") for record in metadata["stages"] if record["stage"] == "index"}
    return is_only_indexed(metadata) and ways == {"made"} and not has_row_maker


def keeps_documentation_rows(metadata: Mapping[str, Any], *, has_row_maker: bool) -> bool:
    """Whether the rows of such a checkpoint are those that `toolgen index` made with a base that has learned to: what has
    trained it since, if anything, trained the layers alone."""
    first, *others = metadata["stages"] or [{"stage": ""}]
    made = first["stage"] == "index" and first["config"].get("rows") == "made"
    kept = not any(
        record["stage"] != "tools" and (record["stage"] in CLOSED_FORM or trains_rows(record)) for record in others
    )
    return has_row_maker and made and kept


def trains_rows(record: Mapping[str, Any]) -> bool:
    """Whether an entry of a history is a training that changed the rows of tools."""
    return record["stage"] not in CLOSED_FORM and record["config"].get("row_learning_rate") != 0


def row_maker_shapes(width: int) -> dict[str, tuple[int | None, ...]]:
    """The tensors of a row maker for rows of this width."""
    return {"map_DD": (width, width), "bag_weight": (), "log_scale": (), "actions_AD": (None, width)}


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The training steps in a `metrics.jsonl`; none where there is no such file. CheckpointError names a line that
    holds no step."""

    def refuse(line: str, reason: str) -> None:
        raise CheckpointError(f"{path}, {line}: {reason}; restore the file, or remove it to go without the curve")

    records = []
    for number, value in line_values(lines_so_far(path), str(path), refuse):
        if not isinstance(value, dict) or not isinstance(value.get("step", 0), int | float):
            refuse(f"line {number}", "expected the record of a step")
        records.append(value)
    return records


def work_folder(output: Path) -> Path:
    """Where an unfinished training of `output` keeps its state."""
    return output.with_name(output.name + ".unfinished")


def weights_of(folder: str | Path) -> dict[str, str]:
    """Identity of a model folder: the sha256 of each file of weights."""
    return {file.name: sha256_of(file) for file in sorted(Path(folder).glob("*.safetensors"))}


@dataclass(frozen=True)
class _Place:
    """Of `progress.json`, how far a run came."""

    step: int


def saved_step(output: Path) -> int:
    """The step after which an unfinished training of `output` resumes; 0 where nothing is saved."""
    try:
        return typed(_Place, read_json(work_folder(output) / STATE / PROGRESS)).step
    except (InputError, ValueError):
        return 0


@dataclass(frozen=True, kw_only=True)
class _Metadata:
    """What `toolgen.json` holds."""

    base: str
    catalog_hash: str
    vocabulary: dict[str, Any]
    stages: tuple[StageRecord, ...]
    tool_sets: tuple[tuple[int, ...], ...]
    asked_tools: tuple[int, ...]
    made: dict[str, str]
    changed: tuple[str, ...]
    calibrations: dict[str, Calibration] = field(default_factory=dict)
    catalog_sha256: str | None = None


def read_metadata(folder: Path) -> dict[str, Any]:
    """`toolgen.json` of a checkpoint, its format checked; needs no weights."""
    if not (folder / METADATA).exists():
        raise CheckpointError(
            f"{folder} is not a toolgen checkpoint ({METADATA} is missing); make one with `toolgen index`"
        )
    try:
        value = read_json(folder / METADATA)
    except InputError as error:
        raise CheckpointError(f"{error}; restore it, or train again") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{folder / METADATA} should hold an object; it holds a {type(value).__name__}")
    metadata: dict[str, Any] = value
    if metadata.get("format") != FORMAT:
        raise CheckpointError(f"{folder} has checkpoint format {metadata.get('format')!r}; this toolgen reads {FORMAT}")
    try:
        typed(_Metadata, metadata)
    except ValueError as error:
        raise CheckpointError(f"{folder / METADATA} is damaged: {error}; restore it, or train again") from error
    return metadata
