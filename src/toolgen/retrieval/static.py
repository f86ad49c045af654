"""A static encoder: one vector a word piece, distilled from a sentence encoder; a text is the mean of its pieces.

No transformer runs at search time, so it is the fast dense baseline. Tulkens and van Dongen, "Model2Vec: Fast
State-of-the-Art Static Embeddings" (2024); the method is written out here because the package's own distillation asks for a
transformers older than ours. Knows no tool. Shapes: V word pieces, D numbers a piece, H the width of the encoder.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from toolgen.errors import InputError
from toolgen.retrieval.dense import encoder_hash, load_encoder

DIMENSIONS = 256  # kept of the encoder's, those that vary most over the vocabulary
SIF = 1e-4  # smooth inverse frequency: pieces more frequent than this are held back (Arora et al. 2017)
_VERSION = 1  # of the method: another one is another folder
_CHUNK = 256  # word pieces encoded together

Matrix = npt.NDArray[np.float32]


def distilled(model: Path, cache: Path, on_progress: Callable[[int, int], None] | None = None) -> Path:
    """The folder of the static encoder made from the sentence-transformers folder `model`; made at the first time (a minute or
    two for MiniLM's 30,522 pieces on one core), and kept in `cache` by the encoder's content."""
    folder = cache / f"static-{_VERSION}-{encoder_hash(model)}"
    if folder.is_dir():
        return folder
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding

    from toolgen.checkpoint import replace_folder  # brings torch

    encoder = load_encoder(model)
    pieces = _pieces(encoder.tokenizer)
    vectors_VD = weighted(principal(_encode_pieces(encoder, pieces, on_progress), DIMENSIONS))
    whole = np.zeros((max(encoder.tokenizer.get_vocab().values()) + 1, vectors_VD.shape[1]), dtype=np.float32)
    whole[pieces] = vectors_VD
    tokenizer = encoder.tokenizer.backend_tokenizer
    tokenizer.no_truncation()  # the limit was the transformer's
    static = SentenceTransformer(modules=[StaticEmbedding(tokenizer, whole), Normalize()], device="cpu")
    cache.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(dir=cache, prefix=".building."))
    try:
        static.save(str(building), create_model_card=False)
        for path in building.rglob("*"):  # mkdtemp and safetensors make private ones; a cache may be shared
            path.chmod(0o755 if path.is_dir() else 0o644)
        building.chmod(0o755)
        replace_folder(building, folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return folder


def principal(vectors_VH: Matrix, dimensions: int) -> Matrix:
    """The centred vectors in the directions in which they vary most. (V, min(dimensions, H))"""
    centred_VH = vectors_VH - vectors_VH.mean(axis=0)
    _, axes_HH = np.linalg.eigh(centred_VH.T @ centred_VH)  # least variance first
    return np.asarray(centred_VH @ axes_HH[:, ::-1][:, :dimensions], dtype=np.float32)


def weighted(vectors_VD: Matrix) -> Matrix:
    """The vectors, those of frequent pieces shorter. Vocabularies are sorted by frequency, so that Zipf's law (frequency
    falls as 1 / place) stands for counts."""
    places_V = 1 / np.arange(2, len(vectors_VD) + 2)
    frequency_V = places_V / places_V.sum()
    return np.asarray(vectors_VD * (SIF / (SIF + frequency_V))[:, None], dtype=np.float32)


def _pieces(tokenizer: Any) -> list[int]:
    """The token ids that texts are made of, in their order: not the special ones, nor BERT's reserve `[unused12]`."""
    special = set(tokenizer.all_special_ids)
    vocabulary = tokenizer.get_vocab()
    return sorted(i for piece, i in vocabulary.items() if i not in special and not piece.startswith("[unused"))


def _encode_pieces(encoder: Any, pieces: list[int], on_progress: Callable[[int, int], None] | None) -> Matrix:
    """Each piece as a text of its own, between the encoder's special tokens: the mean of its last hidden states. (V, H)"""
    import torch

    tokenizer = encoder.tokenizer
    around, alone = tokenizer("a")["input_ids"], tokenizer("a", add_special_tokens=False)["input_ids"]
    if not alone or alone[0] not in around:
        raise InputError(
            f"the tokenizer of {encoder[0]} cuts texts in an unknown way; take an encoder with word pieces"
        )
    before, after = around[: around.index(alone[0])], around[around.index(alone[0]) + len(alone) :]
    found = []
    for start in range(0, len(pieces), _CHUNK):
        ids_BT = torch.tensor([[*before, piece, *after] for piece in pieces[start : start + _CHUNK]])
        with torch.inference_mode():
            hidden_BTH = encoder[0](
                {
                    "input_ids": ids_BT.to(encoder.device),
                    "attention_mask": torch.ones_like(ids_BT, device=encoder.device),
                }
            )["token_embeddings"]
        found.append(hidden_BTH.float().mean(dim=1).cpu().numpy())
        if on_progress:
            on_progress(min(start + _CHUNK, len(pieces)), len(pieces))
    return np.concatenate(found)
