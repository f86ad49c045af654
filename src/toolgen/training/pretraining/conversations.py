"""Conversations of a catalog as pretraining draws them: as they are, with other values, joined with others. Knows no model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random

from toolgen.catalog.catalog import Catalog
from toolgen.datasets.messages import NO_TOOL, actions_of
from toolgen.datasets.trajectory import Message
from toolgen.training.joining import Partners, calls_in, is_joinable, join_requests
from toolgen.training.pretraining.corpus import TrainingCatalog
from toolgen.training.varying import SEVERAL_VALUES, OtherValues


class Conversations:
    """Of `catalog`; a share `vary` of those of one request is drawn with other values, a share `join` joined with others, as in
    the agent stage."""

    def __init__(self, catalog: TrainingCatalog, join: float, vary: float) -> None:
        self._catalog, self._join, self._vary = Catalog(catalog.tools), join, vary
        self._all = catalog.conversations
        self._joinable = [one for one in self._all if is_joinable(one)]
        self._partners = Partners(self._joinable)
        self._values = OtherValues((one, self._catalog) for one in self._joinable if vary)

    def __len__(self) -> int:
        return len(self._all)

    @property
    def weight(self) -> float:
        """How often one of them is drawn: the square root of the tools that they call."""
        called = {action for messages in self._all for message in messages for action, _ in actions_of(message)}
        return math.sqrt(len(called | {NO_TOOL}))

    def drawn(self, number: int, random: Random) -> Sequence[Message]:
        """The conversation of this number, or what stands for it this time."""
        messages: Sequence[Message] = self._all[number]
        if not is_joinable(messages):
            return messages
        joined = random.random() < self._join
        if joined and random.random() < self._vary * SEVERAL_VALUES:
            return self._values.for_several(messages, self._catalog, random) or messages
        if random.random() < self._vary:
            messages = self._values.varied(messages, self._catalog, random) or messages
        if joined and (others := self._partners.drawn(calls_in(messages), random)):
            return join_requests([messages, *(self._joinable[place] for place in others)], random)
        return messages
