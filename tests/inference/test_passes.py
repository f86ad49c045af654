"""A base is proved before anything is built on it: what our passes compute are its own logits."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers

from toolgen.errors import CheckpointError
from toolgen.inference.attention import share_passes
from toolgen.inference.passes import check_passes
from toolgen.testing import ARCHITECTURES, Architecture, tiny_model


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_base_whose_logits_come_out_is_taken(architecture: Architecture) -> None:
    check_passes(tiny_model(architecture))


def test_logits_of_another_kind_are_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    forward = model.forward
    monkeypatch.setattr(model, "forward", lambda **given: SimpleNamespace(logits=forward(**given).logits ** 3))
    with pytest.raises(CheckpointError, match="cannot run llama models: what it computes are") as caught:
        check_passes(model)
    assert "\n" not in str(caught.value)


def test_a_model_that_looks_at_what_comes_after_a_token_is_refused() -> None:
    """Its layers and its head look like any other's; the numbers tell."""
    shape: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 64,
    }
    torch.manual_seed(0)
    config = transformers.BertGenerationConfig(vocab_size=96, initializer_range=0.5, **shape)
    model = transformers.BertGenerationDecoder(config).eval()
    share_passes(model)
    with pytest.raises(CheckpointError, match="cannot run bert-generation models"):
        check_passes(model)
