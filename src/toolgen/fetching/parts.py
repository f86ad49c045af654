"""Matrices that take long to compute, kept part by part, so that a computation that was stopped goes on where it was.

A part is a file named by what its rows are of; `folder` stands for all else that they depend on. Knows no model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from toolgen.errors import OutputError
from toolgen.fetching.cache import cache_folder
from toolgen.files import new_file

Matrix = npt.NDArray[np.float32]
PART = 1024
"""Rows of a part: on one core about a minute of a small model's reading."""


def reading_folder(*what: object) -> Path:
    """The folder of the cache for what a model makes of texts; `what` is all that it depends on besides them, as JSON."""
    return cache_folder() / "reading" / hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:32]


def computed_in_parts(keys: Sequence[str], compute: Callable[[range], Matrix], folder: Path | None) -> Matrix:
    """One row a key: `compute` makes those of some places, one part after another. Parts that `folder` holds are read. A
    folder that cannot be written, or None, keeps nothing, nor does a matrix of one part. Who has the matrix removes the folder.
    """
    rows, folder = [], folder if len(keys) > PART else None
    for start in range(0, max(len(keys), 1), PART):
        part = range(start, min(start + PART, len(keys)))
        name = hashlib.sha256(json.dumps(keys[start : part.stop]).encode()).hexdigest()[:32]
        file = folder / f"{name}.npy" if folder else None
        known = read_matrix(file, rows=len(part)) if file else None
        rows.append(compute(part) if known is None else known)
        if file and known is None:
            with suppress(OutputError), new_file(file) as stream:
                np.save(stream, rows[-1])
    return np.concatenate(rows)


def read_matrix(file: Path, *, rows: int) -> Matrix | None:
    """A matrix that was kept, or None if there is none that can be used."""
    try:
        matrix: Matrix = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return matrix if matrix.ndim == 2 and len(matrix) == rows else None
