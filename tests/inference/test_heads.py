"""Scores are the model's own logits, whatever the architecture does with them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from transformers import PreTrainedModel

from toolgen.inference.heads import Head
from toolgen.testing import tiny_model

SHAPE: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "vocab_size": 96,
    "pad_token_id": 0,
    "initializer_range": 0.5,
}
TRANSFORMED: dict[str, dict[str, Any]] = {
    "Gemma2": {"head_dim": 16, "num_key_value_heads": 1, "final_logit_softcapping": 1.5},
    "Granite": {"logits_scaling": 8.0},
    "Cohere": {"logit_scale": 0.25},
    "Phi": {},  # a bias
}


def model_of(family: str) -> PreTrainedModel:
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**SHAPE, **TRANSFORMED[family])
    model: PreTrainedModel = transformers.AutoModelForCausalLM.from_config(config)
    bias = getattr(model.get_output_embeddings(), "bias", None)
    if bias is not None:
        torch.nn.init.normal_(bias)
    return model.eval()


@pytest.mark.parametrize("family", TRANSFORMED)
@torch.inference_mode()
def test_scores_are_the_models_own_logits(family: str) -> None:
    model, ids = model_of(family), torch.arange(40)[None]
    logits = model(input_ids=ids).logits[0]
    hidden = model.base_model(input_ids=ids).last_hidden_state[0]
    head = Head.of(model)
    torch.testing.assert_close(head.scores(hidden), logits)
    torch.testing.assert_close(head.scores(hidden, slice(70, 90)), logits[:, 70:90])
    torch.testing.assert_close(head.scores(hidden, torch.tensor([5, 2])), logits[:, [5, 2]])


@pytest.mark.parametrize("tied", [True, False])
def test_a_head_sees_changes_of_the_rows(tied: bool) -> None:
    model = tiny_model(tied=tied)
    head, hidden = Head.of(model), torch.ones(1, 32)
    with torch.inference_mode():
        before = head.scores(hidden)
        model.get_output_embeddings().weight.mul_(2)
        torch.testing.assert_close(head.scores(hidden), 2 * before)
