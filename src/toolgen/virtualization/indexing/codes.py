"""Codes: a tool is two learned numbers, found by residual quantization of its document vector.

The first code is the nearest of K centres, the second the nearest of K centres of what the first leaves over. So 2 x 1,024
shared tokens name 47,000 tools, and tools that are alike share codes. After ToolWeaver (arXiv 2601.21947): tools that training
requests ask for together are pulled together before they are quantized, and no two tools share both codes. Its codes are
learned with an autoencoder and spread by optimal transport; here k-means and the nearest free code do both.
Shapes: N tools, D numbers a vector, K centres, S tool sets, F their members one after another, A tools in some set, M tools of
one cluster.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from toolgen.virtualization.indexing.kmeans import Labels, Matrix, kmeans, squared_distances

MOST_CODES = 1024
PULL = 0.5
"""Weight of the tools asked for together beside a tool's own document."""
ROUNDS = 3  # of pulling: what reaches a tool over more than three others is negligible


def codes(
    vectors_ND: Matrix,
    tool_sets: Sequence[Sequence[int]] = (),
    *,
    size: int | None = None,
    pull: float = PULL,
    seed: int = 0,
) -> list[tuple[int, int]]:
    """Two codes for each vector, no pair twice. `size` is the number of codes at each place, by default `code_count`."""
    count = len(vectors_ND)
    size = code_count(count) if size is None else max(size, math.isqrt(max(count - 1, 0)) + 1)
    pulled_ND = pull_together(vectors_ND, tool_sets, pull)
    first = kmeans(pulled_ND, size, seed=seed)
    first_N = _with_room(pulled_ND, first.centres_KD, first.labels_N, size)
    rest_ND = pulled_ND - first.centres_KD[first_N]
    second = kmeans(rest_ND, size, seed=seed + 1)
    return list(zip(first_N.tolist(), _free_codes(rest_ND, second.centres_KD, first_N, size), strict=True))


def code_count(tools: int) -> int:
    """Codes at each place: the power of two from 4 times the square root of the tools, which is 1,024 for 47,000; at most half
    as many as tools, so that codes are shared at all; always enough for all pairs to differ."""
    ample = 1 << math.ceil(math.log2(4 * math.sqrt(tools)))
    enough = math.isqrt(tools - 1) + 1
    return max(enough, min(ample, MOST_CODES, tools // 2))


def pull_together(vectors_ND: Matrix, tool_sets: Sequence[Sequence[int]], pull: float = PULL) -> Matrix:
    """The vectors moved toward the mean of the tools that each is asked for with, `pull` beside 1 for its own; of length 1.

    Rounds of Jacobi's method on the objective |z - v|^2 + pull * |z - mean of its sets|^2, which is what the Laplacian term of
    ToolWeaver asks for.
    """
    sets = [one for one in tool_sets if len(one) > 1]
    if not sets or not pull:
        return _unit(vectors_ND)
    members_F = np.array([tool for one in sets for tool in one], dtype=np.int64)
    sizes_S = np.array([len(one) for one in sets])
    set_of_F = np.repeat(np.arange(len(sets)), sizes_S)
    pulled_ND = unit_ND = _unit(vectors_ND)
    asked_N = np.bincount(members_F, minlength=len(vectors_ND))
    asked = np.flatnonzero(asked_N)
    order = np.argsort(members_F, kind="stable")
    starts = np.searchsorted(members_F[order], asked)
    for _ in range(ROUNDS):
        means_SD = np.add.reduceat(pulled_ND[members_F], np.cumsum(sizes_S) - sizes_S, axis=0) / sizes_S[:, None]
        company_AD = np.add.reduceat(means_SD[set_of_F[order]], starts, axis=0) / asked_N[asked, None]
        pulled_ND = pulled_ND.copy()
        pulled_ND[asked] = (unit_ND[asked] + pull * company_AD) / (1 + pull)
    return _unit(pulled_ND)


def _unit(vectors_ND: Matrix) -> Matrix:
    lengths_N = np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    unit_ND: Matrix = vectors_ND / np.maximum(lengths_N, np.float32(1e-12))
    return unit_ND


def _with_room(vectors_ND: Matrix, centres_KD: Matrix, labels_N: Labels, room: int) -> Labels:
    """No cluster has more than `room` members: those farthest from its centre move to the nearest cluster with room."""
    labels_N = labels_N.copy()
    counts_K = np.bincount(labels_N, minlength=len(centres_KD))
    for cluster in np.flatnonzero(counts_K > room):
        members = np.flatnonzero(labels_N == cluster)
        distances_MK = squared_distances(vectors_ND[members], centres_KD)
        for i in np.argsort(distances_MK[:, cluster], kind="stable")[room:]:
            open_K = np.where(counts_K < room, distances_MK[i], np.inf)
            labels_N[members[i]] = goal = int(open_K.argmin())
            counts_K[goal] += 1
            counts_K[cluster] -= 1
    return labels_N


def _free_codes(rest_ND: Matrix, centres_KD: Matrix, first_N: Labels, size: int) -> list[int]:
    """The second code of each tool: the nearest centre that no tool with the same first code has taken; who is nearest chooses
    first. Numbers beyond the centres, which a catalog of equal tools can need, are as far as can be."""
    second_N = np.empty(len(rest_ND), dtype=np.int64)
    order = np.argsort(first_N, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(first_N[order])) + 1):
        distances_MK = np.full((len(members), size), np.finfo(np.float32).max)
        distances_MK[:, : len(centres_KD)] = squared_distances(rest_ND[members], centres_KD)
        taken_K = np.zeros(size, dtype=bool)
        for i in np.argsort(distances_MK.min(1), kind="stable"):
            second_N[members[i]] = code = int(np.where(taken_K, np.inf, distances_MK[i]).argmin())
            taken_K[code] = True
    found: list[int] = second_N.tolist()
    return found
