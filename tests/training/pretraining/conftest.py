"""What the tests of pretraining share: a tiny corpus of two catalogs, a tiny base, and an encoder that counts letters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from toolgen.testing import tiny_base, tiny_dataset
from toolgen.training.pretraining.config import PretrainConfig
from toolgen.training.pretraining.corpus import Corpus, TrainingCatalog

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def embed(texts: Sequence[str]) -> npt.NDArray[np.float32]:
    """Texts as the numbers of their letters, of length 1."""
    counts = np.array([[1e-3 + text.lower().count(letter) for letter in LETTERS] for text in texts], dtype=np.float32)
    counts = counts.reshape(len(texts), len(LETTERS))
    vectors: npt.NDArray[np.float32] = counts / np.linalg.norm(counts, axis=1, keepdims=True)
    return vectors


@pytest.fixture(scope="session")
def corpus() -> Corpus:
    one = TrainingCatalog.of(tiny_dataset())
    return Corpus((one, replace(one, name="again", weight=1.0)))


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("pretraining") / "base")


@pytest.fixture
def config() -> PretrainConfig:
    return PretrainConfig(
        steps=4,
        requests=16,
        groups=2,
        conversations=3,
        replayed=2,
        replay_texts=4,
        replay_tokens=8,
        rank=2,
        learning_rate=3e-3,
        pass_tokens=1024,
        document_tokens=96,
        workers=0,
        save_minutes=60,
    )
