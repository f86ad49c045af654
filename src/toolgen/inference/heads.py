"""Head: where hidden states become scores. Training, search, beam search and decoding all score by it.

Some architectures transform what the product with the output rows gives: they scale it (Granite, Cohere) or bound it (Gemma 2).
`check_passes` compares with the model's own logits, so that an architecture with another transformation is refused, not run
wrongly.
Shapes: P positions, D hidden size, V rows of the output matrix, C chosen rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from toolgen.virtualization import output_rows

ALL = slice(0, None)


@dataclass(frozen=True, eq=False)
class Head:
    """The output rows of a model, its input rows where the two are tied, and what happens to their product with a hidden state:
    `scale * (state @ row + bias)`, bounded to `softcap`."""

    rows_VD: Tensor
    bias_V: Tensor | None = None
    scale: float = 1.0
    softcap: float | None = None
    every: Callable[[Tensor], Tensor] | None = None
    """The product with all rows, bias added, if there is a faster way to make it."""

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

    def scores(self, hidden_PD: Tensor, of: slice | Tensor = ALL) -> Tensor:
        """The scores of the chosen rows, by default of all, at each position (P, C)."""
        if isinstance(of, slice) and of == ALL and self.every is not None:
            return self.finish(self.every(hidden_PD))
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
