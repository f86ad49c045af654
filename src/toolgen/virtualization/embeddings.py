"""First values of the new rows, in the input and in the output matrix, tied or not.

Shapes: V vocabulary, D hidden size, N tools. Rows are not trained here; see `toolgen.training`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from toolgen.virtualization.vocabulary import ToolVocabulary

Initialization = Literal["name", "description", "random"]
"""`name`: mean of the input embeddings of the name's sub-tokens, as in the paper. `description`: the same over name and
description, a bag of words. `random`: normal with the base's standard deviation; a control."""
INITIALIZATIONS: tuple[Initialization, ...] = get_args(Initialization)


def resize_rows(model: PreTrainedModel, length: int) -> None:
    """Grows both matrices to `length` rows; keeps them where the base is padded beyond it.

    Without `mean_resizing`, which costs 22 s for 50,000 rows that are overwritten anyway.
    """
    if model.get_input_embeddings().weight.shape[0] < length:
        model.resize_token_embeddings(length, mean_resizing=False)


def output_rows(model: PreTrainedModel) -> torch.nn.Parameter:
    """The output matrix (V, D); the input matrix itself where the two are tied."""
    head = model.get_output_embeddings()
    weight: torch.nn.Parameter = (model.get_input_embeddings() if head is None else head).weight
    return weight


@torch.no_grad()
def initialize_rows(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    vocabulary: ToolVocabulary,
    texts: Sequence[str],
    *,
    method: Initialization = "name",
    seed: int = 0,
) -> None:
    """Writes the rows of the actions and tools; `texts[i]` describes the i-th of them (actions first).

    In an untied model the output rows get the mean of the *output* rows of the same sub-tokens. A mean of many
    embeddings is short; each is scaled to the mean length of the base's rows so that no tool starts out mute.
    """
    matrices = {id(weight): weight for weight in (model.get_input_embeddings().weight, output_rows(model))}
    start, stop = vocabulary.action_token_ids.start, vocabulary.action_token_ids.stop
    generator = torch.Generator().manual_seed(seed)
    for weight in matrices.values():
        base = weight[:start].float()
        if method == "random":
            rows = torch.randn((stop - start, base.shape[1]), generator=generator) * base.std()
        else:
            encoded = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
            rows = torch.stack([_mean(base, ids) for ids in encoded])
            rows *= base.norm(dim=1).mean() / rows.norm(dim=1, keepdim=True).clamp_min(1e-6)
        weight[start:stop] = rows.to(weight.dtype)


def _mean(base_VD: Tensor, ids: Sequence[int]) -> Tensor:
    known = [token_id for token_id in ids if token_id < len(base_VD)]
    return base_VD[known].mean(0) if known else base_VD.mean(0)
