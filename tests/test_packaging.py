"""What would be published: the same twice, complete, within limits; and the bill of materials."""

from __future__ import annotations

import json
import re
import runpy
from importlib import metadata
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[1]
CI = ROOT / ".ci"


@pytest.mark.slow
def test_wheel_and_sdist_are_the_same_when_built_twice_and_hold_what_they_need(tmp_path: Path) -> None:
    assert list(runpy.run_path(str(CI / "package.py"))["faults"](tmp_path)) == []


def test_the_bill_of_materials_names_every_needed_package_with_its_licence_and_is_the_same_twice() -> None:
    first, second = (runpy.run_path(str(CI / "sbom.py"))["bill"]() for _ in range(2))
    assert json.dumps(first) == json.dumps(second)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(first)) is None
    found = {one["name"]: one for one in first["components"]}
    assert {"torch", "transformers", "llguidance", "mcp"} <= {*found}
    assert len(found) == len(first["components"]) and len({one["bom-ref"] for one in found.values()}) == len(found)
    assert all(one["licenses"][0]["license"]["name"] for one in found.values())
    assert len(found["transformers"]["hashes"][0]["content"]) == 64


def test_what_is_pinned_runs_on_the_oldest_python() -> None:
    (oldest,) = re.findall(r'^requires-python = ">=(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M)
    pinned = re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.M)
    installed = {one.metadata["Name"].lower().replace("_", "-"): one.metadata for one in metadata.distributions()}
    needs = {name: installed[name.lower()]["Requires-Python"] for name in pinned if name.lower() in installed}
    assert len(needs) > 100
    newer = {name: said for name, said in needs.items() if said and not SpecifierSet(said).contains(f"{oldest}.0")}
    assert not newer, f"Debian 12 has Python 3.11.2: take older releases of {newer}"
