"""A tiny checkpoint with random weights: what decoding guarantees must not depend on what a model has learned."""

from __future__ import annotations

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from toolgen.catalog import Catalog, Tool
from toolgen.checkpoint import Checkpoint

WEATHER = Tool(
    id="weather&&forecast",
    provider="weather",
    name="forecast",
    description="Forecast for a city.",
    parameters={
        "type": "object",
        "properties": {
            "city": {"type": "string", "maxLength": 12},
            "days": {"type": "integer", "minimum": 1, "maximum": 9},
            "unit": {"enum": ["metric", "imperial"]},
            "tags": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["city", "unit"],
    },
)
FREE = Tool(
    id="store&&put",
    provider="store",
    name="put",
    description="Stores anything.",
    parameters={"type": "object", "properties": {"value": {}, "note": {"type": "string"}}, "required": ["note"]},
)
PING = Tool(id="net&&ping", provider="net", name="ping", description="Answers.")
UNIQUE = Tool(
    id="set&&make",
    provider="set",
    name="make",
    description="Makes a set.",
    parameters={
        "type": "object",
        "properties": {"items": {"type": "array", "items": {"enum": ["a", "b"]}, "uniqueItems": True, "maxItems": 4}},
        "required": ["items"],
    },
)


def byte_tokenizer() -> PreTrainedTokenizerFast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate([*alphabet, '{"', '":', 'Ġ"', '",', '"}'])}
    merges = [("{", '"'), ('"', ":"), ("Ġ", '"'), ('"', ","), ('"', "}")]
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>", pad_token="<|im_end|>")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    return tokenizer


def random_checkpoint(seed: int) -> Checkpoint:
    tokenizer = byte_tokenizer()
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=2048,
        # The default of 0.02 leaves every token about equally likely; a model with opinions breaks rules more often.
        initializer_range=1.0,
    )
    return Checkpoint.from_model(LlamaForCausalLM(config), tokenizer, Catalog([WEATHER, FREE, PING, UNIQUE]), base="tiny")


@pytest.fixture(scope="session")
def checkpoints() -> list[Checkpoint]:
    return [random_checkpoint(seed) for seed in range(4)]


@pytest.fixture(scope="session")
def checkpoint(checkpoints: list[Checkpoint]) -> Checkpoint:
    return checkpoints[0]
