"""A language model in a local folder that answers conversations. Knows no prompt."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

from toolgen.errors import LanguageModelError
from toolgen.fetching.opening import open_model, open_tokenizer, reason_of
from toolgen.inference.sampling import Sampling
from toolgen.llm.protocol import ChatMessage

if TYPE_CHECKING:
    from toolgen.virtualization import TextEncoder

TOP = 50
"""Tokens among which a sampled answer's next one is drawn; transformers' own default."""


class LocalModel:
    """Any Hugging Face model folder with a chat template; loaded at the first use, on a GPU if there is one.

    `concurrency` conversations are answered at once, those of several callers too; beginnings that they share are read once.
    LanguageModelError names a folder that cannot be opened.
    """

    def __init__(self, folder: Path, *, concurrency: int = 32) -> None:
        self.name = Path(folder).name
        self._folder, self._concurrency = Path(folder), concurrency
        self._opening = Lock()

    def write(
        self, prompts: Sequence[Sequence[ChatMessage]], *, max_tokens: int, temperature: float = 0.7, seed: int = 0
    ) -> list[str]:
        """See `LanguageModel`. An answer depends on its conversation, its place and the seed alone, up to rounding."""
        from toolgen.inference.requests import FreeText

        with self._opening:
            loaded = self._loaded
        sampling = Sampling(temperature=temperature, top_k=TOP)
        requests = []
        for place, prompt in enumerate(prompts):
            ids = loaded.encoder.encode_chat(prompt)
            drawn = random.Random(f"{seed} {place}").getrandbits(63)
            requests.append(FreeText(ids, max_tokens, loaded.stops, sampling, drawn, loaded.never))
        answers = [""] * len(requests)
        for place, tokens in loaded.engine.each(requests, self._concurrency):
            answers[place] = loaded.tokenizer.decode(tokens, skip_special_tokens=True).strip()
        return answers

    @cached_property
    def _loaded(self) -> _Loaded:
        from toolgen.checkpoint.checkpoint import device_of
        from toolgen.inference.engine import Engine
        from toolgen.virtualization import TextEncoder

        try:
            tokenizer = open_tokenizer(self._folder)
            model = open_model(self._folder, dtype="auto")
        except Exception as error:  # damaged files raise whatever the library that reads them raises
            raise LanguageModelError(f"cannot open the language model {self._folder}: {reason_of(error)}") from error
        if tokenizer.chat_template is None:
            raise LanguageModelError(
                f"the language model {self._folder} has no chat template; take an instruction-tuned one"
            )
        # A bf16 model on a processor that only emulates bf16 would be several times slower.
        device = device_of()
        model = model.float() if device.type == "cpu" else model.to(device)
        ends = model.generation_config.eos_token_id
        stops = {*(ends if isinstance(ends, list) else [ends]), tokenizer.eos_token_id} - {None}
        never = tuple(model.generation_config.suppress_tokens or ())
        return _Loaded(
            tokenizer,
            TextEncoder(tokenizer),
            frozenset(stops),
            never,
            Engine(model.eval(), concurrency=self._concurrency),
        )


class _Loaded(NamedTuple):
    tokenizer: Any
    encoder: TextEncoder
    stops: frozenset[int]
    never: tuple[int, ...]
    engine: Any
