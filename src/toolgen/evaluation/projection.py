"""A plane view of the tool rows: principal components.

Pearson (1901). Knows a matrix only. Shapes: N tools, D the model's width.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from toolgen.errors import InputError


def project_rows(rows_ND: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """The coordinates of each row along the two directions in which the rows differ most. (N, 2)

    From the eigenvectors of the D x D covariance, which stays cheap for 100,000 tools where an SVD of the rows would
    take a minute. The signs are fixed, so that the same rows give the same map. Raises InputError if not a matrix.
    """
    rows = np.asarray(rows_ND, dtype=np.float64)
    if rows.ndim != 2 or not rows.size or not np.isfinite(rows).all():
        raise InputError(f"a map needs a matrix of finite numbers, one row a tool; got shape {rows.shape}")
    centred = rows - rows.mean(axis=0)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    axes = vectors[:, ::-1][:, :2]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), range(axes.shape[1])] + 0.0)
    points = centred @ axes
    return points if points.shape[1] == 2 else np.pad(points, ((0, 0), (0, 2 - points.shape[1])))
