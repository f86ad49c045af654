"""Requests at hand for some tools, into the rows of these tools alone, in closed form: what a tool that comes late can learn.

A row moves by the smallest step that lifts its tool above all others on its own requests and leaves its logit as it is on other
texts. With the hidden states of the requests as keys that is least squares, the equation of `distillation`; Meng et al.
("Locating and editing factual associations in GPT", arXiv 2202.05262) write facts into a layer with it. The states of the other
texts do not depend on the tool, so the checkpoint keeps them until the model is trained.
Shapes: Q requests, S other texts, D hidden size, N tools, T tools that learn.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from toolgen.catalog.text import statement
from toolgen.checkpoint import Checkpoint, StageRecord
from toolgen.errors import UsageError
from toolgen.training.distillation import StatesOf, ridge
from toolgen.virtualization import output_rows

OTHER_TEXTS = 512
"""Descriptions, evenly spread over the catalog, on which nothing is to change."""
MARGIN = 3.0
"""Logits by which a tool is to lead on its own requests."""
PENALTY = 3.0


class Asked(NamedTuple):
    """A request and the tools (ids) that answer it."""

    text: str
    tools: tuple[str, ...]


@torch.no_grad()
def learn_requests(
    checkpoint: Checkpoint,
    requests: Sequence[Asked],
    states_of: StatesOf,
    tools: Collection[str],
    *,
    margin: float = MARGIN,
    penalty: float = PENALTY,
) -> Checkpoint:
    """The checkpoint, changed in place, whose `tools` have learned the requests that ask for them; all other rows stay.
    `states_of` are the checkpoint's own. UsageError where no request asks for one of the tools."""
    learning = [tool for tool in checkpoint.catalog.ids if tool in {*tools}]
    own = [one for one in requests if {*one.tools} & {*learning}]
    if not own:
        raise UsageError("no request asks for one of these tools")
    checkpoint = with_text_states(checkpoint, states_of)
    assert checkpoint.text_states is not None
    states_QD = states_of([one.text for one in own]).double().cpu()
    lifts_QT = _lifts(checkpoint, own, states_QD @ checkpoint.tool_rows.double().cpu().T, learning, margin)
    others_SD = checkpoint.text_states.double()
    products_DD = states_QD.T @ states_QD + others_SD.T @ others_SD
    moved_DT = ridge(products_DD, states_QD.T @ lifts_QT, penalty, texts=len(own) + len(others_SD))
    matrix_VD = output_rows(checkpoint.model)
    matrix_VD[[checkpoint.vocabulary.token_id(tool) for tool in learning]] += moved_DT.T.to(matrix_VD)
    asked = {tool for one in own for tool in one.tools} & {*learning}
    entry = StageRecord(stage="tools", examples={"requests": len(own)}, config={"margin": margin, "penalty": penalty})
    return replace(
        checkpoint,
        stages=(*checkpoint.stages, entry),
        made={**checkpoint.made, **dict.fromkeys(sorted(asked), "requests")},
        asked_tools=checkpoint.asked_tools | asked,
    )


def with_text_states(checkpoint: Checkpoint, states_of: StatesOf) -> Checkpoint:
    """The checkpoint with the hidden states of some descriptions; itself if it has them."""
    if checkpoint.text_states is not None:
        return checkpoint
    some = checkpoint.catalog[:: -(-len(checkpoint.catalog) // OTHER_TEXTS)]
    return replace(checkpoint, text_states=states_of([statement(tool) for tool in some]).half().cpu())


def _lifts(
    checkpoint: Checkpoint, own: Sequence[Asked], logits_QN: Tensor, learning: Sequence[str], margin: float
) -> Tensor:
    """What the logit of each learning tool lacks on each of its requests (Q, T); 0 on the others."""
    position = checkpoint.catalog.position
    answers_QN = torch.zeros_like(logits_QN, dtype=torch.bool)
    for row, one in enumerate(own):
        answers_QN[row, [position(tool) for tool in one.tools if tool in checkpoint.catalog]] = True
    best_Q = logits_QN.masked_fill(answers_QN, float("-inf")).amax(1, keepdim=True)
    best_Q = torch.where(best_Q.isinf(), logits_QN.mean(1, keepdim=True), best_Q)  # a request for every tool there is
    lacking_QN = (best_Q + margin - logits_QN).clamp_min(0) * answers_QN
    return lacking_QN[:, [position(tool) for tool in learning]]
