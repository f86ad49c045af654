"""Passes of the model over sequences that stand one after another in one row, without padding.

Knows token ids and hidden states; no tool, no message and no scheduling.
Shapes: T tokens of all sequences, D hidden size, B sequences.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, chain

import torch
from torch import Tensor
from transformers import PreTrainedModel

from toolgen.inference.attention import Attend, Packed, pass_options


def row_states(
    trunk: PreTrainedModel,
    attend: Attend,
    places_T: Tensor,
    *,
    ids_T: Tensor | None = None,
    embedded_TD: Tensor | None = None,
) -> Tensor:
    """The hidden states after the last norm (T, D) of tokens, or of their embeddings, at these places in their sequences. The
    model's passes must be shared (`share_passes`)."""
    states: Tensor = trunk(
        input_ids=None if ids_T is None else ids_T[None],
        inputs_embeds=None if embedded_TD is None else embedded_TD[None],
        position_ids=places_T[None],
        use_cache=False,
        **pass_options(attend, places_T.device),
    ).last_hidden_state
    return states[0]


@torch.inference_mode()
def last_states(model: PreTrainedModel, prompts: Sequence[Sequence[int]]) -> Tensor:
    """The hidden state after each prompt (B, D), all in one pass."""
    lengths = [len(prompt) for prompt in prompts]
    places = torch.tensor([*chain.from_iterable(map(range, lengths))], device=model.device)
    ids = torch.tensor([*chain.from_iterable(prompts)], device=model.device)
    last = torch.tensor([*accumulate(lengths)], device=model.device) - 1
    return row_states(model.base_model, Packed(lengths), places, ids_T=ids)[last]
