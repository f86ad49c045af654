"""Where the cache is, and what counts as complete."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from toolgen.fetching import Origin, cache_folder, read_origin
from toolgen.fetching.cache import write_origin

ORIGIN = Origin(name="tiny", route="pypi", source="tiny==1.0", sha256=None, licence="MIT")


def test_the_cache_is_where_the_user_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("TOOLGEN_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("TOOLGEN_CACHE")
    assert cache_folder() == tmp_path / "xdg" / "toolgen"


@pytest.mark.parametrize(
    ("platform", "expected"),
    [("linux", ".cache/toolgen"), ("darwin", "Library/Caches/toolgen"), ("win32", "AppData/Local/toolgen/cache")],
)
def test_else_it_is_where_the_platform_keeps_caches(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, platform: str, expected: str
) -> None:
    for name in ("TOOLGEN_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setattr(sys, "platform", platform)
    assert cache_folder() == tmp_path / expected


def test_a_folder_is_complete_only_with_all_its_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("12345")
    assert read_origin(tmp_path) is None
    write_origin(tmp_path, ORIGIN)
    assert read_origin(tmp_path) is not None
    (tmp_path / "extra").write_text("more files do no harm")
    assert read_origin(tmp_path) is not None
    (tmp_path / "a").write_text("123")
    assert read_origin(tmp_path) is None


def test_a_damaged_origin_counts_as_incomplete(tmp_path: Path) -> None:
    (tmp_path / "origin.json").write_text('{"name": "tiny"')
    assert read_origin(tmp_path) is None
    (tmp_path / "origin.json").write_text('{"name": "tiny"}')
    assert read_origin(tmp_path) is None
