"""Memory and time of stage 4, counted as in `cost.py`: what is read and written in rollouts, and what is learned from them.

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
from toolgen.reinforcement import ReinforceConfig
from toolgen.training.budget import CANDIDATES, CHUNK_LOGITS

WRITTEN_SHARE = 0.15
"""Share of a conversation's tokens that the model draws; the rest is read or forced."""
COPIES_OF_LOGITS = 4
"""Of a chunk in memory: products, masked ones, their softmax, its gradient."""


def reinforcement_cost(shape: ModelShape, workload: Workload, config: ReinforceConfig, machine: Machine) -> StageCost:
    """What stage 4 takes in each process."""
    rollouts = config.steps * config.batch_size * config.group_size
    tokens = round(rollouts * workload.tokens["trajectories"])
    rate = machine.gflops * 1e9 * machine.utilization
    bandwidth = max(CPU_BANDWIDTH, ACCELERATOR_BANDWIDTH * machine.gflops * 1e9)
    head = 2 * shape.hidden * (shape.vocabulary + workload.rows)
    forward = 2 * shape.layer_parameters
    drawn = WRITTEN_SHARE * tokens / machine.processes
    read = tokens / machine.processes - drawn
    # A pass writes one token of each rollout that runs; it takes as long as its products, or as reading the weights.
    concurrent = min(config.concurrency, config.batch_size * config.group_size / machine.processes)
    weights = shape.parameters(workload.rows) * machine.bytes_per_weight
    writing = drawn * max((forward + head) / rate, weights / bandwidth / concurrent)
    trained_share = 1 - int(config.frozen_share * shape.layers) / shape.layers
    learning = (read + drawn) * shape.layer_parameters * (2 + 4 * trained_share) + drawn * 4 * head
    reference = (read + drawn) * forward + drawn * head if config.kl_weight else 0.0
    trained = shape.layer_parameters * trained_share + workload.rows * shape.hidden * shape.matrices
    updates = config.steps * config.updates * trained * 28 / bandwidth
    seconds = read * forward / rate + writing + (config.updates * learning + reference) / rate + updates
    memory = _memory_gib(shape, workload, config, machine, trained)
    fits = memory <= machine.memory_gib
    advice = "" if fits else "lower concurrency or micro_batch_tokens, raise frozen_share, or set kl_weight=0"
    return StageCost("reinforcement", config.steps, tokens, tokens / seconds, seconds, memory, fits, advice)


def _memory_gib(
    shape: ModelShape, workload: Workload, config: ReinforceConfig, machine: Machine, trained: float
) -> float:
    """Weights, rows in training, gradients, moments and the copy that the divergence needs; activations and a chunk of logits;
    keys and values of the rollouts that run."""
    rows = workload.rows * shape.hidden * shape.matrices
    weights = (shape.parameters(workload.rows) + rows) * machine.bytes_per_weight
    state = trained * (4 + ADAM_BYTES + (4 if config.kl_weight else 0))
    width = 10 * shape.hidden + 4 * shape.intermediate
    trained_layers = shape.layers - int(config.frozen_share * shape.layers)
    row = CANDIDATES[-1] if config.micro_batch_tokens == "auto" else config.micro_batch_tokens
    activations = row * (trained_layers + 1) * width * 4
    positions = max(1, math.ceil(WRITTEN_SHARE * row))
    logits = min(positions * (shape.vocabulary + workload.rows), CHUNK_LOGITS) * 4 * COPIES_OF_LOGITS
    keys = config.concurrency * workload.tokens["trajectories"] * shape.layers * 2 * shape.hidden * 4
    catalog = catalog_gib(workload.tools, read=workload.tools)
    return PROCESS_GIB + catalog + (weights + state + activations + logits + keys) / GIB
