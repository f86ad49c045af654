"""A licence is what a folder states, never what was hoped for."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolgen.fetching.licences import UNKNOWN, licence_of


@pytest.mark.parametrize(
    ("name", "text", "licence"),
    [
        ("README.md", "---\nlanguage: en\nlicense: cc-by-nc-4.0\n---\n# A model\n", "cc-by-nc-4.0"),
        ("README.md", "---\nlicense: 'mit'\n---\n", "mit"),
        ("README.md", "# A model\nlicense: mit\n", UNKNOWN),
        ("LICENSE", "                  Apache License\n      Version 2.0, January 2004\n", "Apache-2.0"),
        ("LICENSE.txt", "MIT License\n\nCopyright", "MIT"),
        ("LICENSE", "All rights reserved.", UNKNOWN),
        ("notes.txt", "MIT License", UNKNOWN),
    ],
)
def test_the_licence_is_what_the_folder_states(tmp_path: Path, name: str, text: str, licence: str) -> None:
    (tmp_path / name).write_text(text)
    assert licence_of(tmp_path) == licence
