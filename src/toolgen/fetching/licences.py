"""The licence that a folder states: in the front matter of its README, as on the Hub, or by the text of its licence file."""

from __future__ import annotations

import re
from pathlib import Path

UNKNOWN = "unknown"
_READ = 1 << 16  # bytes
_BEGINNINGS = {
    "apache license": "Apache-2.0",
    "mit license": "MIT",
    "bsd 3-clause license": "BSD-3-Clause",
    "gnu general public license": "GPL",
    "mozilla public license": "MPL-2.0",
    "creative commons attribution 4.0": "CC-BY-4.0",
}


def licence_of(folder: Path) -> str:
    """What the folder states; "unknown" where it states nothing that is understood."""
    readme = _text(folder / "README.md")
    front = re.match(r"---\s*\n(.*?)\n---", readme, re.DOTALL)
    stated = re.search(r"^licen[sc]e:\s*[\"']?([\w.+-]{1,60})", front[1] if front else "", re.MULTILINE)
    if stated:
        return stated[1]
    for name in ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "COPYING"):
        beginning = " ".join(_text(folder / name)[:300].lower().split())
        for text, licence in _BEGINNINGS.items():
            if text in beginning:
                return licence
    return UNKNOWN


def _text(path: Path) -> str:
    if not path.is_file():
        return ""
    try:
        with path.open("rb") as file:
            return file.read(_READ).decode("utf-8", "replace")
    except OSError:
        return ""
