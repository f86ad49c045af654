"""Requests to an engine that need no more than token ids: scores after a prompt, and free text behind it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from toolgen.inference.passes import ALL, Part, Rows
from toolgen.inference.sampling import Sampling, pick

if TYPE_CHECKING:
    from torch import Tensor

    from toolgen.inference.engine import Work


@dataclass(frozen=True)
class Scores:
    """The scores of the output `rows` (first, stop) after a prompt: a search, if these are the tools'; the next token's
    logits."""

    prompt: Sequence[int]
    rows: Rows = ALL

    def run(self, work: Work) -> Tensor:
        """One pass."""
        (scores_1R,) = work.run([Part(ids=self.prompt, rows=self.rows)])
        return scores_1R[0]


@dataclass(frozen=True)
class FreeText:
    """The tokens behind a prompt, at most `limit`, up to one of `stops`, which is left out; none of `never`. Each is an
    event."""

    prompt: Sequence[int]
    limit: int
    stops: Collection[int] = ()
    sampling: Sampling = field(default_factory=Sampling)
    seed: int = 0
    never: Sequence[int] = ()

    def run(self, work: Work) -> list[int]:
        """A pass over the prompt, then one for each token."""
        session = work.session(seed=self.seed)
        session.sync(self.prompt)
        written: list[int] = []
        while len(written) < min(self.limit, work.limit - len(self.prompt)):
            token = pick(self._allowed(session.logits_V), self.sampling, session.generator)
            if token in self.stops:
                break
            written.append(token)
            work.emit(token)
            if len(written) < min(self.limit, work.limit - len(self.prompt)):
                session.extend([token])
        return written

    def _allowed(self, logits_V: Tensor) -> Tensor:
        if not self.never:
            return logits_V
        allowed_V = logits_V.clone()
        allowed_V[list(self.never)] = float("-inf")
        return allowed_V
