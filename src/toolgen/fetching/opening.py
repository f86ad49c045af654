"""Opens model folders, which may come from anyone, as data: no code of theirs runs, and weights are read from safetensors only.

The one place that calls the readers of transformers and sentence-transformers. Left to themselves they ask on the terminal
whether to run a folder's code, and advise to allow it. Errors are the libraries' own; `reason_of` says them in one line.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from toolgen.errors import InputError, MissingExtraError

OWN_CODE = (
    "it needs Python code of its own (auto_map in its configuration), and toolgen runs no code from a model folder; "
    "take a model whose architecture transformers itself has"
)


def open_tokenizer(folder: Path, **settings: Any) -> Any:
    """The tokenizer of a model folder."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, **settings)


def open_model(folder: Path, **settings: Any) -> Any:
    """The causal language model of a model folder."""
    from transformers import AutoModelForCausalLM

    with without_progress_bars():
        return AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=False, use_safetensors=True, **settings)


def open_gguf(gguf: Path, **settings: Any) -> tuple[Any, Any]:
    """Tokenizer and model of a GGUF file, which holds data only."""
    from transformers import AutoModelForCausalLM

    tokenizer = open_tokenizer(gguf.parent, gguf_file=gguf.name)
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, trust_remote_code=False, use_safetensors=True, **settings
    )
    return tokenizer, model


def model_without_weights(folder: Path) -> Any:
    """The causal language model that a folder or its `config.json` describes, on the device of the caller."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    return AutoModelForCausalLM.from_config(config, trust_remote_code=False)


def open_encoder(folder: Path) -> Any:
    """The sentence encoder of a folder. MissingExtraError without sentence-transformers, InputError for another folder."""
    check_encoder(folder)
    try:
        from sentence_transformers import SentenceTransformer

        safe = {"trust_remote_code": False, "use_safetensors": True}
        encoder = SentenceTransformer(str(folder), local_files_only=True, trust_remote_code=False, model_kwargs=safe)
    except ImportError as error:
        raise MissingExtraError("sentence-transformers", "dense") from error
    except Exception as error:  # damaged files raise whatever the library that reads them raises
        raise InputError(f"{folder} cannot be opened as a sentence encoder: {reason_of(error)}") from error
    encoder.tokenizer.split_special_tokens = True  # a text that holds `[SEP]` has no separator
    return encoder


def check_encoder(folder: Path) -> None:
    """InputError for a folder that is no sentence encoder's."""
    if not any((folder / name).is_file() for name in ("config.json", "modules.json")):
        raise InputError(
            f"{folder} is not a sentence-transformers folder (no config.json or modules.json); "
            "fetch one with: toolgen fetch base all-minilm-l6-v2"
        )


def reason_of(error: BaseException) -> str:
    """Why a folder cannot be opened, in one line."""
    text = " ".join(str(error).split())
    return OWN_CODE if "trust_remote_code" in text else text[:300] or type(error).__name__


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """Our own messages say what happens; the setting of the caller's process is put back."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
