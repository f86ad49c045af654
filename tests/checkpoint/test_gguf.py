"""A checkpoint as a GGUF file: transformers' own reader gives the same model back, and llama.cpp makes the same choices."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf import GGUFReader, TokenType

from toolgen.checkpoint import Checkpoint
from toolgen.checkpoint.gguf import export_gguf
from toolgen.errors import UsageError
from toolgen.fetching.opening import open_gguf, open_model, open_tokenizer
from toolgen.testing import Architecture, tiny_checkpoint

LLAMA_CPP = os.environ.get("TOOLGEN_NODE_LLAMA_CPP")
needs_llama_cpp = pytest.mark.skipif(
    not (LLAMA_CPP and shutil.which("node")),
    reason="needs TOOLGEN_NODE_LLAMA_CPP, a folder where `npm install node-llama-cpp` was run",
)
SHAPE: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
REQUESTS = (
    "Will it rain in Oslo?",
    "Send Anna a letter: see you at 10:45!",
    "Buche eine Reise – für Zoë",
    "天気予報を取得",
)

families = pytest.mark.parametrize(
    ("architecture", "tied"), [("llama", True), ("llama", False), ("qwen2", True)], ids=["llama", "untied", "qwen2"]
)


def made(architecture: Architecture = "llama", tied: bool = True) -> Checkpoint:
    return tiny_checkpoint(architecture=architecture, tied=tied, spare=3, extra_rows=5, **SHAPE)


def next_logits(model: Any, ids: list[int]) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = model(input_ids=torch.tensor([ids])).logits[0, -1]
    return found


def prompts(checkpoint: Checkpoint) -> list[list[int]]:
    return [checkpoint.protocol.prompt([{"role": "user", "content": text}]) for text in REQUESTS]


@families
def test_the_file_holds_the_same_model(tmp_path: Path, architecture: Architecture, tied: bool) -> None:
    checkpoint = made(architecture, tied)
    export_gguf(checkpoint, tmp_path / "tools.gguf", "f32")
    _, model = open_gguf(tmp_path / "tools.gguf", dtype=torch.float32)
    for ids in prompts(checkpoint):
        torch.testing.assert_close(next_logits(model, ids), next_logits(checkpoint.model, ids), rtol=1e-4, atol=1e-4)


def test_biases_of_rotated_pairs_move_with_their_weights(tmp_path: Path) -> None:
    checkpoint = tiny_checkpoint(attention_bias=True, **SHAPE)
    for layer in checkpoint.model.base_model.layers:
        for product in (layer.self_attn.q_proj, layer.self_attn.k_proj):
            product.bias.data.copy_(product.weight.data[:, 0])
    export_gguf(checkpoint, tmp_path / "tools.gguf", "f32")
    found = {tensor.name: tensor.data for tensor in GGUFReader(tmp_path / "tools.gguf").tensors}
    for name in ("attn_q", "attn_k"):
        assert found[f"blk.0.{name}.bias"].tolist() == found[f"blk.0.{name}.weight"][:, 0].tolist()


def test_a_token_has_the_same_id_and_those_of_tools_are_control_tokens(tmp_path: Path) -> None:
    checkpoint = made()
    export_gguf(checkpoint, tmp_path / "tools.gguf")
    fields = GGUFReader(tmp_path / "tools.gguf").fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    types = fields["tokenizer.ggml.token_type"].contents()
    assert len(tokens) == len(types) == checkpoint.model.get_input_embeddings().weight.shape[0]
    assert {token: i for i, token in enumerate(tokens)}.items() >= checkpoint.tokenizer.get_vocab().items()
    assert {types[i] for i in checkpoint.vocabulary.tool_token_ids} == {TokenType.CONTROL}
    assert fields["tokenizer.ggml.eos_token_id"].contents() == checkpoint.protocol.end_id
    assert json.loads(fields["toolgen.vocabulary"].contents()) == checkpoint.vocabulary.to_dict()
    assert fields["tokenizer.chat_template"].contents() == checkpoint.tokenizer.chat_template


@pytest.mark.parametrize("precision", ["f16", "bf16", "q8_0"])
def test_fewer_bits_change_the_choice_little(tmp_path: Path, precision: Any) -> None:
    checkpoint = made()
    export_gguf(checkpoint, tmp_path / "tools.gguf", precision)
    _, model = open_gguf(tmp_path / "tools.gguf", dtype=torch.float32)
    ids = prompts(checkpoint)[0]
    assert torch.cosine_similarity(next_logits(model, ids), next_logits(checkpoint.model, ids), 0) > 0.99


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"architecture": "gpt2"}, "a base of type 'gpt2' cannot be written as GGUF; expected one of llama"),
        (
            {"tokenizer": "unigram"},
            "tokenizer splits texts in a way that cannot be written as GGUF; expected byte-level BPE",
        ),
    ],
    ids=["architecture", "tokenizer"],
)
def test_what_llama_cpp_would_read_otherwise_is_refused(tmp_path: Path, other: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        export_gguf(tiny_checkpoint(**other), tmp_path / "tools.gguf")
    assert not list(tmp_path.iterdir())


@needs_llama_cpp
@families
def test_llama_cpp_reads_the_same_tokens_and_ranks_tools_alike(
    tmp_path: Path, architecture: Architecture, tied: bool
) -> None:
    check_llama_cpp(made(architecture, tied), tmp_path)


@needs_llama_cpp
@pytest.mark.weights
def test_llama_cpp_ranks_tools_alike_with_the_default_base(cached_base: Path, tmp_path: Path) -> None:
    base = open_model(cached_base, dtype=torch.float32), open_tokenizer(cached_base)
    check_llama_cpp(Checkpoint.from_model(*base, made().catalog, base="default"), tmp_path)


def check_llama_cpp(checkpoint: Checkpoint, folder: Path) -> None:
    export_gguf(checkpoint, folder / "tools.gguf", "f32")
    vocabulary = checkpoint.vocabulary
    asked: dict[str, Any] = {
        "texts": [*REQUESTS, vocabulary.tokens[0]],
        "prompts": prompts(checkpoint),
        "of": [*vocabulary.tool_token_ids],
    }
    run = subprocess.run(
        ["node", str(Path(__file__).with_name("llama_cpp.mjs")), str(folder / "tools.gguf")],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    answer = json.loads(run.stdout)
    *texts, token = answer["tokens"]
    assert texts == [checkpoint.tokenizer.encode(text, add_special_tokens=False) for text in REQUESTS]
    assert answer["special"][-1] == [vocabulary.tool_token_ids[0]] != token, "plain text is no token"
    for ids, ranked in zip(asked["prompts"], answer["ranked"], strict=True):
        ours = next_logits(checkpoint.model, ids)[list(vocabulary.tool_token_ids)]
        expected = [vocabulary.tool_token_ids[i] for i in ours.argsort(descending=True).tolist()]
        assert ranked[:3] == expected[:3]
