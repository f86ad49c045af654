"""What makes a model unfit to be a base is found without changing it; `tests/architectures/` has the families."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from toolgen.checkpoint import Checkpoint
from toolgen.errors import CheckpointError
from toolgen.testing import tiny_catalog, tiny_model, tiny_tokenizer
from toolgen.virtualization.architecture import why_not

SLIDING: dict[str, Any] = {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}


def with_changed_attention(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> PreTrainedModel:
    """The second layer's attention gets these keywords instead of its own; None takes one away."""
    attention = model.base_model.layers[1].self_attn
    forward = attention.forward

    def changed(*arguments: Any, **keywords: Any) -> Any:
        return forward(*arguments, **{k: v for k, v in {**keywords, **changes}.items() if v is not None})

    monkeypatch.setattr(attention, "forward", changed)
    return model


def test_a_fit_model_is_left_as_it_was() -> None:
    for model in (tiny_model(), tiny_model("gpt2"), tiny_model("qwen2", **SLIDING)):
        ids, before = torch.tensor([[1, 2, 3]]), model.config._attn_implementation
        logits = model(input_ids=ids).logits
        assert why_not(model) == ""
        assert model.config._attn_implementation == before
        assert torch.equal(model(input_ids=ids).logits, logits)


def test_an_attention_that_a_keyword_does_not_reach_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    model = with_changed_attention(tiny_model(), monkeypatch, heard=None)
    assert "do not hand the keywords" in why_not(model)


def test_a_window_that_attention_is_not_told_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("qwen2", **SLIDING)
    monkeypatch.setattr(model.base_model.layers[1].self_attn, "sliding_window", None)
    assert "do not tell" in why_not(model)


def test_a_model_that_is_refused_and_its_tokenizer_stay_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = with_changed_attention(tiny_model(), monkeypatch, heard=None), tiny_tokenizer(chatml=False)
    with pytest.raises(
        CheckpointError, match=r"^toolgen cannot run llama models, which do not hand .*; take a text model"
    ):
        Checkpoint.from_model(model, tokenizer, tiny_catalog(), base="tiny")
    assert len(tokenizer) == len(tiny_tokenizer(chatml=False))
    assert model.config._attn_implementation == tiny_model().config._attn_implementation
