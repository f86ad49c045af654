"""LeanPass: a search's forward pass made for single requests on a CPU, from prompts to the hidden state after each.

The weights of a Llama-like model's products are repacked once in fp16 for FBGEMM (PyTorch's kernels for short inputs, which
still multiply and add in fp32), projections that read one state are one product, prompts stand one after another without
padding, and after the last attention only the last tokens go on. Knows token ids and hidden states; no tool and no ranking.
Shapes: B prompts, T tokens of all prompts, D hidden size, H heads (of queries, keys and values), S size of a head,
P the outputs of one product.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from toolgen.inference.attention import Packed

LEAN_TYPES = frozenset({"llama", "mistral", "qwen2", "qwen3"})
"""Model types whose layers `LeanPass` knows: norm, rotated attention, norm, gated layer, each of the two added to its input."""

Product = Callable[[Tensor], Tensor]


def fits_lean_pass(model: PreTrainedModel) -> bool:
    """Whether `LeanPass` computes what this model computes: a known type in fp32 on a CPU that FBGEMM has kernels for, with
    attention to everything before a token."""
    kinds = getattr(model.config, "layer_types", None)
    attends_to_all = set(kinds) == {"full_attention"} if kinds else not getattr(model.config, "sliding_window", None)
    return (
        attends_to_all
        and model.config.model_type in LEAN_TYPES
        and model.device.type == "cpu"
        and model.dtype == torch.float32
        and "fbgemm" in torch.backends.quantized.supported_engines
    )


def half_product(*layers: nn.Linear) -> Product:
    """The outputs of all layers side by side in one product, with a copy of their weights in fp16."""
    weight = torch.cat([layer.weight.detach() for layer in layers])
    biases = [layer.bias.detach() for layer in layers if layer.bias is not None]
    packed = torch.ops.quantized.linear_prepack_fp16(weight, torch.cat(biases) if biases else None)
    return lambda states: torch.ops.quantized.linear_dynamic_fp16(states, packed)


class LeanPass:
    """Takes a model that `fits_lean_pass`. Later changes of its weights are not seen.

    Prompts of one length attend as one batch if they stand together. `product` makes the product of all layers that read one
    state.
    """

    def __init__(self, model: PreTrainedModel, product: Callable[..., Product] = half_product) -> None:
        self._trunk: Any = model.base_model
        self._layers = [_LeanLayer(layer, product) for layer in self._trunk.layers]

    def __call__(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        lengths = [len(prompt) for prompt in prompts]
        places_T = torch.cat([torch.arange(length) for length in lengths])
        last_B = torch.tensor(lengths).cumsum(0) - 1
        states_TD = self._trunk.embed_tokens(torch.tensor([*chain.from_iterable(prompts)]))
        turn = _Turn(*self._trunk.rotary_emb(states_TD, places_T[None]))
        for layer in self._layers:
            attended = layer.attended(states_TD, turn, lengths)
            if layer is self._layers[-1]:
                states_TD, attended = states_TD[last_B], attended[last_B]
            states_TD = layer.changed(states_TD, attended)
        last_BD: Tensor = self._trunk.norm(states_TD)
        return last_BD


class _Turn:
    """The rotation of queries and keys by their places (rotary embedding, arXiv 2104.09864)."""

    def __init__(self, cos_1TS: Tensor, sin_1TS: Tensor) -> None:
        self._half = cos_1TS.shape[-1] // 2
        self._cos_T1S, self._sin_T1S = cos_1TS[0, :, None], sin_1TS[0, :, None].clone()
        self._sin_T1S[..., : self._half].neg_()

    def __call__(self, states_THS: Tensor) -> Tensor:
        # Halves exchanged; the sign that the first one would get is in the sine.
        return torch.addcmul(states_THS * self._cos_T1S, states_THS.roll(self._half, -1), self._sin_T1S)


class _LeanLayer:
    """One transformer layer."""

    def __init__(self, layer: Any, product: Callable[..., Product]) -> None:
        attention, gated = layer.self_attn, layer.mlp
        self._attention = attention
        self._head_norms = tuple(getattr(attention, name, None) for name in ("q_norm", "k_norm"))
        self._norm_before_attention, self._norm_before_gate = layer.input_layernorm, layer.post_attention_layernorm
        inputs = (attention.q_proj, attention.k_proj, attention.v_proj)
        self._heads = [each.out_features // attention.head_dim for each in inputs]
        self._inputs, self._output = product(*inputs), product(attention.o_proj)
        self._gate_and_up, self._down = product(gated.gate_proj, gated.up_proj), product(gated.down_proj)
        self._activation = gated.act_fn

    def attended(self, states_TD: Tensor, turn: _Turn, lengths: Sequence[int]) -> Tensor:
        """What every token takes from those before it in its prompt, before the output product (T, heads of queries * S)."""
        heads_TP = self._inputs(_normed(states_TD, self._norm_before_attention))
        heads_THS = heads_TP.view(len(states_TD), -1, self._attention.head_dim)
        turned_THS, values_THS = torch.split(heads_THS, [sum(self._heads[:2]), self._heads[2]], dim=1)
        if self._head_norms[0] is not None:
            parts = torch.split(turned_THS, self._heads[:2], dim=1)
            turned_THS = torch.cat([_normed(*pair) for pair in zip(parts, self._head_norms, strict=True)], dim=1)
        queries_THS, keys_THS = torch.split(turn(turned_THS), self._heads[:2], dim=1)
        queries, keys, values = (each.transpose(0, 1)[None] for each in (queries_THS, keys_THS, values_THS))
        attended_1THS = Packed(lengths)(self._attention, queries, keys, values, scaling=self._attention.scaling)
        return attended_1THS[0].flatten(1)

    def changed(self, states_TD: Tensor, attended: Tensor) -> Tensor:
        """The states with what was attended, and what the gated layer makes of it, added."""
        states_TD = states_TD + self._output(attended)
        gate, up = self._gate_and_up(_normed(states_TD, self._norm_before_gate)).chunk(2, dim=-1)
        return states_TD + self._down(self._activation(gate) * up)


def _normed(states: Tensor, norm: Any) -> Tensor:
    """RMSNorm (arXiv 1910.07467) with a module's weight, in one operation."""
    return functional.rms_norm(states, norm.weight.shape, norm.weight, norm.variance_epsilon)
