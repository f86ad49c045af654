"""Packages of worlds: run from their folder, without what they do not need, and never mixed up with others of their name."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from toolgen.datasets import worlds
from toolgen.datasets.worlds import world_module
from toolgen.errors import EnvironmentSetupError, MissingExtraError

FILES = {
    "__init__.py": "",
    "clients/__init__.py": "raise AssertionError('not to be run')",
    "clients/base.py": "NAME = 'base'",
    "game.py": "import absent_tables\nfrom little_world.clients.base import NAME\nfrom absent_tables import FRAME",
    "needy.py": "import absent_thing",
}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name, text in FILES.items():
        file = tmp_path / "little_world" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    own = worlds._Package(bare=("little_world.clients",), absent={"absent_tables": {"FRAME": 1}})
    monkeypatch.setitem(worlds._PACKAGES, "little_world", own)
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "little_world"]:
        del sys.modules[name]


def test_a_module_runs_without_its_packages_clients_and_what_stands_in_for_others_is_gone_again(root: Path) -> None:
    before = [*sys.path]
    game = world_module(root, "little_world.game")
    assert (game.NAME, game.FRAME) == ("base", 1)
    assert "absent_tables" not in sys.modules and sys.path == before
    assert world_module(root, "little_world.game") is game


def test_what_is_missing_is_one_line(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(worlds._PACKAGES, "no_world", worlds._Package())
    with pytest.raises(MissingExtraError, match=r"package 'absent_thing'.* 'toolgen\[worlds\]'"):
        world_module(root, "little_world.needy")
    with pytest.raises(EnvironmentSetupError, match="is imported already"):
        world_module(tmp_path / "other", "little_world.game")
    with pytest.raises(EnvironmentSetupError, match="toolgen fetch dataset no_world"):
        world_module(tmp_path, "no_world.game")
