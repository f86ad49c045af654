"""The fenced blocks of the documents."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])


@dataclass(frozen=True)
class Block:
    """One fenced block. `file` is the second word of its opening line, `mark` the comment on the line above, if there are."""

    mark: str
    language: str
    file: str
    text: str


def blocks(document: Path) -> Iterator[Block]:
    fences = r"^(?:<!-- (.*?) -->\n)?```(\S*) ?(\S*)\n(.*?)^```$"
    for fence in re.finditer(fences, document.read_text(encoding="utf-8"), re.M | re.S):
        yield Block(*(part or "" for part in fence.groups()))


def shell_commands(text: str) -> Iterator[list[str]]:
    """The `toolgen` commands of a shell block, without `toolgen`."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line.removeprefix("$ "), comments=True)
        if words and Path(words[0]).name == "toolgen":
            yield words[1:]
