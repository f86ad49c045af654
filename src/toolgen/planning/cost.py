"""Memory and time of training and searching, counted from sizes. Knows no file and no tensor.

Multiplications dominate: 2 operations a weight and token forwards, 4 more where weights are trained, and the product with
all rows where a token is chosen or written. A machine reaches a share of its peak in them (`utilization`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from toolgen.catalog.catalog import KEPT
from toolgen.planning.shape import ModelShape
from toolgen.training.budget import CANDIDATES, CHUNK_LOGITS
from toolgen.training.config import StageConfig
from toolgen.training.stages import Stage

GIB = 1 << 30
PROCESS_GIB = 0.6
"""Python, torch and a dataset in memory; measured with the quickstart's."""
TOOL_KIB = 3.4
"""A tool of a catalog: its line, its id and its token."""
READ_TOOL_KIB = 8
"""What a tool takes more once it was read, of which a catalog keeps `KEPT`."""
UTILIZATION = 0.6
"""Share of the peak of products that training reaches: 0.65 in benchmarks/training.py, less where batches are short."""
THOUGHT_TOKENS = 26
"""Of the thoughts by rules in a conversation: the mean over BFCL's with one turn."""
ADAM_BYTES = 8
CPU_BANDWIDTH, ACCELERATOR_BANDWIDTH = 10e9, 5e-3
"""Bytes a second that an optimizer step moves on a CPU (measured with two cores), and for each operation a second of an
accelerator: an A100 has 1,555 GB/s beside 312 TFLOPS by its data sheet, an H100 a third less for each operation."""


@dataclass(frozen=True)
class Machine:
    """`memory_gib` for each process, `gflops` the best product of one process. `bytes_per_weight` is 4 (fp32; with bf16
    autocast the weights stay fp32 too)."""

    memory_gib: float
    gflops: float
    processes: int = 1
    utilization: float = UTILIZATION
    bytes_per_weight: int = 4


@dataclass(frozen=True)
class Workload:
    """`tokens` is the mean length of an example of each source (`requests`, `description`, ..., as in `shares`),
    `prompt_tokens` that of a search, nodes of a beam search included. `new_rows` are the rows that the tools need: one each,
    unless they share tokens."""

    tools: int
    tokens: Mapping[str, float]
    prompt_tokens: float = 40.0
    new_rows: int | None = None

    @property
    def rows(self) -> int:
        """Rows of the tools' tokens."""
        return self.tools if self.new_rows is None else self.new_rows

    def mean_tokens(self, config: StageConfig) -> float:
        """Of the examples of a stage, mixed as its shares say, with the thoughts of conversations. Sources without a length are
        taken to be empty."""
        lengths = {**self.tokens}
        if "trajectories" in lengths:
            lengths["trajectories"] += THOUGHT_TOKENS * config.thoughts
        shares = {name: share for name, share in config.shares.items() if share > 0 and name in lengths}
        return sum(share * lengths[name] for name, share in shares.items()) / (sum(shares.values()) or 1)


@dataclass(frozen=True)
class StageCost:
    """What one stage takes, in each process."""

    stage: str
    steps: int
    tokens: int
    tokens_per_second: float
    seconds: float
    memory_gib: float
    fits: bool
    advice: str = ""


@dataclass(frozen=True)
class Plan:
    """The whole: the model, the stages, and searching with the result."""

    model: str
    tools: int
    parameters: int
    checkpoint_gib: float
    stages: tuple[StageCost, ...]
    search_gib: float
    search_ms: float

    @property
    def fits(self) -> bool:
        """Whether everything fits into the memory."""
        return all(stage.fits for stage in self.stages)

    def to_dict(self) -> dict[str, Any]:
        """A record for JSON."""
        return asdict(self) | {"fits": self.fits}


def plan(shape: ModelShape, workload: Workload, configs: Mapping[Stage, StageConfig], machine: Machine) -> Plan:
    """Memory and time of each configured stage and of one search, with advice where the memory does not suffice."""
    weights = shape.parameters(workload.rows) * machine.bytes_per_weight
    stages = tuple(_stage(stage, shape, workload, config, machine) for stage, config in configs.items())
    head = 2 * workload.rows * shape.hidden
    search = (2 * shape.layer_parameters * workload.prompt_tokens + head) / (machine.gflops * 1e9)
    return Plan(
        model=shape.name,
        tools=workload.tools,
        parameters=shape.parameters(workload.rows),
        checkpoint_gib=weights / GIB,
        stages=stages,
        search_gib=PROCESS_GIB + weights / GIB + catalog_gib(workload.tools, read=0),
        search_ms=1000 * search / machine.utilization,
    )


def memory_gib(
    stage: Stage, shape: ModelShape, workload: Workload, config: StageConfig, bytes_per_weight: int = 4
) -> float:
    """Peak memory of one process: the catalog, weights, a copy of the rows in training, gradients, Adam's two moments, the
    copy that `blend` goes back to, activations of the layers that are trained, kept states of the others, and the logits
    of one chunk of the loss."""
    own_rows = workload.rows
    trained = _trained(shape, own_rows, config)
    rows = own_rows * shape.hidden * shape.matrices
    weights = (shape.parameters(own_rows) + rows) * bytes_per_weight
    state = trained * (4 + ADAM_BYTES + (4 if config.blend < 1 else 0))
    # Of each token and trained layer: inputs of its products, normalized and rotated states, the gated product's parts.
    width = 10 * shape.hidden + 4 * shape.intermediate
    trained_layers = shape.layers - _frozen(shape, config)
    tokens = CANDIDATES[-1] if config.micro_batch_tokens == "auto" else config.micro_batch_tokens
    largest = min(tokens, math.ceil(config.batch_size * workload.mean_tokens(config)))
    activations = largest * (trained_layers + 1) * width * 4
    kept = config.frozen_states_mib / 1024 if _frozen(shape, config) else 0.0
    positions = max(1, math.ceil(stage.supervised_share * largest))
    # Of the chunk that is in memory: logits, what becomes of them, a masked copy.
    logits = min(positions * (shape.vocabulary + own_rows), CHUNK_LOGITS) * 4 * 3
    return (
        PROCESS_GIB
        + kept
        + catalog_gib(workload.tools, read=workload.tools)
        + (weights + state + activations + logits) / GIB
    )


def operations_per_token(shape: ModelShape, rows: int, stage: Stage, config: StageConfig) -> float:
    """Multiplications and additions of forward and backward pass, for each token of an example."""
    trained_share = 1 - _frozen(shape, config) / shape.layers
    layers = shape.layer_parameters * (2 + 4 * trained_share)
    head = stage.supervised_share * shape.hidden * (4 * (shape.vocabulary + rows) + 2 * rows)
    return layers + head


def _stage(stage: Stage, shape: ModelShape, workload: Workload, config: StageConfig, machine: Machine) -> StageCost:
    tokens = round(config.steps * config.batch_size * workload.mean_tokens(config))
    operations = operations_per_token(shape, workload.rows, stage, config)
    rate = machine.processes * machine.gflops * 1e9 * machine.utilization / operations
    # The optimizer reads and writes every trained value seven times.
    bandwidth = max(CPU_BANDWIDTH, ACCELERATOR_BANDWIDTH * machine.gflops * 1e9)
    updates = config.steps * _trained(shape, workload.rows, config) * 28 / bandwidth
    seconds = tokens / rate + updates
    memory = memory_gib(stage, shape, workload, config, machine.bytes_per_weight)
    fits = memory <= machine.memory_gib
    advice = "" if fits else _advice(stage, shape, workload, config, machine)
    return StageCost(stage.name, config.steps, tokens, tokens / seconds, seconds, memory, fits, advice)


def _advice(stage: Stage, shape: ModelShape, workload: Workload, config: StageConfig, machine: Machine) -> str:
    """The first of the changes that is enough: no kept states, smaller micro-batches, no blend, fewer trained layers."""
    changes: dict[str, Any] = {}
    for key, value in (
        ("frozen_states_mib", 0),
        ("micro_batch_tokens", 256),
        ("blend", 1.0),
        ("frozen_share", 0.75),
        ("frozen_share", 1.0),
    ):
        if getattr(config, key) == value:
            continue
        changes[key] = value
        changed = config.model_copy(update=changes)
        if memory_gib(stage, shape, workload, changed, machine.bytes_per_weight) <= machine.memory_gib:
            return "set " + ", ".join(f"{name}={value:g}" for name, value in changes.items())
    least = memory_gib(stage, shape, workload, config.model_copy(update=changes), machine.bytes_per_weight)
    return f"needs {least:.1f} GiB even with every layer frozen; take a smaller base, fewer tools or more memory"


def catalog_gib(tools: int, *, read: int) -> float:
    """A catalog in memory, of which so many tools were read."""
    return (tools * TOOL_KIB + min(read, KEPT) * READ_TOOL_KIB) / (1 << 20)


def _frozen(shape: ModelShape, config: StageConfig) -> int:
    return int(config.frozen_share * shape.layers)


def _trained(shape: ModelShape, rows: int, config: StageConfig) -> float:
    upper = 1 - _frozen(shape, config) / shape.layers
    return shape.layer_parameters * upper + rows * shape.hidden * shape.matrices
