"""The audit of what toolgen needs: this checkout passes it, and each of its faults is named."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[1] / ".ci" / "audit.py"


@pytest.fixture
def audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_version_has_a_hash_and_a_licence(audit: ModuleType) -> None:
    assert list(audit.faults()) == []
    assert len({package.metadata["Name"] for package in audit.needed()}) > 50


def test_another_version_a_missing_hash_and_an_unknown_licence_are_named(
    audit: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned = audit.pins() | {"numpy": "0.1", "nothing": "1"}
    monkeypatch.setattr(audit, "pins", lambda: pinned)
    monkeypatch.setattr(audit, "licence", lambda package: "Own" if package.metadata["Name"] == "typer" else "MIT")
    found = "\n".join(audit.faults())
    assert "nothing: constraints.txt names 1, requirements.lock has a hash of None" in found
    assert "is installed, constraints.txt names 0.1" in found
    assert "typer: its licence 'Own' is not among those that were looked at" in found
