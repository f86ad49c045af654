"""Lloyd's k-means with seeding by k-means++ (Arthur and Vassilvitskii, 2007), in numpy, the same for the same seed.

Not scikit-learn's: it would be a new dependency, with SciPy 190 MB for these 60 lines, and its clusters for a seed may change
with its version: the same catalog would get other codes.

Shapes: N vectors of D numbers, K centres.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

SEEDING_SAMPLE = 16
"""Vectors for each centre that seeding looks at; with all 47,000 for 1,024 centres it would take as long as the rest."""
BLOCK = 8192  # vectors whose distances to all centres are in memory at once


@dataclass(frozen=True)
class Clusters:
    """`labels_N` says which of `centres_KD` is nearest."""

    centres_KD: Matrix
    labels_N: Labels


def kmeans(vectors_ND: Matrix, k: int, *, seed: int, iterations: int = 20) -> Clusters:
    """At most `k` clusters, none empty unless fewer than `k` vectors differ. Needs at least one vector."""
    generator = np.random.default_rng(seed)
    centres_KD = _seeded(vectors_ND, min(k, len(vectors_ND)), generator)
    labels_N, distances_N = nearest(vectors_ND, centres_KD)
    for _ in range(iterations):
        centres_KD = _means(vectors_ND, labels_N, distances_N, centres_KD)
        before = labels_N
        labels_N, distances_N = nearest(vectors_ND, centres_KD)
        if np.array_equal(before, labels_N):
            break
    return Clusters(centres_KD, labels_N)


def squared_distances(vectors_ND: Matrix, centres_KD: Matrix) -> Matrix:
    """Squared distance of every vector to every centre (N, K)."""
    products_NK = vectors_ND @ centres_KD.T
    lengths_N = np.einsum("nd,nd->n", vectors_ND, vectors_ND)
    distances: Matrix = lengths_N[:, None] - 2 * products_NK + np.einsum("kd,kd->k", centres_KD, centres_KD)
    return np.maximum(distances, 0)


def nearest(vectors_ND: Matrix, centres_KD: Matrix) -> tuple[Labels, Matrix]:
    """The nearest centre of each vector and its squared distance, both (N); the first of equally near ones."""
    labels_N = np.empty(len(vectors_ND), dtype=np.int64)
    distances_N = np.empty(len(vectors_ND), dtype=np.float32)
    for start in range(0, len(vectors_ND), BLOCK):
        block = slice(start, start + BLOCK)
        distances_BK = squared_distances(vectors_ND[block], centres_KD)
        labels_N[block] = distances_BK.argmin(1)
        distances_N[block] = distances_BK.min(1)
    return labels_N, distances_N


def _seeded(vectors_ND: Matrix, k: int, generator: np.random.Generator) -> Matrix:
    """Centres among the vectors, each drawn with a chance that grows with the squared distance to those before it."""
    size = min(len(vectors_ND), SEEDING_SAMPLE * k)
    sample_SD = vectors_ND[np.sort(generator.choice(len(vectors_ND), size, replace=False))]
    lengths_S = np.einsum("sd,sd->s", sample_SD, sample_SD)
    chosen = [int(generator.integers(size))]
    distances_S = np.full(size, np.inf)
    while len(chosen) < k:
        latest = chosen[-1]
        to_latest_S = lengths_S + lengths_S[latest] - 2 * (sample_SD @ sample_SD[latest])
        distances_S = np.minimum(distances_S, np.maximum(to_latest_S, 0))
        # Where all that is left equals a centre, any of it will do.
        weights_S = distances_S if distances_S.any() else np.ones(size)
        chosen.append(int(generator.choice(size, p=weights_S / weights_S.sum())))
    return sample_SD[chosen]


def _means(vectors_ND: Matrix, labels_N: Labels, distances_N: Matrix, centres_KD: Matrix) -> Matrix:
    """The mean of each cluster; an empty one takes the vector that is farthest from its own centre."""
    order = np.argsort(labels_N, kind="stable")
    filled, starts = np.unique(labels_N[order], return_index=True)
    means_KD = centres_KD.copy()
    sums = np.add.reduceat(vectors_ND[order], starts, axis=0)
    means_KD[filled] = sums / np.diff(np.append(starts, len(order)))[:, None]
    empty = np.setdiff1d(np.arange(len(centres_KD)), filled)
    means_KD[empty] = vectors_ND[np.argsort(-distances_N, kind="stable")[: len(empty)]]
    return means_KD
