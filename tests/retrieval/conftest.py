"""A small catalog with words that overlap, and an encoder that needs no weights."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toolgen.catalog import Catalog, Tool
from toolgen.catalog.words import words
from toolgen.llm import ChatMessage
from toolgen.retrieval import DenseRetriever


def tool(name: str, description: str, provider: str = "demo") -> Tool:
    return Tool(id=f"{provider}&&{name}", provider=provider, name=name, description=description)


@pytest.fixture
def catalog() -> Catalog:
    return Catalog(
        [
            tool("getWeather", "Current weather of a city"),
            tool("get_forecast", "Weather of the coming days in a city"),
            tool("send_mail", "Sends an electronic letter to a person"),
            tool("convert_currency", "Converts an amount of money between currencies"),
            tool("Übersetzen", "Translates a text into German"),
            tool("копировать", "Copies a file from one folder to another"),
        ]
    )


class BagOfWordsEncoder:
    """Stands in for a sentence encoder: each word has a fixed random direction, a text is their sum."""

    def __init__(self) -> None:
        self.encoded: list[str] = []

    def encode(self, texts: Sequence[str], **_: Any) -> np.ndarray[Any, Any]:
        self.encoded += texts
        vectors = np.stack([sum((self._word(w) for w in words(text)), np.full(32, 1e-3)) for text in texts])
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))

    def _word(self, word: str) -> np.ndarray[Any, Any]:
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big")
        return np.random.default_rng(seed).normal(size=32)


@pytest.fixture
def encoder() -> BagOfWordsEncoder:
    return BagOfWordsEncoder()


@pytest.fixture
def encoder_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "encoder"
    folder.mkdir()
    (folder / "config.json").write_text("{}", encoding="utf-8")
    return folder


@pytest.fixture
def dense(encoder: BagOfWordsEncoder, encoder_folder: Path, monkeypatch: pytest.MonkeyPatch) -> DenseRetriever:
    monkeypatch.setattr(DenseRetriever, "_load", lambda self: encoder)
    return DenseRetriever(encoder_folder)


class ScriptedModel:
    """Stands in for a language model: answers by a function of the last message, and keeps what it was asked."""

    name = "scripted"

    def __init__(self, answer: Callable[[str], str] = lambda text: "") -> None:
        self.answer = answer
        self.asked: list[str] = []

    def write(
        self, prompts: Sequence[Sequence[ChatMessage]], *, max_tokens: int, temperature: float = 0.7, seed: int = 0
    ) -> list[str]:
        del max_tokens, temperature, seed
        texts = [prompt[-1]["content"] for prompt in prompts]
        self.asked += texts
        return [self.answer(text) for text in texts]


@pytest.fixture
def scripted() -> type[ScriptedModel]:
    return ScriptedModel
