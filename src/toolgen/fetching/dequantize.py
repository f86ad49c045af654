"""A GGUF file into an ordinary model folder: float32 safetensors, tokenizer, chat template.

Knows no artifact and no cache.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from toolgen.errors import FetchError
from toolgen.fetching.opening import open_gguf, open_model, open_tokenizer, without_progress_bars


def dequantize(gguf: Path, folder: Path) -> None:
    """Writes the model folder and proves that it loads.

    Needs some four bytes a parameter on disk and twice that in memory; 135 million parameters take about 20 seconds.
    FetchError if the file is not a GGUF of a causal language model that transformers can read.
    """
    import torch

    with without_progress_bars():
        try:
            tokenizer, model = open_gguf(gguf, dtype=torch.float32)
        except (ValueError, KeyError, RuntimeError, ImportError) as error:
            raise FetchError(f"{gguf.name} cannot be read as a language model: {error}") from error
        _forget_quantization(model)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        _check_loads(folder)


def _forget_quantization(model: Any) -> None:
    """Lets a model that was read from a GGUF be saved.

    Its weights are plain float32 tensors after loading, but transformers (5.16 to 5.23) still marks it as quantized and
    then refuses with "quantized with gguf and is not serializable". These are internals: the test that converts the
    real base notices when they change.
    """
    model.hf_quantizer = None
    for name in ("is_quantized", "quantization_method"):
        if name in vars(model):
            delattr(model, name)
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config


def _check_loads(folder: Path) -> None:
    model, report = open_model(folder, output_loading_info=True)
    wrong = {kind: names for kind, names in report.items() if names}
    if wrong:
        raise FetchError(f"the converted model does not load completely: {wrong}")
    open_tokenizer(folder)
    del model
