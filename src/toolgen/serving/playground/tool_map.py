"""A map of a catalog: each tool a point, close to the tools whose vectors are most like its own. Knows no model and no page.

Two principal components of thousands of rows are only where the points begin. Then each is drawn to its nearest neighbors and
pushed from others at random, as in LargeVis (arXiv 1602.00370) and UMAP (arXiv 1802.03426), with t-SNE's kernel. Of the ten
rows nearest to each of 1,500 MCP tools, 5.3 are then among the ten nearest points; with the components alone 1.1. What the map
shows is who is near whom: its large distances mean little.
Shapes: N points, D dimensions of a vector, K neighbors, M others that push.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from toolgen.catalog import Tool
from toolgen.catalog.text import document
from toolgen.catalog.words import words

Floats = npt.NDArray[np.float32]

NEIGHBORS, OTHERS, ROUNDS = 15, 5, 600
COMPONENTS = 48
"""Principal components in which neighbors are looked for; the rest is mostly noise."""
WORD_DIMENSIONS = 512
_AT_ONCE = 512
_NEVER = 1e-4
"""Added to squared distances, so that two points in one place push each other gently."""


def layout(vectors_ND: Floats) -> Floats:
    """A place for each vector (N, 2): centred, lying on its long side, the farthest at distance 1. The same vectors give
    the same map."""
    count = len(vectors_ND)
    reduced_ND = _principal(_unit(vectors_ND - vectors_ND.mean(0, keepdims=True)), COMPONENTS)
    places_N2 = np.zeros((count, 2), dtype=np.float32)
    places_N2[:, : reduced_ND.shape[1]] = reduced_ND[:, :2]
    neighbors = min(NEIGHBORS, count - 1)
    if neighbors > 2:  # fewer have nothing to arrange
        near_NK = _nearest(_unit(reduced_ND), neighbors)
        places_N2 = _arranged(10 * _scaled(places_N2), near_NK, np.random.default_rng(0))
    return _scaled(places_N2)


def word_vectors(tools: Sequence[Tool]) -> Floats:
    """What a catalog without a model has instead of rows: the sum of the words of each tool's documentation, rare ones weighing
    more. Each word is a direction of its own, drawn from its hash, so that two words have next to nothing in common."""
    counted = [Counter(words(document(tool))) for tool in tools]
    frequency = Counter(word for counts in counted for word in counts)
    directions = {word: _direction(word) for word in frequency}
    vectors_ND = np.zeros((len(tools), WORD_DIMENSIONS), dtype=np.float32)
    for vector_D, counts in zip(vectors_ND, counted, strict=True):
        for word, times in counts.items():
            vector_D += (1 + math.log(times)) * math.log(1 + len(tools) / frequency[word]) * directions[word]
    return vectors_ND


def _direction(word: str) -> Floats:
    bits = np.frombuffer(hashlib.shake_128(word.encode()).digest(WORD_DIMENSIONS // 8), dtype=np.uint8)
    return 2 * np.unpackbits(bits).astype(np.float32) - 1


def _principal(vectors_ND: Floats, components: int) -> Floats:
    """The vectors by their largest principal components, largest first."""
    _, directions_DD = np.linalg.eigh(vectors_ND.T @ vectors_ND)
    kept_DC = directions_DD[:, ::-1][:, :components]
    # An eigenvector's sign is arbitrary; the map should not depend on the library that computes it.
    signs_C = np.sign(kept_DC[np.abs(kept_DC).argmax(0), np.arange(kept_DC.shape[1])])
    reduced: Floats = (vectors_ND @ (kept_DC * signs_C)).astype(np.float32)
    return reduced


def _nearest(vectors_ND: Floats, count: int) -> npt.NDArray[np.int64]:
    """The places of each unit vector's nearest others (N, K), in no order."""
    near_NK = np.empty((len(vectors_ND), count), dtype=np.int64)
    for start in range(0, len(vectors_ND), _AT_ONCE):
        alike_BN = vectors_ND[start : start + _AT_ONCE] @ vectors_ND.T
        alike_BN[np.arange(len(alike_BN)), start + np.arange(len(alike_BN))] = -np.inf
        near_NK[start : start + _AT_ONCE] = np.argpartition(-alike_BN, count - 1, axis=1)[:, :count]
    return near_NK


def _arranged(places_N2: Floats, near_NK: npt.NDArray[np.int64], random: np.random.Generator) -> Floats:
    """In each round every point takes a step towards one of its neighbors and away from OTHERS, and the steps get shorter."""
    count, neighbors = near_NK.shape
    every_N = np.arange(count)
    for round_ in range(ROUNDS):
        rate = 0.5 * (1 - round_ / ROUNDS)
        towards_N2 = places_N2[near_NK[every_N, random.integers(neighbors, size=count)]] - places_N2
        step_N2 = towards_N2 * (2 / (1 + (towards_N2**2).sum(1, keepdims=True)))
        away_NM2 = places_N2[:, None] - places_N2[random.integers(count, size=(count, OTHERS))]
        squared_NM1 = (away_NM2**2).sum(2, keepdims=True)
        step_N2 += np.clip(away_NM2 * (2 / ((_NEVER + squared_NM1) * (1 + squared_NM1))), -4, 4).sum(1)
        places_N2 = (places_N2 + rate * step_N2).astype(np.float32)
    return places_N2


def _unit(vectors_ND: Floats) -> Floats:
    """Each vector at length 1; one without length stays."""
    lengths_N1 = np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    return (vectors_ND / np.where(lengths_N1 > 0, lengths_N1, 1)).astype(np.float32)


def _scaled(places_N2: Floats) -> Floats:
    """Centred, lying on its long side, the farthest point at distance 1."""
    centred_N2 = _principal(places_N2 - places_N2.mean(0), 2)
    scaled: Floats = centred_N2 / max(float(np.linalg.norm(centred_N2, axis=1).max(initial=0)), 1e-9)
    return scaled
