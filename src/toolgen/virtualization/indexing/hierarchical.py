"""Hierarchical indexing: a tool is its path through a tree of clusters of document vectors, so that tools which are alike begin
alike. Tay et al., "Transformer Memory as a Differentiable Search Index" (DSI, arXiv 2202.06991), section 3.2."""

from __future__ import annotations

import numpy as np

from toolgen.virtualization.indexing.kmeans import Labels, Matrix, kmeans

BRANCHES = 10


def hierarchical(vectors_ND: Matrix, *, seed: int = 0) -> list[tuple[int, ...]]:
    """The path of each vector: numbers below BRANCHES. A cluster of at most that many tools numbers them; a larger one is
    clustered again."""
    paths: list[tuple[int, ...]] = [()] * len(vectors_ND)
    waiting: list[tuple[tuple[int, ...], Labels]] = [((), np.arange(len(vectors_ND)))]
    while waiting:
        prefix, members = waiting.pop()
        if len(members) <= BRANCHES:
            for number, member in enumerate(members):
                # The only tool of a cluster needs no number of its own there.
                paths[member] = (*prefix, number) if len(members) > 1 or not prefix else prefix
            continue
        for number, part in enumerate(_parts(vectors_ND, members, seed)):
            waiting.append(((*prefix, number), part))
    return paths


def _parts(vectors_ND: Matrix, members: Labels, seed: int) -> list[Labels]:
    labels = kmeans(vectors_ND[members], BRANCHES, seed=seed).labels_N
    parts = [members[labels == number] for number in np.unique(labels)]
    # Vectors that are all the same cannot be told apart; their order in the catalog parts them.
    return parts if len(parts) > 1 else np.array_split(members, BRANCHES)
