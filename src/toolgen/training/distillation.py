"""A retriever's logits, distilled into the rows of tools by one linear regression: no gradient, no slower search.

What the model makes of a request is one vector, and each tool's logit is a row times that vector. The rows that come closest to
a teacher's logits have a closed form, ridge regression (Hoerl and Kennard, "Ridge regression: biased estimation for
nonorthogonal problems", 1970), and are added to what training made of the rows. They matter most for tools that no training
request asks for: there a teacher's opinion generalizes better than a row that saw few examples. Source of matching logits
instead of probabilities: Ba and Caruana, "Do deep nets really need to be deep?", arXiv 1312.6184, section 2.
Knows scores, not whose they are. Shapes: Q texts, C of them in a chunk, D hidden size, N tools.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from toolgen.catalog.text import views
from toolgen.checkpoint import Checkpoint, StageRecord
from toolgen.datasets import Dataset
from toolgen.errors import UsageError
from toolgen.training.teacher import LogitsOfAll
from toolgen.virtualization import output_rows

StatesOf = Callable[[Sequence[str]], Tensor]
"""Texts to the hidden states at which their tools are chosen (C, D), as `GenerativeRetriever.hidden_states` gives them."""

STRENGTH = 1.5
PENALTY = 30.0
_CHUNK = 256


def distillation_texts(dataset: Dataset) -> list[str]:
    """What the regression reads: the training requests, written ones too, and each tool's description (its document where it
    has none), each text once."""
    described = (views(tool) for tool in dataset.catalog)
    texts = [query.text for query in dataset.searches("train")]
    return list(dict.fromkeys([*texts, *(view.get("description") or view["document"] for view in described)]))


@torch.no_grad()
def distill(
    checkpoint: Checkpoint,
    texts: Sequence[str],
    states_of: StatesOf,
    logits_of_all: LogitsOfAll,
    *,
    strength: float = STRENGTH,
    penalty: float = PENALTY,
    settings: Mapping[str, Any] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Checkpoint:
    """The checkpoint, changed in place, whose tools' logits have gained `strength` times the best linear imitation of
    `logits_of_all` on `texts`. `states_of` are the checkpoint's own.

    `penalty` is how many texts weigh as much as the wish for small rows. The history gets these and other `settings`, and
    `explained`: the share of the variance of the teacher's logits, among the tools of a text, that the imitation has on these
    texts. Raises UsageError where a tool is several tokens, without a text, or for a penalty that is not above 0.
    """
    vocabulary = checkpoint.vocabulary
    if not vocabulary.is_atomic:
        raise UsageError(
            f"distillation needs tools of one token each; this checkpoint has {vocabulary.indexing} indexing"
        )
    if not texts:
        raise UsageError("distillation needs texts: training requests, or tools with a documentation")
    if penalty <= 0:
        raise UsageError(f"the penalty is {penalty:g}; it must be above 0, or few texts have no single solution")
    width = checkpoint.model.config.hidden_size
    products_DD = torch.zeros((width, width), dtype=torch.float64)
    answers_DN = torch.zeros((width, len(vocabulary)), dtype=torch.float64)
    total = 0.0
    for start in range(0, len(texts), _CHUNK):
        part = texts[start : start + _CHUNK]
        hidden_CD = states_of(part).double().cpu()
        logits_CN = torch.from_numpy(np.asarray(logits_of_all(part), dtype=np.float64))
        logits_CN -= logits_CN.mean(1, keepdim=True)  # what is the same for all tools decides nothing
        products_DD += hidden_CD.T @ hidden_CD
        answers_DN += hidden_CD.T @ logits_CN
        total += float(logits_CN.square().sum())
        if on_progress:
            on_progress(start + len(part), len(texts))
    found_DN = ridge(products_DD, answers_DN, penalty, texts=len(texts))
    matrix_VD = output_rows(checkpoint.model)
    matrix_VD[[token_id for (token_id,) in vocabulary.sequences]] += strength * found_DN.T.to(matrix_VD)
    entry = StageRecord(
        stage="distillation",
        examples={"texts": len(texts)},
        config={**(settings or {}), "strength": strength, "penalty": penalty},
        result={"explained": _explained(found_DN, products_DD, answers_DN, total)},
    )
    return replace(checkpoint, stages=(*checkpoint.stages, entry), row_map=None, calibrations={})


def ridge(products_DD: Tensor, answers_DN: Tensor, penalty: float, *, texts: int) -> Tensor:
    """The rows (D, N) whose products with the states of `texts` come closest to the wanted ones, and that are small:
    `products_DD` sums the states' outer products, `answers_DN` states times what is wanted; `penalty` weighs as many texts."""
    width = len(products_DD)
    mean = products_DD.diagonal().sum() / (texts * width)
    found_DN: Tensor = torch.linalg.solve(
        products_DD + penalty * mean * torch.eye(width, dtype=products_DD.dtype), answers_DN
    )
    return found_DN


def _explained(found_DN: Tensor, products_DD: Tensor, answers_DN: Tensor, total: float) -> float:
    """1 - squared error / variance, from the sums alone."""
    error = total - 2 * (found_DN * answers_DN).sum() + (found_DN * (products_DD @ found_DN)).sum()
    return 1 - float(error) / total if total else 0.0
