"""Likelihoods: how probable each token was that a step has drawn, beside what it added to the text. Knows no wire format."""

from __future__ import annotations

from dataclasses import dataclass, replace

from toolgen.agent import GenerativePolicy
from toolgen.inference.session import Draw


@dataclass(frozen=True)
class Likelihood:
    """What a token has added to the text that a client sees (nothing, if that is a quote or a half character), and the
    logarithm of the probability with which it was drawn among what was legal there. What left no choice has 0, and may be
    several tokens. `likeliest` are the likeliest tokens. Of an action's choice (`is_choice`) these are names of actions."""

    text: str
    log_probability: float = 0.0
    likeliest: tuple[tuple[str, float], ...] = ()
    is_choice: bool = False


class Likelihoods:
    """Collects them: every draw is to be given to `hear`, then what came of it to `wrote`."""

    def __init__(self, policy: GenerativePolicy) -> None:
        self._policy = policy
        self._draws: list[Draw] = []
        self._length = 0
        self._waiting: list[tuple[int, Likelihood]] = []
        self._taken: list[Likelihood] = []

    def hear(self, draw: Draw) -> None:
        """Takes a draw."""
        self._draws.append(draw)

    def chose(self, action: str) -> None:
        """The draws were those of an action."""
        self._wait(action, is_choice=True)

    def wrote(self, text: str) -> None:
        """The text is this now. It may be shorter than before: what ends it is no part of it."""
        if len(text) < self._length:
            self._cut(len(text))
            self._draws = []
        added, self._length = text[self._length :], len(text)
        if added or self._draws:
            self._wait(added)

    def take(self, until: int) -> tuple[Likelihood, ...]:
        """Those of the text up to there that were not taken before."""
        taken = [one for end, one in self._waiting if end <= until]
        self._waiting = self._waiting[len(taken) :]
        self._taken += taken
        return tuple(taken)

    @property
    def taken(self) -> tuple[Likelihood, ...]:
        """All that were taken."""
        return tuple(self._taken)

    def _wait(self, text: str, *, is_choice: bool = False) -> None:
        draws, self._draws = self._draws, []
        name = self._policy.checkpoint.vocabulary.tool_id if is_choice else self._policy.decoder.token_text
        likeliest = draws[0].likeliest if len(draws) == 1 else ()
        named = [(name(token), share) for token, share in likeliest]
        # Where a tool is several tokens, the first of them names none.
        known = tuple((text, share) for text, share in named if text is not None)
        one = Likelihood(text, sum(draw.log_probability for draw in draws), known, is_choice)
        self._waiting.append((self._length, one))

    def _cut(self, length: int) -> None:
        kept = []
        for end, one in self._waiting:
            start = end - (0 if one.is_choice else len(one.text))
            if start <= length:
                kept.append((min(end, length), one if end <= length else replace(one, text=one.text[: length - start])))
        self._waiting, self._length = kept, length
