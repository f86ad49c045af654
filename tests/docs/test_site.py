"""The documentation site builds without a warning, has every page and public name, and loads nothing from elsewhere."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import toolgen

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "build" / "site"


def pages(part: Any) -> Iterator[str]:
    """The files that a part of the navigation names."""
    match part:
        case str():
            yield part
        case list():
            for one in part:
                yield from pages(one)
        case dict():
            yield from pages([*part.values()])


def test_every_document_is_in_the_navigation_and_nothing_else() -> None:
    configuration = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    made = runpy.run_path(str(ROOT / "docs" / "site.py"))
    names = ["toolgen", *(f"toolgen.{name}" for name in made["exporting"]())]
    written = [file for file in (ROOT / "docs").rglob("*.md") if file.parent.name != "tables"]
    expected = {f"docs/reference/{name}.md" for name in names}
    expected |= {file.relative_to(ROOT).as_posix() for file in (*ROOT.glob("*.md"), *written)}
    assert {*pages(configuration["nav"])} == expected


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere() -> None:
    built = subprocess.run([sys.executable, ROOT / "docs" / "site.py"], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    reference = (SITE / "docs" / "reference" / "toolgen.html").read_text(encoding="utf-8")
    for name in toolgen.__all__:
        assert name.startswith("__") or f'id="toolgen.{name}"' in reference, f"{name} is not in the reference"
    for page in SITE.rglob("*.html"):
        loaded = re.findall(r"<(?:script|img|iframe)[^>]* src=\"(http[^\"]+)", page.read_text(encoding="utf-8"))
        assert not loaded, f"{page.name} loads {loaded}"
        assert "<p>```" not in page.read_text(encoding="utf-8"), f"{page.name} shows a block as text"
