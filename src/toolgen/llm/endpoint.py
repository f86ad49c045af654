"""A language model behind an OpenAI-compatible endpoint (`POST /chat/completions`): OpenAI, vLLM, Ollama, llama.cpp, ...

By the official client, which retries and waits as the server asks; what it sends goes through `foreign/web.py`, so that an
answer is bounded in bytes and seconds and no redirect takes the prompts or the key elsewhere. Knows no prompt.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from toolgen.errors import InputError, LanguageModelError, MissingExtraError
from toolgen.foreign.data import clean_text
from toolgen.foreign.web import exchange
from toolgen.llm.protocol import ChatMessage

KEY_VARIABLE = "OPENAI_API_KEY"
MAX_ANSWER_BYTES = 16 << 20
WORKERS = 4  # requests under way at once
# Of one connection: nothing that the answer as a whole could be told by.
_OF_CONNECTION = frozenset({"host", "connection", "content-length", "content-encoding", "transfer-encoding"})
_CONTROL = re.compile(r"<(?=[^\s<>]{1,64}>)|\[(?=/?[A-Z_]{2,32}\])")


class EndpointModel:
    """Asks `model` at `url`, for example http://localhost:8000/v1. A request may take `timeout` seconds.

    The key is read from the environment variable OPENAI_API_KEY; servers that want none get a placeholder. Raises
    MissingExtraError without the package `openai`, LanguageModelError if the endpoint cannot be used.
    """

    def __init__(self, model: str, url: str, *, timeout: float = 60.0, retries: int = 3) -> None:
        openai = _openai()
        self.name = model
        self._url, self._error = url, openai.OpenAIError
        self._client = openai.OpenAI(
            base_url=url,
            api_key=os.environ.get(KEY_VARIABLE, "").strip() or "none",
            max_retries=retries,
            http_client=_client(timeout),
        )

    def write(
        self, prompts: Sequence[Sequence[ChatMessage]], *, max_tokens: int, temperature: float = 0.7, seed: int = 0
    ) -> list[str]:
        """See `LanguageModel`. A failure ends the whole call; requests that were not begun are not sent."""
        ask = partial(self._ask, max_tokens=max_tokens, temperature=temperature, seed=seed)
        with ThreadPoolExecutor(WORKERS) as pool:
            futures = [pool.submit(ask, prompt) for prompt in prompts]
            try:
                return [future.result() for future in futures]
            finally:
                pool.shutdown(cancel_futures=True)

    def _ask(self, prompt: Sequence[ChatMessage], **options: Any) -> str:
        try:
            messages: Any = [{**message, "content": _broken_up(message["content"])} for message in prompt]
            answer = self._client.chat.completions.create(model=self.name, messages=messages, **options)
            return clean_text(str(answer.choices[0].message.content or ""))
        except (self._error, AttributeError, IndexError, TypeError, ValueError) as error:
            raise LanguageModelError(
                f"the model {self.name!r} at {self._url} gave no answer: {_one_line(error)}; check the address (it usually "
                f"ends in /v1), the model's name and {KEY_VARIABLE}"
            ) from error


def _broken_up(text: str) -> str:
    """A text without what models write turns with: servers put it into their prompts as it is, and how they cut it into tokens
    is not known here. `<|end|>` becomes `< |end|>`, `[INST]` `[ INST]`."""
    return _CONTROL.sub(r"\g<0> ", text)


def _client(seconds: float) -> Any:
    """An HTTP client for the official one."""
    import httpx2

    class Bounded(httpx2.BaseTransport):
        def handle_request(self, request: httpx2.Request) -> httpx2.Response:
            headers = {
                name: value
                for name, value in request.headers.items()
                if name.lower() not in _OF_CONNECTION | {"accept-encoding"}
            }
            try:
                got = exchange(
                    request.method,
                    str(request.url),
                    headers,
                    request.read(),
                    limit=MAX_ANSWER_BYTES,
                    trusted=True,
                    seconds=seconds,
                )
            except InputError as error:
                raise httpx2.ConnectError(str(error)) from error
            kept = {name: value for name, value in got.headers.items() if name.lower() not in _OF_CONNECTION}
            return httpx2.Response(got.status, headers=kept, content=got.data)

    return httpx2.Client(transport=Bounded(), follow_redirects=False)


def _one_line(error: Exception) -> str:
    cause = f" ({error.__cause__})" if isinstance(error.__cause__, Exception) else ""
    return f"{type(error).__name__}: {' '.join(f'{error}{cause}'.split())}"[:300]


def _openai() -> Any:
    try:
        import openai
    except ImportError as error:
        raise MissingExtraError("openai", "llm") from error
    return openai
