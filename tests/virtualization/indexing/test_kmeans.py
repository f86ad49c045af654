"""k-means: finds what is plainly there, repeats itself, and leaves no cluster empty."""

from __future__ import annotations

import numpy as np
import pytest

from toolgen.virtualization.indexing.kmeans import kmeans, nearest, squared_distances


def blobs(count: int, each: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    centres = np.eye(count, 16, dtype=np.float32) * 10
    return (np.repeat(centres, each, axis=0) + generator.normal(size=(count * each, 16))).astype(np.float32)


def test_clusters_that_are_far_apart_are_found() -> None:
    labels = kmeans(blobs(5, 20), 5, seed=1).labels_N.reshape(5, 20)
    assert (labels == labels[:, :1]).all() and len(set(labels[:, 0])) == 5


def test_every_vector_is_in_the_cluster_of_its_nearest_centre() -> None:
    vectors = np.random.default_rng(0).normal(size=(300, 6)).astype(np.float32)
    found = kmeans(vectors, 12, seed=0)
    distances = np.linalg.norm(vectors[:, None] - found.centres_KD[None], axis=2)
    assert (found.labels_N == distances.argmin(1)).all()
    np.testing.assert_allclose(squared_distances(vectors, found.centres_KD), distances**2, rtol=1e-3, atol=1e-4)
    assert set(found.labels_N) == set(range(12))


def test_more_iterations_never_make_the_clusters_worse() -> None:
    vectors = np.random.default_rng(3).normal(size=(400, 8)).astype(np.float32)
    spread = [nearest(vectors, kmeans(vectors, 10, seed=2, iterations=n).centres_KD)[1].sum() for n in (0, 1, 3, 20)]
    assert spread == sorted(spread, reverse=True) and spread[-1] < spread[0]


def test_the_same_seed_gives_the_same_clusters() -> None:
    vectors = blobs(4, 30, seed=5)
    first, again, other = (kmeans(vectors, 9, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first.labels_N, again.labels_N)
    assert not np.array_equal(first.centres_KD, other.centres_KD)


@pytest.mark.parametrize(("count", "k"), [(1, 1), (1, 8), (3, 8), (8, 8)])
def test_no_more_clusters_than_vectors(count: int, k: int) -> None:
    found = kmeans(np.eye(count, 8, dtype=np.float32), k, seed=0)
    assert sorted(found.labels_N) == list(range(count)) and len(found.centres_KD) == count


def test_vectors_that_are_all_the_same_are_one_cluster() -> None:
    assert set(kmeans(np.ones((50, 4), dtype=np.float32), 7, seed=0).labels_N) == {0}
