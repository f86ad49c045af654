"""Passes of the model over sequences that stand one after another in one row, without padding.

Knows token ids and hidden states; no tool, no message and no scheduling.
Shapes: T tokens of all sequences, D hidden size, B sequences.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, chain

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from toolgen.errors import CheckpointError
from toolgen.inference.attention import Attend, Cached, Packed, pass_options, share_passes
from toolgen.inference.heads import Head

PROBE = (5, 12)
"""Lengths of the sequences that `check_passes` compares."""


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


@torch.inference_mode()
def check_passes(model: PreTrainedModel) -> None:
    """CheckpointError for an architecture of whose logits our passes make something else: of sequences that share a row, or of
    tokens that come behind a cache. For a base, before anything is built on it."""
    ids = torch.arange(max(PROBE), device=model.device)
    expected = torch.cat([model(input_ids=ids[None, :length], use_cache=False).logits[0] for length in PROBE]).float()
    share_passes(model)
    head, trunk = Head.of(model), model.base_model
    places = torch.cat([ids[:length] for length in PROBE])
    packed = row_states(trunk, Packed(PROBE), places, ids_T=places)
    cache = DynamicCache(config=model.config)
    parts = torch.split(ids, [7, 1, len(ids) - 8])
    cached = torch.cat([row_states(trunk, Cached([cache], [len(part)]), part, ids_T=part) for part in parts])
    for states, logits in ((packed, expected), (cached, expected[-len(ids) :])):
        found = head.scores(states).float()
        if found.shape != logits.shape or not _alike(found, logits):
            raise CheckpointError(
                f"toolgen cannot run {model.config.model_type} models: what it computes are not the model's own logits; take "
                "another architecture (Llama, Qwen, SmolLM, Gemma, Granite, GPT-2, ...)"
            )


def _alike(found: Tensor, expected: Tensor) -> bool:
    return torch.allclose(found, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
