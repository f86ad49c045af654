"""Which base models can become checkpoints, found out before anything is added to them or written.

Training, search and decoding run several sequences in one row that only attention keeps apart, and decode with caches of keys
and values. So every layer has to see other tokens by attention alone, an attention that can be exchanged and that the keywords
of a pass reach. `docs/architectures.md` lists the families that were tried. Knows no tool and no token.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from toolgen.errors import CheckpointError

LAYER_TYPES = frozenset({"full_attention", "sliding_attention"})
LISTENER = "toolgen_listener"


def check_architecture(model: PreTrainedModel) -> None:
    """CheckpointError, in one line, for a model that toolgen cannot run, or could only run wrongly."""
    if reason := why_not(model):
        raise CheckpointError(
            f"toolgen cannot run {model.config.model_type} models, which {reason}; take a text model with plain attention "
            "(Llama, Qwen, SmolLM, Gemma, Mistral, Phi, GPT-2, ...)"
        )


def why_not(model: PreTrainedModel) -> str:
    """What an architecture does that toolgen cannot follow, as the end of a sentence about its models; empty if nothing."""
    config = model.config
    if config.get_text_config() is not config:
        return "read more than text"
    if any(
        type(layer) not in (DynamicLayer, DynamicSlidingWindowLayer) for layer in DynamicCache(config=config).layers
    ):
        return "have recurrent or convolutional layers, whose state mixes sequences that share a row"
    if not LAYER_TYPES.issuperset(getattr(config, "layer_types", None) or ()):
        return "attend in chunks or in another way of their own"
    if not model._can_set_attn_implementation():
        return "bring an attention of their own that cannot be exchanged"
    if not (model._supports_sdpa or getattr(config, "attn_logit_softcapping", None)):
        return "do not attend by PyTorch's attention"
    return _why_not_heard(model)


def _why_not_heard(model: PreTrainedModel) -> str:
    """Whether every layer's attention gets the keywords of a pass, and its window if it has one."""
    layers = DynamicCache(config=model.config).layers
    try:
        heard = _heard(model)
    except (RuntimeError, TypeError, ValueError) as error:
        return f"fail in a pass over one token ({' '.join(str(error).split())[:120]})"
    if len(heard) != model.config.num_hidden_layers:
        return "do not hand the keywords of a pass on to the attention of every layer"
    windows = [isinstance(layer, DynamicSlidingWindowLayer) for layer in layers] or [False] * len(heard)
    if windows != [bool(options.get("sliding_window")) for options in heard]:
        return "do not tell the attention of a layer its window"
    return ""


@torch.inference_mode()
def _heard(model: PreTrainedModel) -> list[Mapping[str, Any]]:
    """What else the attention of each layer gets, if it gets the keyword `heard` of a pass over one token."""
    heard: list[Mapping[str, Any]] = []
    before = model.config._attn_implementation
    AttentionInterface.register(LISTENER, _listening)
    model.set_attn_implementation(LISTENER)
    try:
        ids = torch.zeros(1, 1, dtype=torch.long, device=model.device)
        model.base_model(input_ids=ids, use_cache=False, heard=heard)
    finally:
        model.set_attn_implementation(before)
    return heard


def _listening(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, _mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    options.pop("heard", []).append(options)
    attended, _ = sdpa_attention_forward(module, query, key, value, None)
    return attended, None
