"""A language model behind an OpenAI-compatible endpoint (`POST /chat/completions`): OpenAI, vLLM, Ollama, llama.cpp, ...

By the official client, which retries and waits as the server asks. Knows no prompt.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from toolgen.errors import LanguageModelError, MissingExtraError
from toolgen.llm.protocol import ChatMessage

KEY_VARIABLE = "OPENAI_API_KEY"


class EndpointModel:
    """Asks `model` at `url`, for example http://localhost:8000/v1; at most `workers` requests are under way at once.

    The key is read from the environment variable OPENAI_API_KEY; servers that want none get a placeholder. Raises
    MissingExtraError without the package `openai`, LanguageModelError if the endpoint cannot be used.
    """

    def __init__(self, model: str, url: str, *, workers: int = 4, timeout: float = 60.0, retries: int = 3) -> None:
        openai = _openai()
        self.name = model
        self._url, self._workers, self._error = url, workers, openai.OpenAIError
        self._client = openai.OpenAI(
            base_url=url, api_key=os.environ.get(KEY_VARIABLE) or "none", timeout=timeout, max_retries=retries
        )

    def write(
        self, prompts: Sequence[Sequence[ChatMessage]], *, max_tokens: int, temperature: float = 0.7, seed: int = 0
    ) -> list[str]:
        """See `LanguageModel`. A failure ends the whole call; requests that were not begun are not sent."""
        ask = partial(self._ask, max_tokens=max_tokens, temperature=temperature, seed=seed)
        with ThreadPoolExecutor(self._workers) as pool:
            futures = [pool.submit(ask, prompt) for prompt in prompts]
            try:
                return [future.result() for future in futures]
            finally:
                pool.shutdown(cancel_futures=True)

    def _ask(self, prompt: Sequence[ChatMessage], **options: Any) -> str:
        try:
            answer = self._client.chat.completions.create(model=self.name, messages=list(prompt), **options)
            return str(answer.choices[0].message.content or "")
        except (self._error, AttributeError, IndexError, TypeError) as error:
            raise LanguageModelError(
                f"the model {self.name!r} at {self._url} gave no answer: {_one_line(error)}; check the address (it usually "
                f"ends in /v1), the model's name and {KEY_VARIABLE}"
            ) from error


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]


def _openai() -> Any:
    try:
        import openai
    except ImportError as error:
        raise MissingExtraError("openai", "llm") from error
    return openai
