"""Wheels are read as what they are, or refused before anything is written."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from toolgen.errors import FetchError
from toolgen.fetching.wheels import download_wheel, unpack

MakeWheel = Callable[[Mapping[str, str]], Path]


@pytest.mark.parametrize("name", ["../evil", "data/../../evil", "/evil", "C:/evil", "data\\..\\evil"])
def test_a_member_outside_the_folder_is_refused_before_anything_is_written(
    make_wheel: MakeWheel, tmp_path: Path, name: str
) -> None:
    wheel = make_wheel({"data/good": "good", name: "evil"})
    with pytest.raises(FetchError, match="unsafe path"):
        unpack(wheel, "data", tmp_path / "target")
    assert not (tmp_path / "target").exists()
    assert not (tmp_path / "evil").exists()


def test_only_the_wanted_folder_is_unpacked(make_wheel: MakeWheel, tmp_path: Path) -> None:
    wheel = make_wheel({"data/a/b.txt": "b", "database/c.txt": "c"})
    unpack(wheel, "data", tmp_path / "target")
    assert [path.relative_to(tmp_path).as_posix() for path in (tmp_path / "target").rglob("*.txt")] == [
        "target/a/b.txt"
    ]


def test_a_folder_that_is_not_there_is_an_error(make_wheel: MakeWheel, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="holds no folder 'data'"):
        unpack(make_wheel({"other/a": "a"}), "data", tmp_path / "target")


def test_a_file_that_is_no_wheel_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "broken.whl").write_text("<html>login</html>")
    with pytest.raises(FetchError, match="is not a wheel"):
        unpack(tmp_path / "broken.whl", "data", tmp_path / "target")


def test_a_pip_that_leaves_no_wheel_is_an_error(tmp_path: Path) -> None:
    def silent(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(arguments, 0, "", "")

    with pytest.raises(FetchError, match="left 0 wheels"):
        download_wheel("tiny==1.0", "0" * 64, tmp_path, silent)
