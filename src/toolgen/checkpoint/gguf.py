"""A checkpoint as one GGUF file, for llama.cpp and what is built on it.

The vocabulary stays as it is: the n-th row of the file is the n-th row of the checkpoint, tool tokens are control tokens, which
text alone never becomes. Tensors are copied one at a time. Source: the GGUF specification (ggml/docs/gguf.md) and llama.cpp's
`convert_hf_to_gguf.py`, whose names of metadata these are.
Shapes: O outputs and D inputs of a weight matrix.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFWriter, LlamaFileType, TokenType, quants
from gguf.constants import MODEL_ARCH, MODEL_ARCH_NAMES
from gguf.tensor_mapping import get_tensor_name_map
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from toolgen import files
from toolgen.checkpoint.checkpoint import Checkpoint
from toolgen.checkpoint.layout import Precision
from toolgen.errors import UsageError

OnTensor = Callable[[int, int], None]
"""How many tensors are written, of how many."""
PRECISIONS: Mapping[Precision, tuple[GGMLQuantizationType, LlamaFileType]] = {
    "f16": (GGMLQuantizationType.F16, LlamaFileType.MOSTLY_F16),
    "bf16": (GGMLQuantizationType.BF16, LlamaFileType.MOSTLY_BF16),
    "f32": (GGMLQuantizationType.F32, LlamaFileType.ALL_F32),
    "q8_0": (GGMLQuantizationType.Q8_0, LlamaFileType.MOSTLY_Q8_0),
}
ARCHITECTURES: Mapping[str, MODEL_ARCH] = {
    "llama": MODEL_ARCH.LLAMA,
    "qwen2": MODEL_ARCH.QWEN2,
    "qwen3": MODEL_ARCH.QWEN3,
}
"""By `model_type`: those whose layers are copied as they are (but for the order of Llama's rotated pairs)."""

QWEN2_PIECES = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA3_PIECES = QWEN2_PIECES.replace(r"\p{N}|", r"\p{N}{1,3}|", 1)


def export_gguf(
    checkpoint: Checkpoint,
    output: Path,
    precision: Precision = "f16",
    on_tensor: OnTensor | None = None,
) -> None:
    """Writes the file, whole or not at all. Raises UsageError for a base or a tokenizer that llama.cpp does not know by
    one of the names here."""
    config = checkpoint.model.config
    arch = ARCHITECTURES.get(config.model_type)
    if arch is None:
        raise UsageError(
            f"a base of type {config.model_type!r} cannot be written as GGUF; expected one of {', '.join(ARCHITECTURES)}"
        )
    pieces = _pieces(checkpoint.tokenizer)  # before the file is opened
    with files.new_file(output) as file:
        writer = GGUFWriter(file.name, MODEL_ARCH_NAMES[arch])
        try:
            _describe(writer, checkpoint, precision)
            _shape(writer, config)
            _vocabulary(writer, checkpoint, pieces)
            _tensors(writer, checkpoint.model, arch, precision, on_tensor)
        finally:
            writer.close()


def _describe(writer: GGUFWriter, checkpoint: Checkpoint, precision: Precision) -> None:
    writer.add_name(f"{checkpoint.base}, {len(checkpoint.catalog)} tools")
    writer.add_file_type(PRECISIONS[precision][1])
    writer.add_string("toolgen.catalog_hash", checkpoint.catalog.content_hash)
    writer.add_string("toolgen.vocabulary", json.dumps(checkpoint.vocabulary.to_dict(), ensure_ascii=False))


def _shape(writer: GGUFWriter, config: PretrainedConfig) -> None:
    rope = config.rope_parameters
    if rope.get("rope_type", "default") != "default":
        raise UsageError(f"positions of the type {rope['rope_type']!r} cannot be written as GGUF; expected 'default'")
    head = _head_size(config)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(rope["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)


def _vocabulary(writer: GGUFWriter, checkpoint: Checkpoint, pieces: str) -> None:
    """Tokens by id. Rows of the matrices beyond the tokenizer's last id are unused tokens."""
    tokenizer = checkpoint.tokenizer
    count = checkpoint.model.get_input_embeddings().weight.shape[0]
    by_id = {i: token for token, i in tokenizer.get_vocab().items()}
    added = {i: one.special for i, one in tokenizer.added_tokens_decoder.items()}
    of_tools = range(checkpoint.vocabulary.first_id, count)
    tokens, types = [], []
    for i in range(count):
        tokens.append(by_id.get(i, f"[PAD{i}]"))
        if i not in by_id:
            types.append(TokenType.UNUSED)
        elif added.get(i) or i in of_tools:
            types.append(TokenType.CONTROL)
        else:
            types.append(TokenType.USER_DEFINED if i in added else TokenType.NORMAL)
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pieces)
    writer.add_vocab_size(count)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([one if isinstance(one, str) else " ".join(one) for one in merges])
    writer.add_eos_token_id(checkpoint.protocol.end_id)
    if tokenizer.bos_token_id is not None:
        writer.add_bos_token_id(tokenizer.bos_token_id)
    if tokenizer.pad_token_id is not None:
        writer.add_pad_token_id(tokenizer.pad_token_id)
    # The template writes the beginning itself where the base has one.
    writer.add_add_bos_token(False)
    writer.add_chat_template(tokenizer.chat_template)


def _pieces(tokenizer: PreTrainedTokenizerBase) -> str:
    """llama.cpp's name for how the tokenizer splits a text before it merges bytes."""
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    if backend["model"]["type"] == "BPE" and _is_plain(backend.get("normalizer")):
        steps = backend.get("pre_tokenizer") or {}
        steps = steps.get("pretokenizers", [steps])
        known = {
            "gpt-2": [("ByteLevel", True)],
            "smollm": [("Digits", True), ("ByteLevel", True)],
            "qwen2": [("Split", QWEN2_PIECES), ("ByteLevel", False)],
            "llama-bpe": [("Split", LLAMA3_PIECES), ("ByteLevel", False)],
        }
        found = [(one["type"], _how(one)) for one in steps if not one.get("add_prefix_space")]
        for name, expected in known.items():
            if found == expected:
                return name
    raise UsageError(
        "the base's tokenizer splits texts in a way that cannot be written as GGUF; expected byte-level BPE as GPT-2, SmolLM, "
        "Qwen 2 or Llama 3 have it"
    )


def _is_plain(normalizer: Mapping[str, Any] | None) -> bool:
    return normalizer is None or normalizer.get("type") == "NFC"


def _how(step: Mapping[str, Any]) -> object:
    match step["type"]:
        case "ByteLevel":
            return step["use_regex"]
        case "Digits":
            return step["individual_digits"]
        case "Split":
            return step["pattern"].get("Regex")
    return None


def _tensors(
    writer: GGUFWriter,
    model: PreTrainedModel,
    arch: MODEL_ARCH,
    precision: Precision,
    on_tensor: OnTensor | None,
) -> None:
    """Writes what is not the same twice: a tied output matrix is the input's."""
    config = model.config
    names = get_tensor_name_map(arch, config.num_hidden_layers)
    chosen: list[tuple[str, Tensor, GGMLQuantizationType]] = []
    for name, value in model.state_dict().items():
        if config.tie_word_embeddings and name.startswith("lm_head"):
            continue
        known = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if known is None:
            raise UsageError(f"the base's weight {name!r} has no place in a GGUF of {MODEL_ARCH_NAMES[arch]}")
        kind = _kind(value, precision)
        block, size = GGML_QUANT_SIZES[kind]
        # Of the type alone "uint8" would be read, as bytes of a quantized tensor.
        writer.add_tensor_info(known, value.shape, np.dtype(np.float32), value.numel() // block * size, raw_dtype=kind)
        chosen.append((name, value, kind))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for number, (name, value, kind) in enumerate(chosen):
        values = value.detach().float().cpu()
        if arch == MODEL_ARCH.LLAMA and name.rpartition(".")[0].endswith(("q_proj", "k_proj")):
            values = _paired(values, _head_size(config))
        writer.write_tensor_data(quants.quantize(values.numpy(), kind))
        if on_tensor:
            on_tensor(number + 1, len(chosen))


def _kind(value: Tensor, precision: Precision) -> GGMLQuantizationType:
    """Vectors stay in fp32, as llama.cpp wants them; a matrix whose rows are no whole blocks is fp16."""
    if value.dim() < 2:
        return GGMLQuantizationType.F32
    kind = PRECISIONS[precision][0]
    return kind if value.shape[-1] % GGML_QUANT_SIZES[kind][0] == 0 else GGMLQuantizationType.F16


def _paired(values: Tensor, head: int) -> Tensor:
    """A weight (O, D) or a bias (O) with rotated pairs side by side (Llama's own order) where Hugging Face has them half a
    head apart."""
    return values.reshape(-1, 2, head // 2, *values.shape[1:]).transpose(1, 2).reshape(values.shape).contiguous()


def _head_size(config: PretrainedConfig) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)
