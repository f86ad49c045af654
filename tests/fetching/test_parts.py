"""Matrices that are computed part by part: a computation that was stopped goes on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pytest import MonkeyPatch

from toolgen.fetching import parts
from toolgen.fetching.parts import Matrix, computed_in_parts

KEYS = [f"text {number}" for number in range(7)]


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PART", 3)


class Lengths:
    """Computes rows, and stops at a place."""

    def __init__(self, stop: int = 99) -> None:
        self.stop, self.done = stop, [0] * 0

    def __call__(self, part: range) -> Matrix:
        if self.stop in part:
            raise KeyboardInterrupt
        self.done += part
        return np.array([[place, len(KEYS[place])] for place in part], dtype=np.float32).reshape(len(part), 2)


def test_what_was_done_before_a_stop_is_not_computed_again(tmp_path: Path) -> None:
    whole = computed_in_parts(KEYS, Lengths(), None)
    with pytest.raises(KeyboardInterrupt):
        computed_in_parts(KEYS, Lengths(stop=6), tmp_path / "kept")
    again = Lengths()
    np.testing.assert_array_equal(computed_in_parts(KEYS, again, tmp_path / "kept"), whole)
    assert again.done == [6]


def test_a_part_that_is_damaged_or_of_other_texts_is_computed(tmp_path: Path) -> None:
    computed_in_parts(KEYS, Lengths(), tmp_path)
    next(tmp_path.iterdir()).write_bytes(b"\x93NUMPY")
    again = Lengths()
    computed_in_parts(KEYS, again, tmp_path)
    assert len(again.done) in (1, 3)
    other = Lengths()
    computed_in_parts([*KEYS[:3], "another", *KEYS[4:]], other, tmp_path)
    assert other.done == [3, 4, 5]


def test_a_folder_that_cannot_be_written_or_a_matrix_of_one_part_keeps_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert len(computed_in_parts(KEYS, Lengths(), tmp_path / "file" / "inside")) == 7
    assert computed_in_parts(KEYS[:3], Lengths(), tmp_path / "kept").shape == (3, 2)
    assert computed_in_parts([], Lengths(), tmp_path / "kept").shape == (0, 2)
    assert not (tmp_path / "kept").exists()
