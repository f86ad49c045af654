"""The tool map's coordinates against an SVD."""

from __future__ import annotations

import numpy as np
import pytest

from toolgen.errors import InputError
from toolgen.evaluation import project_rows


def test_the_plane_is_that_of_the_first_two_principal_components() -> None:
    rows = np.random.default_rng(0).normal(size=(60, 12)) * np.linspace(5, 0.1, 12)
    centred = rows - rows.mean(axis=0)
    left, scale, _ = np.linalg.svd(centred, full_matrices=False)
    assert np.abs(project_rows(rows)) == pytest.approx(np.abs(left[:, :2] * scale[:2]))


def test_the_same_rows_give_the_same_map_and_a_shift_changes_nothing() -> None:
    rows = np.random.default_rng(1).normal(size=(40, 6)).astype(np.float32)
    assert (project_rows(rows) == project_rows(rows.copy())).all()
    assert project_rows(rows) == pytest.approx(project_rows(rows + 3.0), abs=1e-4)


@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (2, 2)])
def test_few_rows_or_columns_still_have_two_coordinates(shape: tuple[int, int]) -> None:
    assert project_rows(np.ones(shape)).shape == (shape[0], 2)


@pytest.mark.parametrize("rows", [np.zeros((0, 3)), np.zeros(5), np.array([[np.nan, 1.0]])])
def test_what_is_no_matrix_of_numbers_is_refused(rows: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> None:
    with pytest.raises(InputError, match="one row a tool"):
        project_rows(rows)
