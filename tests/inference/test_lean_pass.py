"""The lean pass computes what the model computes, for every kind of model that it takes; others are left as they are."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn
from transformers import PreTrainedModel

from toolgen.inference.lean_pass import LeanPass, Product, fits_lean_pass
from toolgen.retrieval.generative import GenerativeRetriever
from toolgen.testing import tiny_checkpoint, tiny_model

PROMPTS = ([5], [1, 7, 3, 9], [2, 7, 3, 9], [8, 6, 4, 2, 1, 3, 5, 7, 9, 11, 13])
QUERIES = ("a taxi", "what is the weather in Oslo tomorrow?", "mail")
LLAMA3_ROTATION = {
    "rope_type": "llama3",
    "rope_theta": 100.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8,
}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "llama with other heads, biases and rotation": (
        "Llama",
        {"head_dim": 16, "attention_bias": True, "mlp_bias": True, "rope_parameters": LLAMA3_ROTATION},
    ),
    "mistral": ("Mistral", {"sliding_window": None}),
    "qwen2": ("Qwen2", {}),
    "qwen3": ("Qwen3", {"head_dim": 16}),
}

needs_kernels = pytest.mark.skipif(
    "fbgemm" not in torch.backends.quantized.supported_engines, reason="this PyTorch has no fp16 products (FBGEMM)"
)


def random_model(family: str, **settings: Any) -> PreTrainedModel:
    """Every weight random, biases and norms too, so that leaving one out shows."""
    shape = {"hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 3, "vocab_size": 20}
    heads = {"num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0}
    config = getattr(transformers, f"{family}Config")(**{**shape, **heads, **settings})
    model: PreTrainedModel = getattr(transformers, f"{family}ForCausalLM")(config).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator) + (parameter.dim() == 1))
    return model


def full_product(*layers: nn.Linear) -> Product:
    return lambda states: torch.cat([layer(states) for layer in layers], dim=-1)


def own_states(model: PreTrainedModel) -> Tensor:
    """The model's last hidden state after each prompt, one prompt at a time."""
    with torch.inference_mode():
        return torch.stack([model.base_model(torch.tensor([prompt])).last_hidden_state[0, -1] for prompt in PROMPTS])


@pytest.mark.parametrize("name", MODELS)
def test_with_full_weights_it_is_the_model(name: str) -> None:
    family, settings = MODELS[name]
    model = random_model(family, **settings)
    with torch.inference_mode():
        found = LeanPass(model, full_product)(PROMPTS)
    torch.testing.assert_close(found, own_states(model), rtol=1e-4, atol=1e-4)


@needs_kernels
@pytest.mark.parametrize("name", MODELS)
def test_weights_in_fp16_change_states_by_their_rounding_only(name: str) -> None:
    family, settings = MODELS[name]
    model = random_model(family, **settings)
    assert fits_lean_pass(model)
    rounded = random_model(family, **settings)
    with torch.no_grad():
        for module in rounded.base_model.modules():
            if isinstance(module, nn.Linear):
                module.weight.copy_(module.weight.half().float())
    with torch.inference_mode():
        found = LeanPass(model)(PROMPTS)
    torch.testing.assert_close(found, own_states(rounded), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(found, own_states(model), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "model",
    [
        tiny_model("gpt2"),
        tiny_model().to(torch.bfloat16),
        tiny_model("qwen2", use_sliding_window=True, sliding_window=4, max_window_layers=0),
        random_model("Mistral", sliding_window=4),
    ],
    ids=["another architecture", "another precision", "some layers with a window", "all layers with a window"],
)
def test_models_that_it_would_compute_wrongly_do_not_fit(model: PreTrainedModel) -> None:
    assert not fits_lean_pass(model)


@needs_kernels
def test_a_retriever_with_half_weights_ranks_as_without() -> None:
    checkpoint = tiny_checkpoint()
    full, half = GenerativeRetriever(checkpoint), GenerativeRetriever(checkpoint, half_weights=True)
    for one, other in zip(full.search(QUERIES, k=5), half.search(QUERIES, k=5), strict=True):
        assert other.tools == one.tools
        assert other.scores == pytest.approx(one.scores, abs=0.02) and other.scores != one.scores


def test_a_model_that_does_not_fit_is_searched_as_it_is() -> None:
    checkpoint = tiny_checkpoint(architecture="gpt2")
    assert GenerativeRetriever(checkpoint, half_weights=True).search(QUERIES, k=5) == GenerativeRetriever(
        checkpoint
    ).search(QUERIES, k=5)
