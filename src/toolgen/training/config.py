"""StageConfig: every setting of a training stage, its default and its reason, in one place.

A recipe is a small YAML file of differences; `--set key=value` is one more difference. An unknown key is an error that
names the nearest one. The resolved configuration goes into the checkpoint's history.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from toolgen.errors import InputError, UsageError, nearest
from toolgen.foreign.yaml_core import parse_yaml, read_yaml

if TYPE_CHECKING:
    from toolgen.training.stages import Stage

Kind = Literal["structure", "key", "value", "stop", "answer", "text"]
"""Of a part of what the assistant wrote; `token_weights` says what each is."""
TOKEN_WEIGHTS: dict[Kind, float] = {
    "structure": 0.1,
    "key": 0.5,
    "value": 2.0,
    "stop": 2.0,
    "answer": 0.3,
    "text": 1.0,
}
"""What the grammar forces and the words of answers teach little (docs/experiments.md, "The weights of tokens")."""


class TrainingConfig(BaseModel):
    """Settings that every training of a checkpoint has."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    steps: int = Field(100, ge=1, description="optimizer steps")
    batch_size: int = Field(64, ge=1, description="examples a step; gradients are accumulated over micro-batches")
    micro_batch_tokens: Literal["auto"] | Annotated[int, Field(ge=16)] = Field(
        1024,
        description="tokens a micro-batch; which number is fastest depends on the processor. auto: the first steps try "
        "several, and two runs are alike but for the last digits",
    )
    learning_rate: float = Field(3e-4, gt=0, le=1e30, description="peak, for the base's own parameters")
    row_learning_rate: float = Field(1e-3, ge=0, le=1e30, description="peak, for the rows of tools and actions")
    warmup: float = Field(0.05, ge=0, le=1, description="share of the steps")
    schedule: Literal["cosine", "linear", "constant_with_warmup"] = Field("cosine", description="after the warm-up")
    weight_decay: float = Field(0.01, ge=0, description="of the base's own parameters; rows have none")
    clip: float = Field(1.0, gt=0, description="largest norm of the gradient of the base's own parameters")
    frozen_share: float = Field(
        0.5, ge=0, le=1, description="share of the transformer layers, counted from below, that are not trained"
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="auto: bf16 autocast where the processor multiplies it natively, else fp32"
    )
    seed: int = Field(0, ge=0, lt=2**32, description="of everything that is drawn")
    save_minutes: float = Field(5.0, gt=0, description="how often the state to resume from is written")

    @property
    def rows_stay(self) -> bool:
        """Whether the rows of tools and actions are not trained."""
        return self.row_learning_rate == 0


class StageConfig(TrainingConfig):
    """Settings of one stage. Defaults suit a 135M base on two CPU cores; each stage has its own in `stages.py`."""

    frozen_states_mib: float = Field(
        256,
        ge=0,
        description="memory for what the frozen layers make of examples, so that one that comes again skips these layers; "
        "0: nothing is kept",
    )
    max_tokens: int = Field(
        160,
        ge=16,
        description="longer requests and documentations are cut; longer conversations are several examples, cut between turns",
    )
    stop_below: float = Field(
        0.01,
        ge=0,
        description="the stage ends before its last step where the mean loss of ten steps is below this: a few requests are "
        "learned long before; 0: never",
    )
    shares: dict[str, float] = Field(default_factory=dict, description="source of examples: its share of each batch")
    negatives: Literal["asked", "all"] = Field(
        "asked",
        description="which tools a request counts as wrong. asked: asked tools only, since unasked ones would learn nothing "
        "else from requests; all: the whole catalog, as in the paper",
    )
    teacher: Annotated[list[str], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)] = Field(
        default_factory=list,
        description="retrievers, for instance [bm25, toolretriever]: the probabilities over all tools that the sum of their "
        "logits gives are mixed into the targets of requests; empty: none",
    )
    teacher_share: float = Field(0.5, ge=0, le=1, description="of the target distribution; the rest is the label's")
    teacher_encoder: str = Field("", description="the encoder folder of a teacher with toolretriever")
    teacher_checkpoint: str = Field("", description="the checkpoint folder of a teacher with generative")
    text_weight: float = Field(1.0, ge=0, description="weight of written text beside the choice of tools")
    token_weights: dict[Kind, Annotated[float, Field(ge=0)]] = Field(
        default_factory=dict,
        description="weight of each kind of token in a conversation's text: structure, key, value, stop, answer, text; 1 for "
        "one that is not named",
    )
    rename: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of the conversations of each epoch that show random names of tools and parameters in documentation "
        "and arguments, so that the model reads them (Hammer, arXiv 2410.04587)",
    )
    join: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of the conversations of one request in each epoch that are joined with one or two others: one "
        "message that asks for all, and several calls that do not depend on each other",
    )
    vary: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of the conversations of one request in each epoch with other values, the same in request and "
        "arguments, so that the model copies them; of those that `join` draws some ask the same for several values",
    )
    thoughts: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of the conversations in which the assistant writes a thought by rules before each action: which "
        "details go where; without it what was thought in a conversation stays",
    )
    blend: float = Field(
        1.0,
        gt=0,
        le=1,
        description="share of the trained weights in the result; the rest is what the stage began with, which keeps what "
        "the stage would forget (WiSE-FT, arXiv 2109.01903)",
    )
    shard_rows: bool = Field(
        False,
        description="several processes: each holds, scores and trains a slice of the rows of tools; needs a frozen layer",
    )
    shard_trunk: bool = Field(
        False,
        description="several processes: each holds a part of the base's own parameters (FSDP2) instead of them all",
    )

    @property
    def is_sharded(self) -> bool:
        """Whether each process of a group holds a part of the model."""
        return self.shard_rows or self.shard_trunk


def resolve_config(
    stage: Stage, recipe: Path | None = None, settings: Iterable[str] = (), *, rows_stay: bool = False
) -> StageConfig:
    """Defaults of the stage, then the recipe, then each `key=value`; UsageError for what does not fit. `rows_stay`: for a
    checkpoint that `keeps_documentation_rows` and a dataset that `has_unasked_tools`."""
    defaults = {**stage.defaults, **(stage.where_rows_stay if rows_stay else {})}
    config = resolve_settings(StageConfig, f"{stage.name} stage", defaults, recipe, settings)
    _refuse_unread(stage, config)
    return config


def _refuse_unread(stage: Stage, config: StageConfig) -> None:
    """UsageError for a setting that this stage does not read: who sets it expects something of it."""
    for name, retriever in (("teacher_encoder", "toolretriever"), ("teacher_checkpoint", "generative")):
        if getattr(config, name) and retriever not in config.teacher:
            raise UsageError(
                f"{stage.name} stage: {name} = {getattr(config, name)!r} is read by the teacher {retriever} alone, and "
                f"teacher = {config.teacher}; add it, as in --set 'teacher=[bm25, {retriever}]'"
            )
    for name in ("token_weights", "rename", "join", "vary", "thoughts"):
        if getattr(config, name) and "trajectories" not in stage.sources:
            raise UsageError(
                f"{stage.name} stage: {name} = {getattr(config, name)!r} is about conversations, and this stage reads none; "
                "leave it out"
            )


Settings = TypeVar("Settings", bound=BaseModel)


def resolve_settings(
    kind: type[Settings],
    name_of_run: str,
    defaults: Mapping[str, Any],
    recipe: Path | None = None,
    settings: Iterable[str] = (),
) -> Settings:
    """Settings of any kind: defaults, then the recipe, then each `key=value`; UsageError for what does not fit."""
    values = dict(defaults)
    for source, differences in (*_recipe(recipe), *(_setting(text) for text in settings)):
        for key, value in differences.items():
            _assign(kind, values, str(key), value, source)
    try:
        return kind(**values)
    except ValidationError as error:
        first, *others = error.errors()
        name, *parts = first["loc"]
        place = ".".join(map(str, (name, *parts) if _is_mapping(kind, str(name)) else (name,)))
        reasons = " or ".join(one["msg"] for one in (first, *others) if one["loc"][0] == name)
        raise UsageError(f"{name_of_run}: {place} = {first['input']!r}: {reasons}") from error


def _recipe(path: Path | None) -> list[tuple[str, Mapping[str, Any]]]:
    if path is None:
        return []
    content = read_yaml(path) or {}
    if not isinstance(content, dict):
        raise UsageError(f"the recipe {path} should map keys to values; it holds a {type(content).__name__}")
    return [(str(path), content)]


def _setting(text: str) -> tuple[str, Mapping[str, Any]]:
    key, separator, value = text.partition("=")
    if not separator:
        raise UsageError(f"--set {text!r}: expected key=value, for instance --set steps=200")
    try:
        return f"--set {text}", {key.strip(): parse_yaml(value, "the value")}
    except InputError as error:
        raise UsageError(f"--set {text!r}: {error}") from error


def _assign(kind: type[BaseModel], values: dict[str, Any], key: str, value: Any, source: str) -> None:
    """Sets `key` or, for a mapping, `key.part`."""
    name, _, part = key.partition(".")
    if name not in kind.model_fields:
        hint = nearest(name, kind.model_fields, f"; known keys: {', '.join(kind.model_fields)}")
        raise UsageError(f"{source}: there is no setting {name!r}{hint}")
    if part and not _is_mapping(kind, name):
        raise UsageError(f"{source}: {name!r} is one value and has no part {part!r}")
    if part:
        values[name] = {**values.get(name, {}), part: value}
    elif isinstance(value, Mapping) and _is_mapping(kind, name):
        values[name] = {**values.get(name, {}), **value}
    else:
        values[name] = value


def _is_mapping(kind: type[BaseModel], name: str) -> bool:
    """Whether a setting is a mapping, of which one part can be set."""
    return get_origin(kind.model_fields[name].annotation) is dict
