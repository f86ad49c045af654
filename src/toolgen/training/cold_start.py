"""The rows of a catalog that nobody has asked for yet, fitted to documentation in closed form where that finds more.

Each tool's description is read once, as if it were a request. Ridge regression finds the rows whose products with what the
model makes of these texts come closest to a teacher's logits (`distillation`). There are three ways to choose from: the rows as
they are made from documentation, the fitted ones, and their sum. Which finds most is measured on requests by rules for some of
the tools, which the fit did not read (`docs/experiments.md`).
Shapes: S descriptions, C of them in a chunk, Q requests, D hidden size, N tools.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from toolgen.catalog.text import statement
from toolgen.checkpoint import Checkpoint, StageRecord
from toolgen.datasets.synthetic import drafts_by_rule
from toolgen.inference.late_tools import moved_by
from toolgen.inference.row_map import KNOWN, request_states
from toolgen.training.distillation import ridge
from toolgen.training.teacher import LogitsOfAll
from toolgen.virtualization import output_rows
from toolgen.virtualization.vocabulary import ACTIONS

MOST_TOOLS = 4096
"""A larger catalog keeps the rows of its documentation: to read a description a tool takes too long, fewer do not fit it."""
COMPARED = 100
"""Requests, each for another tool, on which the ways are compared."""
PENALTY = 3.0
SURE = 0.05
"""Share of these requests that may be declined where the fit also gives `no_tool` its row."""
_CHUNK = 256


@torch.no_grad()
def fit_documentation(
    checkpoint: Checkpoint,
    logits_of_all: LogitsOfAll,
    *,
    settings: Mapping[str, Any] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Checkpoint:
    """The checkpoint, changed in place, with the rows that find most. `logits_of_all` are the teacher's. The history gets what
    each way found, and which was taken."""
    texts, requests = [statement(tool) for tool in checkpoint.catalog], requests_by_rule(checkpoint)
    every = request_states(checkpoint, [*texts, *(text for text, _ in requests)], on_progress).double()
    states_SD, asked_QD = every[: len(texts)], every[len(texts) :]
    fitted_ND = _fitted(states_SD, texts, logits_of_all, len(checkpoint.vocabulary))
    made_ND = checkpoint.tool_rows.double().cpu()
    ways = {"made": made_ND, "fitted": fitted_ND, "both": made_ND + fitted_ND}
    answers_Q = torch.tensor([tool for _, tool in requests], dtype=torch.int64)
    found = {way: _found(asked_QD @ rows_ND.T, answers_Q) for way, rows_ND in ways.items()}
    best = max(ways, key=lambda way: found[way])
    if best != "made":
        matrix_VD = output_rows(checkpoint.model)
        matrix_VD[[token_id for (token_id,) in checkpoint.vocabulary.sequences]] = ways[best].to(matrix_VD)
    if best == "fitted":
        _write_actions(checkpoint, states_SD, asked_QD @ fitted_ND.T)
    entry = StageRecord(
        stage="index",
        examples={"texts": len(texts), "requests": len(requests)},
        config={**(settings or {}), "rows": best, "penalty": PENALTY},
        result=found,
    )
    fitted = replace(checkpoint, stages=(*checkpoint.stages, entry), text_states=states_SD.half())
    if best == "made":
        return fitted
    step = -(-len(texts) // KNOWN)
    return moved_by(fitted, fitted.catalog[::step], states_SD[::step].float())


def requests_by_rule(checkpoint: Checkpoint) -> list[tuple[str, int]]:
    """A request by rules for each of some tools, and the tool's place in the catalog."""
    step = -(-len(checkpoint.catalog) // COMPARED)
    drafts = ((next(drafts_by_rule(tool, 1, 0), None), place) for place, tool in enumerate(checkpoint.catalog))
    return [(draft.text, place) for draft, place in drafts if draft is not None and place % step == 0]


def _fitted(states_SD: Tensor, texts: Sequence[str], logits_of_all: LogitsOfAll, tools: int) -> Tensor:
    """The rows (N, D) that come closest to the teacher on these texts."""
    answers_DN = torch.zeros((states_SD.shape[1], tools), dtype=torch.float64)
    for start in range(0, len(texts), _CHUNK):
        logits_CN = torch.from_numpy(np.asarray(logits_of_all(texts[start : start + _CHUNK]), dtype=np.float64))
        answers_DN += states_SD[start : start + _CHUNK].T @ (logits_CN - logits_CN.mean(1, keepdim=True))
    return ridge(states_SD.T @ states_SD, answers_DN, PENALTY, texts=len(texts)).T


def _found(logits_QN: Tensor, answers_Q: Tensor) -> float:
    """Mean of the shares of requests whose tool is first, and among the first five."""
    if not len(answers_Q):
        return 0.0
    best = logits_QN.topk(min(5, logits_QN.shape[1])).indices == answers_Q[:, None]
    return float(best[:, 0].double().mean() + best.any(1).double().mean()) / 2


def _write_actions(checkpoint: Checkpoint, states_SD: Tensor, logits_QN: Tensor) -> None:
    """Rows of the actions whose logit is about the same for every text, and which few of the requests would choose."""
    if not len(logits_QN):
        return
    level = torch.quantile(logits_QN.amax(1), SURE)
    row_D1 = ridge(states_SD.T @ states_SD, states_SD.sum(0)[:, None] * level, PENALTY, texts=len(states_SD))
    matrix_VD = output_rows(checkpoint.model)
    matrix_VD[[checkpoint.vocabulary.token_id(action) for action in ACTIONS]] = row_D1[:, 0].to(matrix_VD)
