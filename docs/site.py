"""Builds the documentation site: `python docs/site.py`, or `make docs`. Needs no network.

The pages are the Markdown files of the repository, at their own places, so that their links hold here as they do there; the
reference of the Python interface is made from docstrings. A link or heading that does not exist fails the build.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import toolgen

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "build" / "pages"  # `docs_dir` of mkdocs.yml
SUFFIXES = (".md", ".svg", ".png", ".css")
SECONDS = 100  # a build takes ten; now and then one never ends (issues 113 and 670 of zensical)


def copy_pages() -> None:
    """The Markdown files of the repository, their pictures and their style."""
    shutil.rmtree(PAGES, ignore_errors=True)
    shown = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*"), *(ROOT / "benchmarks" / "results").glob("*.svg")]
    for file in shown:
        if file.suffix in SUFFIXES:
            place = PAGES / file.relative_to(ROOT)
            place.parent.mkdir(parents=True, exist_ok=True)
            if file.suffix == ".md":
                place.write_text(with_titles(file.read_text(encoding="utf-8")), encoding="utf-8")
            else:
                shutil.copy(file, place)


def with_titles(text: str) -> str:
    """A page whose blocks that name a file show the name as their title."""
    return re.sub(r"^```(\w+) (\S+)$", r'```\1 title="\2"', text, flags=re.M)


def exporting() -> list[str]:
    """The packages and modules of `toolgen` that export names."""
    modules = (found.name for found in pkgutil.iter_modules(toolgen.__path__) if not found.name.startswith("_"))
    return [name for name in modules if hasattr(importlib.import_module(f"toolgen.{name}"), "__all__")]


def write_reference() -> None:
    """A page for `toolgen` itself and for each part that exports names: its docstring, and that of each name."""
    folder = PAGES / "docs" / "reference"
    folder.mkdir()
    for name in ("toolgen", *(f"toolgen.{part}" for part in exporting())):
        module = importlib.import_module(name)
        text = (module.__doc__ or "").replace("\nOut:", "\n\nOut:")  # two paragraphs
        names = [f"::: {name}.{exported}" for exported in module.__all__ if not exported.startswith("__")]
        (folder / f"{name}.md").write_text("\n\n".join([f"# {name}", text, *names]) + "\n", encoding="utf-8")


def build() -> int:
    """Zensical's exit code; 1 where it does not end twice."""
    copy_pages()
    write_reference()
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--config-file", str(ROOT / "mkdocs.yml")]
    for _ in range(2):
        with suppress(subprocess.TimeoutExpired):
            return subprocess.run(command, cwd=ROOT, check=False, timeout=SECONDS).returncode
        print(f"zensical did not end within {SECONDS} seconds", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(build())
