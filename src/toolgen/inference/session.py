"""Session: token ids with the model's keys and values, so that a conversation is encoded once.

Knows integers and something that makes passes; no tool, grammar or message.
Shapes: K positions, V rows of the output matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from toolgen.errors import InputError, UsageError

if TYPE_CHECKING:
    import torch

    from toolgen.inference.passes import Passes


class ContextFullError(InputError):
    """The sequence would be longer than the model was made for."""


class Session:
    """One growing sequence. `ids` are the tokens encoded so far, `logits_V` the scores of what comes next.

    `passes` makes its passes, for this sequence alone (`Runner`) or together with others' (`Engine`); `seed` is that of its
    `generator`.
    """

    def __init__(self, passes: Passes, *, seed: int = 0) -> None:
        from toolgen.inference.cache import KeyValues

        self.encoded = 0
        self._passes = passes
        self._seed = seed
        self._cache = KeyValues()
        self._logits_V: torch.Tensor | None = None

    @property
    def ids(self) -> list[int]:
        """The tokens encoded so far."""
        return self._cache.ids

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

        return torch.Generator(device=self._passes.device).manual_seed(self._seed)

    @property
    def room(self) -> int:
        """Positions that are left."""
        return self._passes.limit - len(self.ids)

    def sync(self, ids: Sequence[int]) -> None:
        """Makes the sequence equal to `ids`: what agrees with the cache is kept, only the rest is encoded.

        Also what makes turns cheap: the caller renders the whole conversation, and its beginning is already here.
        """
        common = _common_prefix(self.ids, ids)
        if common == len(ids):
            # The scores after the last token are needed, so that token is encoded again.
            common -= 1
        self._cache.crop(max(common, 0))
        self.extend(ids[len(self.ids) :])

    def extend(self, ids: Sequence[int], *, keep: int = 1) -> torch.Tensor:
        """Encodes `ids` after what is there; returns the scores after each of the last `keep` of them [K, V].

        Raises ContextFullError if there is no room for them.
        """
        from toolgen.inference.passes import Part

        if len(ids) > self.room:
            raise ContextFullError(
                f"{len(self.ids) + len(ids)} tokens do not fit into the model's context of {self._passes.limit}; "
                "cut tool results shorter or use a model with a longer context"
            )
        before = len(self.ids)
        (logits_KV,) = self._passes.run([Part(ids=ids, cache=self._cache, keep=keep, stays=True)])
        self.encoded += len(self.ids) - before
        self._logits_V = logits_KV[-1]
        return logits_KV


def _common_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    for position, (a, b) in enumerate(zip(left, right, strict=False)):
        if a != b:
            return position
    return min(len(left), len(right))
