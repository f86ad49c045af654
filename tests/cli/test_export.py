"""`toolgen export`: one file, and nothing else replaced by it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from typer.testing import Result

from toolgen.testing import tiny_checkpoint

Invoke = Callable[..., Result]


def test_the_command_writes_the_file_once(toolgen: Invoke, tmp_path: Path) -> None:
    tiny_checkpoint().save(tmp_path / "model")
    output = tmp_path / "tools.gguf"
    first = toolgen("export", "gguf", tmp_path / "model", "-o", output, "--json")
    answer = json.loads(first.stdout)
    assert (answer["tools"], answer["bytes"]) == (13, output.stat().st_size)
    again = toolgen("export", "gguf", tmp_path / "model", "-o", output)
    assert (again.exit_code, "--overwrite" in again.stderr) == (2, True)
    assert toolgen("export", "gguf", tmp_path / "model", "-o", output, "--overwrite").exit_code == 0
