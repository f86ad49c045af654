"""The families of models that users bring, each as a tiny random model, and what becomes of it: data of the tests and of
`docs/architectures.md`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import transformers
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from toolgen.testing import tiny_tokenizer

WINDOW = 16
"""Tokens that a sliding window holds here; every prompt of the tests is longer."""

SHAPE: Mapping[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
GATED: Mapping[str, Any] = {"intermediate_size": 64, "num_key_value_heads": 1}
HEADS: Mapping[str, Any] = {**GATED, "head_dim": 16}
EXPERTS: Mapping[str, Any] = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
MIXED: Mapping[str, Any] = {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]}

RECURRENT = "have recurrent or convolutional layers"
OWN = "bring an attention of their own that cannot be exchanged"
DEAF = "do not hand the keywords of a pass on to the attention of every layer"


@dataclass(frozen=True)
class Family:
    """`refused`: what `virtualize` says of it; empty for a family that works. `markers`: its bases have ChatML's turn markers;
    `bos`: its tokenizers put BOS before a text."""

    name: str
    bases: str
    config: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    tied: bool = True
    markers: bool = True
    bos: bool = False
    refused: str = ""
    note: str = ""

    @property
    def works(self) -> bool:
        return not self.refused

    def tokenizer(self) -> PreTrainedTokenizerFast:
        from tokenizers import processors

        tokenizer = tiny_tokenizer(chatml=self.markers)
        if self.bos:
            tokenizer.add_special_tokens({"bos_token": "<s>"})
            bos = ("<s>", tokenizer.bos_token_id)
            tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[bos])
        return tokenizer

    def model(self, rows: int) -> PreTrainedModel:
        settings = {**SHAPE, "vocab_size": rows, "tie_word_embeddings": self.tied, **self.settings}
        config = getattr(transformers, f"{self.config}Config")(**settings)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model: PreTrainedModel = transformers.AutoModelForCausalLM.from_config(config)
            # Norms and biases are made as ones and zeros; with other values, leaving them out would be noticed.
            for parameter in model.parameters():
                if parameter.ndim == 1:
                    parameter.data += 0.1 * torch.randn_like(parameter)
        return model.eval()


def vision(rows: int) -> Mapping[str, Any]:
    text = {**SHAPE, **HEADS, **MIXED, "vocab_size": rows}
    eye = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    }
    return {"text_config": text, "vision_config": eye, "mm_tokens_per_image": 4}


FAMILIES: tuple[Family, ...] = (
    Family("Llama 1, 2", "Llama 2, TinyLlama, Vicuna", "Llama", GATED, tied=False, markers=False, bos=True),
    Family("Llama 3", "Llama 3.2, SmolLM2", "Llama", GATED),
    Family("SmolLM3", "SmolLM3-3B", "SmolLM3", {**GATED, "no_rope_layer_interval": 2}),
    Family("Qwen 2", "Qwen2.5", "Qwen2", GATED),
    Family("Qwen 3", "Qwen3-0.6B to 32B", "Qwen3", HEADS, tied=False),
    Family("Gemma", "gemma-2b", "Gemma", HEADS, markers=False, bos=True),
    Family(
        "Gemma 2",
        "gemma-2-2b",
        "Gemma2",
        # Small caps, so that they change these scores, too.
        {**HEADS, **MIXED, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0},
        markers=False,
        bos=True,
        note="attention is written out, because its scores are bounded: slower on long texts",
    ),
    Family("Gemma 3", "gemma-3-1b, -270m", "Gemma3Text", {**HEADS, **MIXED}, markers=False, bos=True),
    Family(
        "Mistral",
        "Mistral-7B, Ministral",
        "Mistral",
        {**GATED, "sliding_window": WINDOW},
        tied=False,
        markers=False,
        bos=True,
    ),
    Family("Phi 1, 2", "phi-2", "Phi", {"intermediate_size": 64}, tied=False, markers=False),
    Family("Phi 3, 4", "Phi-3-mini, Phi-4", "Phi3", {**GATED, "sliding_window": WINDOW}, tied=False, markers=False),
    Family(
        "GPT-2",
        "gpt2, DistilGPT2",
        "GPT2",
        {"n_inner": 64, "resid_pdrop": 0, "embd_pdrop": 0, "attn_pdrop": 0},
        markers=False,
    ),
    Family("GPT-NeoX", "Pythia, GPT-NeoX-20B", "GPTNeoX", {"intermediate_size": 64}, tied=False, markers=False),
    Family("OPT", "opt-125m", "OPT", {"ffn_dim": 64, "word_embed_proj_dim": 32}, markers=False, bos=True),
    Family(
        "Granite",
        "granite-3.3-2b",
        "Granite",
        {
            **GATED,
            "embedding_multiplier": 12.0,
            "logits_scaling": 8.0,
            "residual_multiplier": 0.22,
            "attention_multiplier": 0.1,
        },
        markers=False,
    ),
    Family("Cohere", "Command R", "Cohere", {**GATED, "logit_scale": 0.25}, markers=False, bos=True),
    Family("Cohere 2", "Command R7B", "Cohere2", {**GATED, **MIXED, "logit_scale": 0.25}, markers=False, bos=True),
    Family("OLMo 2", "OLMo-2-1B", "Olmo2", GATED, tied=False, markers=False),
    Family("OLMo 3", "Olmo-3-7B", "Olmo3", {**GATED, **MIXED}, tied=False),
    Family(
        "Mixtral", "Mixtral-8x7B", "Mixtral", {**GATED, "num_local_experts": 4, "num_experts_per_tok": 2}, tied=False
    ),
    Family("Qwen 3, experts", "Qwen3-30B-A3B", "Qwen3Moe", {**HEADS, **EXPERTS}, tied=False),
    Family(
        "MiniCPM 3",
        "MiniCPM3-4B",
        "MiniCPM3",
        {"intermediate_size": 64, "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8},
    ),
    Family("StableLM", "stablelm-2-1_6b", "StableLm", GATED, refused=DEAF),
    Family("GPT-J", "gpt-j-6b", "GPTJ", {"rotary_dim": 8}, tied=False, markers=False, refused=OWN),
    Family("Falcon", "falcon-7b", "Falcon", markers=False, refused=OWN),
    Family("BLOOM", "bloom-560m", "Bloom", markers=False, refused=OWN),
    Family(
        "Llama 4, text",
        "Llama-4-Scout",
        "Llama4Text",
        {**HEADS, "intermediate_size_mlp": 64, "num_local_experts": 2, "attention_chunk_size": WINDOW},
        refused="attend in chunks",
    ),
    Family(
        "gpt-oss",
        "gpt-oss-20b",
        "GptOss",
        {**HEADS, **MIXED, "num_local_experts": 4, "num_experts_per_tok": 2},
        refused="do not attend by PyTorch's attention",
    ),
    Family("Gemma 3, with pictures", "gemma-3-4b", "Gemma3", vision(512), refused="read more than text"),
    Family("LFM2", "LFM2-1.2B", "Lfm2", {**GATED, "layer_types": ["conv", "full_attention"]}, refused=RECURRENT),
    Family("Mamba", "mamba-130m", "Mamba", {"state_size": 8}, markers=False, refused=RECURRENT),
    Family(
        "Mamba 2",
        "mamba2-130m",
        "Mamba2",
        {"state_size": 8, "num_heads": 4, "head_dim": 16, "n_groups": 1},
        markers=False,
        refused=RECURRENT,
    ),
    Family(
        "Bamba",
        "Bamba-9B",
        "Bamba",
        {
            **GATED,
            "attn_layer_indices": [1],
            "mamba_n_heads": 4,
            "mamba_d_head": 16,
            "mamba_n_groups": 1,
            "mamba_d_state": 8,
        },
        refused=RECURRENT,
    ),
    Family(
        "Jamba",
        "Jamba-v0.1",
        "Jamba",
        {
            **GATED,
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "expert_layer_period": 2,
            "num_experts": 2,
            "mamba_d_state": 8,
        },
        refused=RECURRENT,
    ),
    Family(
        "RecurrentGemma",
        "recurrentgemma-2b",
        "RecurrentGemma",
        {**GATED, "lru_width": 32, "attention_window_size": WINDOW, "block_types": ["recurrent", "attention"]},
        refused=RECURRENT,
    ),
    Family(
        "Qwen 3 Next",
        "Qwen3-Next-80B-A3B",
        "Qwen3Next",
        {
            **HEADS,
            **EXPERTS,
            "layer_types": ["linear_attention", "full_attention"],
            "shared_expert_intermediate_size": 32,
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 2,
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
        },
        refused=RECURRENT,
    ),
)
WORKING = tuple(family for family in FAMILIES if family.works)
REFUSED = tuple(family for family in FAMILIES if not family.works)
