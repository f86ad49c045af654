"""Head: where hidden states become scores. Training, search, beam search and decoding all score by it.

Some architectures transform what the product with the output rows gives: they scale it (Granite, Cohere) or bound it (Gemma 2).
`check` compares with the model's own logits, so that an architecture with another transformation is refused, not run wrongly.
Shapes: P positions, D hidden size, V rows of the output matrix, C chosen rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from toolgen.errors import CheckpointError
from toolgen.virtualization import output_rows

PROBE = 8
"""Tokens that `check` compares."""


@dataclass(frozen=True, eq=False)
class Head:
    """The output rows of a model, its input rows where the two are tied, and what happens to their product with a hidden state:
    `scale * (state @ row + bias)`, bounded to `softcap`."""

    rows_VD: Tensor
    bias_V: Tensor | None = None
    scale: float = 1.0
    softcap: float | None = None

    @classmethod
    def of(cls, model: PreTrainedModel) -> Head:
        """The head of a causal language model; it sees later changes of the rows."""
        config = model.config
        scale = getattr(config, "logit_scale", None) or 1 / (getattr(config, "logits_scaling", None) or 1)
        return cls(
            output_rows(model),
            getattr(model.get_output_embeddings(), "bias", None),
            float(scale),
            getattr(config, "final_logit_softcapping", None),
        )

    def scores(self, hidden_PD: Tensor, of: slice | Tensor = slice(None)) -> Tensor:
        """The scores of the chosen rows, by default of all, at each position (P, C)."""
        bias = None if self.bias_V is None else self.bias_V[of]
        return self.finish(functional.linear(hidden_PD, self.rows_VD[of], bias))

    def finish(self, products: Tensor) -> Tensor:
        """From products with rows to scores."""
        if self.scale != 1:
            products = products * self.scale
        return products if self.softcap is None else torch.tanh(products / self.softcap) * self.softcap


def input_scale(model: PreTrainedModel) -> float:
    """The factor by which the model's input matrix is scaled when tokens are looked up (Gemma 3)."""
    return float(getattr(model.get_input_embeddings(), "embed_scale", 1.0))


@torch.inference_mode()
def check(model: PreTrainedModel) -> None:
    """CheckpointError for an architecture whose logits `Head` does not compute."""
    ids = torch.arange(PROBE, device=model.device)[None] % len(output_rows(model))
    expected = model(input_ids=ids, use_cache=False).logits.float()
    found = Head.of(model).scores(model.base_model(input_ids=ids, use_cache=False).last_hidden_state).float()
    if found.shape != expected.shape or not torch.allclose(
        found, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max())
    ):
        raise CheckpointError(
            f"the scores of {model.config.model_type} models are not their last hidden state times the output rows, scaled or "
            "bounded; take another architecture (Llama, Qwen, SmolLM, Gemma, Granite, GPT-2, ...)"
        )
