"""Episodes: a batch of requests with a batch of tools that they are weighed against, drawn from many catalogs.

What makes an episode hard is who stands in it: tools come in neighborhoods (tools of one catalog that say similar things), so
that a request is weighed against its tool's look-alikes as well as against strangers. The n-th episode depends on the seed
and n alone, so that a run can be resumed and episodes can be drawn by several processes. Knows no model and no tokenizer.
Shapes: N tools of a catalog, K neighbors.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

import numpy as np
import numpy.typing as npt

from toolgen.datasets.phrasing import first_sentence
from toolgen.training.pretraining.corpus import Asked, Corpus

JOINS = (" ", " Also, ", " Then ", " and ", " After that, ")
"""What stands between two requests that are made one."""
STRANGERS = 64
"""One request in so many, and at least one, is one that the corpus has for no tool at all."""


@dataclass(frozen=True, kw_only=True)
class EpisodeShape:
    """How an episode is drawn: `requests` in `groups`, each group from neighborhoods of one catalog, `each` requests a tool.
    Then shares: of requests that are joined to another one; whose tools are hidden, so that none fits; that are a tool's own
    first sentence; and of tools that bring a look-alike along."""

    requests: int = 512
    groups: int = 8
    around: int = 6
    each: int = 2
    joined: float = 0.12
    declined: float = 0.06
    described: float = 0.08
    look_alikes: float = 0.4


@dataclass
class Episode:
    """Tools by their places in the corpus; requests with the positions of their tools *among these*, none where no tool fits,
    and of those that are hidden from them."""

    tools: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    targets: list[list[int]] = field(default_factory=list)
    hidden: list[list[int]] = field(default_factory=list)

    def add(self, text: str, targets: list[int], hidden: list[int]) -> None:
        """One more request."""
        self.texts.append(text)
        self.targets.append(targets)
        self.hidden.append(hidden)


class Episodes:
    """Draws episodes. `neighbors[c]` (N, K) are the nearest tools of each tool of the c-th catalog."""

    def __init__(
        self, corpus: Corpus, neighbors: Sequence[npt.NDArray[np.int64]], shape: EpisodeShape, seed: int
    ) -> None:
        self._corpus, self._neighbors, self._shape, self._seed = corpus, neighbors, shape, seed
        self._asked = [_by_tool(catalog.requests) for catalog in corpus.catalogs]
        self._anchors = [sorted(asked) for asked in self._asked]
        self._unfit = [one.text for catalog in corpus.catalogs for one in catalog.requests if not one.tools]
        self._drawn = [i for i, anchors in enumerate(self._anchors) if anchors]

    def draw(self, number: int) -> Episode:
        """The episode of this number."""
        random, shape, episode = Random(f"{self._seed}/{number}"), self._shape, Episode()
        positions: dict[int, int] = {}
        weights = [self._corpus.catalogs[i].weight for i in self._drawn]
        for catalog in random.choices(self._drawn, weights, k=shape.groups):
            self._add_group(episode, positions, catalog, random)
        for text in random.sample(self._unfit, min(len(self._unfit), max(1, shape.requests // STRANGERS))):
            episode.add(text, [], [])
        episode.tools = list(positions)
        return episode

    def _add_group(self, episode: Episode, positions: dict[int, int], catalog: int, random: Random) -> None:
        def position(tool: int) -> int:
            return positions.setdefault(self._corpus.offsets[catalog] + tool, len(positions))

        group = self._group(catalog, random)
        for asked in group:
            text, tools = asked.text, [*asked.tools]
            other = random.choice(group)
            if random.random() < self._shape.joined and not {*other.tools} & {*tools}:
                text, tools = text + random.choice(JOINS) + other.text, [*tools, *other.tools]
            own = [position(tool) for tool in tools]
            for tool in tools:
                near = self._neighbors[catalog][tool]
                if len(near) and random.random() < self._shape.look_alikes:
                    position(int(random.choice(near)))
            declined = random.random() < self._shape.declined
            episode.add(text, [] if declined else own, own if declined else [])

    def _group(self, catalog: int, random: Random) -> list[Asked]:
        """Requests for tools of a few neighborhoods of one catalog."""
        anchors, by_tool, shape = self._anchors[catalog], self._asked[catalog], self._shape
        found: list[Asked] = []
        while len(found) < shape.requests // shape.groups:
            anchor = random.choice(anchors)
            near = [int(tool) for tool in self._neighbors[catalog][anchor] if int(tool) in by_tool]
            for tool in [anchor, *random.sample(near, min(len(near), shape.around))]:
                found += [self._request(catalog, tool, by_tool[tool], random) for _ in range(shape.each)]
        return found[: shape.requests // shape.groups]

    def _request(self, catalog: int, tool: int, asked: Sequence[Asked], random: Random) -> Asked:
        said = first_sentence(self._corpus.catalogs[catalog].tools[tool].description)
        if said and random.random() < self._shape.described:
            return Asked(said, (tool,))
        return random.choices(asked, [one.weight for one in asked])[0]


def _by_tool(requests: Sequence[Asked]) -> Mapping[int, Sequence[Asked]]:
    found: dict[int, list[Asked]] = defaultdict(list)
    for one in requests:
        for tool in one.tools:
            found[tool].append(one)
    return found


def neighbors(vectors_ND: npt.NDArray[np.float32], count: int = 16, *, at_once: int = 4096) -> npt.NDArray[np.int64]:
    """The nearest tools of each by cosine (N, K), itself left out; `vectors_ND` have length 1."""
    total = len(vectors_ND)
    count = min(count, total - 1)
    found = np.empty((total, count), dtype=np.int64)
    for start in range(0, total, at_once):
        similar = vectors_ND[start : start + at_once] @ vectors_ND.T
        similar[np.arange(len(similar)), start + np.arange(len(similar))] = -np.inf
        nearest = np.argpartition(-similar, min(count, total - 1), axis=1)[:, :count] if count else found[start:, :0]
        found[start : start + at_once] = nearest[: len(similar)]
    return found
