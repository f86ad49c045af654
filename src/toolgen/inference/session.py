"""Session: token ids with the model's keys and values, so that a conversation is encoded once.

Knows integers and something that makes passes; no tool, grammar or message.
Shapes: K positions, V rows of the output matrix, A tokens that a mask tells of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from toolgen.errors import InputError, UsageError
from toolgen.inference.sampling import GREEDY_BELOW, Sampling, pick

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

    from toolgen.inference.passes import Passes

    Allowed = npt.NDArray[np.bool_] | npt.NDArray[np.int64] | None
    """Which tokens may be drawn: a mask over the first of the vocabulary, or their ids; None for all."""


class ContextFullError(InputError):
    """The sequence would be longer than the model was made for."""


@dataclass(frozen=True, eq=False)
class Draw:
    """A token that was drawn behind `ids` (the session's own list, which will grow), and its log probability among those that
    were `allowed`, at the temperature of the draw (greedy: 1). `purpose` is the caller's word for what it is a part of,
    empty for a tool.
    `likeliest` are the likeliest of the allowed and their log probabilities, as many as the session was asked for."""

    ids: Sequence[int]
    token: int
    allowed: Allowed
    log_probability: float
    purpose: str
    likeliest: tuple[tuple[int, float], ...] = ()


OnDraw = Callable[[Draw], None]


class Session:
    """One growing sequence. `ids` are the tokens encoded so far, `logits_V` the scores of what comes next.

    `passes` makes its passes, for this sequence alone (`Runner`) or together with others' (`Engine`); `seed` is that of its
    `generator`. `on_draw` hears of each token that is drawn, with as many of the `likeliest`.
    """

    def __init__(self, passes: Passes, *, seed: int = 0, on_draw: OnDraw | None = None, likeliest: int = 0) -> None:
        from toolgen.inference.cache import KeyValues

        self.encoded = 0
        self._on_draw, self._likeliest = on_draw, likeliest
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

    def draw(
        self,
        sampling: Sampling,
        allowed: Allowed = None,
        *,
        purpose: str = "",
        scores: torch.Tensor | None = None,
    ) -> int:
        """A token that may follow, one of those `allowed`; the sequence stays as it is. `scores` are those of the allowed token
        ids, where they are others than the model's."""
        import torch

        if scores is None:
            scores = self._scores(allowed)
        place = pick(scores, sampling, self.generator)
        token = place if allowed is None or allowed.dtype == bool else int(allowed[place])
        if self._on_draw:
            temperature = 1.0 if sampling.temperature < GREEDY_BELOW else sampling.temperature
            shares = torch.log_softmax(scores / temperature, dim=-1)
            best, places = shares.topk(min(self._likeliest, len(shares)))
            ids = (
                places.tolist() if allowed is None or allowed.dtype == bool else allowed[places.cpu().numpy()].tolist()
            )
            likeliest = tuple(pair for pair in zip(ids, best.tolist(), strict=True) if pair[1] > float("-inf"))
            probability = float(shares[place])
            self._on_draw(Draw(self.ids, token, allowed, probability, purpose, likeliest))
        return token

    def _scores(self, allowed: Allowed) -> torch.Tensor:
        """The model's scores of what is allowed."""
        import torch

        if allowed is None:
            return self.logits_V
        if allowed.dtype == bool:
            mask_A = torch.from_numpy(allowed).to(self.logits_V.device)
            return self.logits_V[: len(allowed)].masked_fill(~mask_A, float("-inf"))
        return self.logits_V[torch.from_numpy(allowed).to(self.logits_V.device)]

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
