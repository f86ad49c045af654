"""ToolRetriever: a sentence encoder trained on the same requests as the generative model, the baseline that it has to beat.

Source: ToolLLM, arXiv 2307.16789, section 3.3: requests and documents of their tools are pulled together, against the
documents of the other requests of the batch (multiple negatives ranking loss; 5 epochs, learning rate 2e-5, scale 20). Two
things are done better than there, so that the baseline is not a weak one: a tool stands once in a batch however many of its
requests ask for it, and the other tools that a request needs are never its negatives.
Shapes: B requests of a batch, U distinct tools among them, D the encoder's width.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from toolgen.catalog.text import document
from toolgen.checkpoint.layout import MARKERS
from toolgen.checkpoint.tensors import non_finite
from toolgen.datasets import Dataset, Query
from toolgen.errors import DatasetError, DivergenceError
from toolgen.fetching.opening import open_encoder
from toolgen.files import new_folder, write_json
from toolgen.inference.machine import tune_allocator
from toolgen.training.loop import OnStep, check_finite

_CHUNK = 16  # texts encoded together


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """Settings of the training; defaults are ToolLLM's where it has them. `max_tokens` cuts requests and documents."""

    epochs: int = 5
    batch_size: int = 32
    learning_rate: float = 2e-5
    warmup: float = 0.1
    scale: float = 20.0
    max_tokens: int = 256
    seed: int = 0


def encoder_steps(dataset: Dataset, config: EncoderConfig) -> int:
    """How many steps `train_encoder` will take."""
    return config.epochs * math.ceil(len(dataset.searches("train")) / config.batch_size)


def train_encoder(
    base: Path, dataset: Dataset, output: Path, config: EncoderConfig, *, on_step: OnStep | None = None
) -> dict[str, Any]:
    """Fine-tunes the sentence-transformers folder `base` on the training split, synthetic requests included, and writes another
    one to `output`.

    `on_step` gets `step`, `loss`, `tokens` and `seconds`. Returns the record that is also written into the folder. Raises
    DatasetError if there is no request to learn from, InputError if `base` is no encoder, MissingExtraError without
    sentence-transformers.
    """
    queries = dataset.searches("train")
    if not queries:
        raise DatasetError(f"the train split of {dataset.name} has no request with a tool; nothing to learn from")
    encoder = open_encoder(base)
    encoder.max_seq_length = min(config.max_tokens, encoder.max_seq_length or config.max_tokens)
    tune_allocator()
    torch.manual_seed(config.seed)
    steps = encoder_steps(dataset, config)
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=config.learning_rate, weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _linear(round(config.warmup * steps), steps))
    started, loss, tokens = time.monotonic(), math.nan, 0
    encoder.eval()  # without dropout, which nearly doubles the time on a CPU and is little missed in a few epochs
    for step, batch in enumerate(_batches(queries, config), start=1):
        tools = sorted({query_tool for query, query_tool in batch})
        texts = [document(dataset.catalog.get(tool)) for tool in tools]
        requests_BD, request_tokens = _encode(encoder, [query.text for query, _ in batch])
        tools_UD, tool_tokens = _encode(encoder, texts)
        wanted = [(query.tools, tool) for query, tool in batch]
        value = ranking_loss(config.scale * requests_BD @ tools_UD.T, wanted, tools)
        loss = float(value.detach())
        check_finite(step, {"loss": loss})
        value.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        tokens += request_tokens + tool_tokens
        if on_step:
            on_step({"step": step, "loss": loss, "tokens": tokens, "seconds": time.monotonic() - started})
    if name := non_finite(encoder.named_parameters()):
        raise DivergenceError(steps, f"{name} holds NaN or infinity")
    record = {
        "dataset": {"name": dataset.name, "version": dataset.version},
        "requests": len(queries),
        "steps": steps,
        "loss": loss,
        "seconds": round(time.monotonic() - started, 1),
        "config": asdict(config),
    }
    with new_folder(output) as folder:
        encoder.save(str(folder), create_model_card=False)
        write_json(folder / MARKERS["encoder"], record)
    return record


def ranking_loss(scores_BU: Tensor, wanted: Sequence[tuple[Sequence[str], str]], tools: Sequence[str]) -> Tensor:
    """Mean cross-entropy of each request's drawn tool against the tools of the batch that the request does not need.

    `wanted` holds a request's tools and the one of them that was drawn; `tools` names the columns.
    """
    column = {tool: place for place, tool in enumerate(tools)}
    others = torch.zeros_like(scores_BU, dtype=torch.bool)
    for row, (relevant, drawn) in enumerate(wanted):
        others[row, [column[tool] for tool in relevant if tool in column and tool != drawn]] = True
    targets_B = torch.tensor([column[drawn] for _, drawn in wanted], device=scores_BU.device)
    return functional.cross_entropy(scores_BU.masked_fill(others, float("-inf")), targets_B)


def _batches(queries: Sequence[Query], config: EncoderConfig) -> Iterator[list[tuple[Query, str]]]:
    """Every request once an epoch, in an order by seed, with one of its tools."""
    chooser = random.Random(config.seed)
    for _ in range(config.epochs):
        order = chooser.sample(range(len(queries)), len(queries))
        for start in range(0, len(order), config.batch_size):
            part = [queries[i] for i in order[start : start + config.batch_size]]
            yield [(query, chooser.choice(query.tools)) for query in part]


def _encode(encoder: Any, texts: Sequence[str]) -> tuple[Tensor, int]:
    """Unit vectors with gradients (len(texts), D), and how many tokens the texts have."""
    vectors: list[Tensor] = []
    tokens = 0
    # Texts of like length go together: padding is computed too.
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    for start in range(0, len(order), _CHUNK):
        features = encoder.preprocess([texts[i] for i in order[start : start + _CHUNK]])
        tokens += int(features["attention_mask"].sum())
        on_device = {
            key: value.to(encoder.device) if isinstance(value, Tensor) else value for key, value in features.items()
        }
        vectors.append(encoder(on_device)["sentence_embedding"])
    places = torch.tensor(order).argsort()
    return functional.normalize(torch.cat(vectors)[places.to(vectors[0].device)], dim=-1), tokens


def _linear(warmup: int, steps: int) -> Callable[[int], float]:
    """Rises over `warmup` steps, then falls to zero."""
    return lambda step: min((step + 1) / max(1, warmup), max(0.0, (steps - step) / max(1, steps - warmup)))
