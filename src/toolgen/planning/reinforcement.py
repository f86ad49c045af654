"""Memory and time of stage 4, counted as in `cost.py`: what is read and written in rollouts, and what is learned from them or
from pairs.

Every group is taken to tell something, which is the most that a step can cost.
"""

from __future__ import annotations

import math

from toolgen.planning.cost import (
    ACCELERATOR_BANDWIDTH,
    ADAM_BYTES,
    CPU_BANDWIDTH,
    GIB,
    PROCESS_GIB,
    Machine,
    StageCost,
    Workload,
    catalog_gib,
)
from toolgen.planning.shape import ModelShape
from toolgen.reinforcement import PREFERENCE, PreferenceConfig, ReinforceConfig
from toolgen.reinforcement import STAGE as REINFORCEMENT
from toolgen.training.budget import CANDIDATES, CHUNK_LOGITS
from toolgen.training.config import TrainingConfig

WRITTEN_SHARE = 0.15
"""Share of a conversation's tokens that the model draws; the rest is read or forced."""
THOUGHTS = 2
"""Of a rollout: before the call and before the end."""
COPIES_OF_LOGITS = 4
"""Of a chunk in memory: products, masked ones, their softmax, its gradient."""


def reinforcement_cost(shape: ModelShape, workload: Workload, config: ReinforceConfig, machine: Machine) -> StageCost:
    """What learning from runs takes in each process. Thoughts are taken to be as long as they may be."""
    rollouts = config.steps * config.batch_size * config.group_size
    thoughts = THOUGHTS * config.thought_tokens
    length = workload.tokens["trajectories"] + thoughts
    tokens = round(rollouts * length)
    rate, bandwidth = _rates(machine)
    drawn = rollouts * (WRITTEN_SHARE * workload.tokens["trajectories"] + thoughts) / machine.processes
    read = tokens / machine.processes - drawn
    # A pass writes one token of each rollout that runs; it takes as long as its products, or as reading the weights.
    concurrent = min(config.concurrency, config.batch_size * config.group_size / machine.processes)
    weights = shape.parameters(workload.rows) * machine.bytes_per_weight
    products = 2 * shape.layer_parameters + 2 * _head(shape, workload)
    writing = drawn * max(products / rate, weights / bandwidth / concurrent)
    learning = config.updates * _learning(shape, workload, config, read + drawn, drawn)
    reference = _reading(shape, workload, read + drawn, drawn) if config.kl_weight else 0.0
    updates = config.updates * _updates(shape, workload, config, machine)
    seconds = (2 * read * shape.layer_parameters + learning + reference) / rate + writing + updates
    keys = config.concurrency * length * shape.layers * 2 * shape.hidden * 4
    memory = _memory_gib(shape, workload, config, machine, keys=keys, has_copy=config.kl_weight > 0)
    fits = memory <= machine.memory_gib
    advice = "" if fits else "lower concurrency or micro_batch_tokens, raise frozen_share, or set kl_weight=0"
    return StageCost(REINFORCEMENT, config.steps, tokens, tokens / seconds, seconds, memory, fits, advice)


def preference_cost(shape: ModelShape, workload: Workload, config: PreferenceConfig, machine: Machine) -> StageCost:
    """What learning from pairs takes in each process; no pair is taken to come twice, which is the most that the reference can
    cost."""
    tokens = round(2 * config.steps * config.batch_size * workload.tokens["trajectories"])
    own = tokens / machine.processes
    drawn = WRITTEN_SHARE * own
    rate, _ = _rates(machine)
    operations = _learning(shape, workload, config, own, drawn) + _reading(shape, workload, own, drawn)
    seconds = operations / rate + _updates(shape, workload, config, machine)
    memory = _memory_gib(shape, workload, config, machine)
    fits = memory <= machine.memory_gib
    advice = "" if fits else "lower micro_batch_tokens or raise frozen_share"
    return StageCost(PREFERENCE, config.steps, tokens, tokens / seconds, seconds, memory, fits, advice)


def _rates(machine: Machine) -> tuple[float, float]:
    """Operations a second, and bytes a second."""
    bandwidth = max(CPU_BANDWIDTH, ACCELERATOR_BANDWIDTH * machine.gflops * 1e9)
    return machine.gflops * 1e9 * machine.utilization, bandwidth


def _head(shape: ModelShape, workload: Workload) -> float:
    """Multiplications of a product with all rows."""
    return shape.hidden * (shape.vocabulary + workload.rows)


def _trained_share(shape: ModelShape, config: TrainingConfig) -> float:
    return 1 - int(config.frozen_share * shape.layers) / shape.layers


def _learning(shape: ModelShape, workload: Workload, config: TrainingConfig, tokens: float, drawn: float) -> float:
    """Operations of a forward and a backward pass over the tokens, of which some are `drawn`."""
    layers = shape.layer_parameters * (2 + 4 * _trained_share(shape, config))
    return tokens * layers + 8 * drawn * _head(shape, workload)


def _reading(shape: ModelShape, workload: Workload, tokens: float, drawn: float) -> float:
    """The same of a forward pass alone."""
    return 2 * tokens * shape.layer_parameters + 2 * drawn * _head(shape, workload)


def _trained(shape: ModelShape, workload: Workload, config: TrainingConfig) -> float:
    rows = workload.rows * shape.hidden * shape.matrices
    return shape.layer_parameters * _trained_share(shape, config) + rows


def _updates(shape: ModelShape, workload: Workload, config: TrainingConfig, machine: Machine) -> float:
    """Seconds of one optimizer step in each step: every trained value is read and written seven times."""
    _, bandwidth = _rates(machine)
    return config.steps * _trained(shape, workload, config) * 28 / bandwidth


def _memory_gib(
    shape: ModelShape,
    workload: Workload,
    config: TrainingConfig,
    machine: Machine,
    *,
    keys: float = 0.0,
    has_copy: bool = False,
) -> float:
    """Weights, rows in training, gradients, moments and the copy that a divergence needs; activations and a chunk of logits;
    the bytes of `keys` and values of what runs."""
    rows = workload.rows * shape.hidden * shape.matrices
    weights = (shape.parameters(workload.rows) + rows) * machine.bytes_per_weight
    state = _trained(shape, workload, config) * (4 + ADAM_BYTES + (4 if has_copy else 0))
    width = 10 * shape.hidden + 4 * shape.intermediate
    trained_layers = shape.layers - int(config.frozen_share * shape.layers)
    row = CANDIDATES[-1] if config.micro_batch_tokens == "auto" else config.micro_batch_tokens
    activations = row * (trained_layers + 1) * width * 4
    positions = max(1, math.ceil(WRITTEN_SHARE * row))
    logits = min(positions * (shape.vocabulary + workload.rows), CHUNK_LOGITS) * 4 * COPIES_OF_LOGITS
    catalog = catalog_gib(workload.tools, read=workload.tools)
    return PROCESS_GIB + catalog + (weights + state + activations + logits + keys) / GIB
