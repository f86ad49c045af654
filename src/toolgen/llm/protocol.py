"""LanguageModel: what writes synthetic requests, intents and feedback. Anything with `name` and `write` is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

ChatMessage = Mapping[str, str]
"""`role` and `content`, as OpenAI's chat messages."""


class LanguageModel(Protocol):
    """A language model that answers conversations; `name` goes into what is made of its answers."""

    name: str

    def write(
        self, prompts: Sequence[Sequence[ChatMessage]], *, max_tokens: int, temperature: float = 0.7, seed: int = 0
    ) -> list[str]:
        """One answer for each conversation, in their order, of at most `max_tokens` tokens. The same seed gives the same
        answers as far as the model allows; temperature 0 is greedy."""
