"""Session: token ids with the model's key-value cache, so that a conversation is encoded once.

Knows a Hugging Face causal language model and integers; no tool, grammar or message.
Shapes: B = 1 sequence, T positions, V rows of the output matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from toolgen.errors import InputError, UsageError

if TYPE_CHECKING:
    import torch

Forward = Callable[[Sequence[int], Any, int], "torch.Tensor"]
"""One pass over new tokens, which join the key-value cache; the scores after each of the last `keep` of them [keep, V]."""


class ContextFullError(InputError):
    """The sequence would be longer than the model was made for."""


class Session:
    """One growing sequence. `ids` are the tokens encoded so far, `logits_V` the scores of what comes next.

    `forward` makes its passes (by default the model, for this sequence alone); `seed` is that of its `generator`.
    """

    def __init__(self, model: Any, *, forward: Forward | None = None, seed: int = 0) -> None:
        self.ids: list[int] = []
        self.encoded = 0
        self._model = model
        self._forward = forward or partial(_forward_alone, model)
        self._seed = seed
        self._cache: Any = None
        self._logits_V: torch.Tensor | None = None

    @property
    def logits_V(self) -> torch.Tensor:
        """Scores of the next token [V], float32."""
        if self._logits_V is None:
            raise UsageError("the session is empty: extend it with at least one token before reading its scores")
        return self._logits_V

    @cached_property
    def generator(self) -> torch.Generator:
        """What draws of this sequence's tokens come from."""
        import torch

        return torch.Generator(device=self._model.device).manual_seed(self._seed)

    @property
    def limit(self) -> int:
        """Positions that the model was made for."""
        return int(getattr(self._model.config, "max_position_embeddings", None) or 1 << 30)

    @property
    def room(self) -> int:
        """Positions that are left."""
        return self.limit - len(self.ids)

    def sync(self, ids: Sequence[int]) -> None:
        """Makes the sequence equal to `ids`: what agrees with the cache is kept, only the rest is encoded.

        Also what makes turns cheap: the caller renders the whole conversation, and its beginning is already here.
        """
        common = _common_prefix(self.ids, ids)
        if common == len(ids):
            # The scores after the last token are needed, so that token is encoded again.
            common -= 1
        self._crop(max(common, 0))
        self.extend(ids[len(self.ids) :])

    def extend(self, ids: Sequence[int], *, keep: int = 1) -> torch.Tensor:
        """Encodes `ids` after what is there; returns the scores after each of the last `keep` of them [keep, V].

        Raises ContextFullError if there is no room for them.
        """
        from transformers import DynamicCache

        if len(ids) > self.room:
            raise ContextFullError(
                f"{len(self.ids) + len(ids)} tokens do not fit into the model's context of {self.limit}; "
                "cut tool results shorter or use a model with a longer context"
            )

        if self._cache is None:
            self._cache = DynamicCache(config=self._model.config)
        logits_TV = self._forward(ids, self._cache, keep)
        self.ids.extend(ids)
        self.encoded += len(ids)
        self._logits_V = logits_TV[-1]
        return logits_TV

    def _crop(self, length: int) -> None:
        surplus = len(self.ids) - length
        if surplus == 0:
            return
        try:
            self._cache.crop(-surplus)
            del self.ids[length:]
        except (RuntimeError, AttributeError, NotImplementedError):
            # Recurrent and sliding-window layers cannot forget single tokens: begin again.
            self._cache, self.ids = None, []


def _forward_alone(model: Any, ids: Sequence[int], cache: Any, keep: int) -> torch.Tensor:
    import torch

    with torch.inference_mode():
        output = model(
            input_ids=torch.tensor([list(ids)], device=model.device),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=keep,
        )
    # `logits_to_keep` is an optimization that a model may ignore; then all T positions come back.
    logits_TV: torch.Tensor = output.logits[0, -keep:].float()
    return logits_TV


def _common_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    for position, (a, b) in enumerate(zip(left, right, strict=False)):
        if a != b:
            return position
    return min(len(left), len(right))
