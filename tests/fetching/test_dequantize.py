"""A tiny GGUF written here becomes a model folder; what is none is refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolgen.errors import FetchError
from toolgen.fetching.dequantize import dequantize


def test_a_file_that_is_no_gguf_is_refused(tmp_path: Path) -> None:
    (tmp_path / "wrong.gguf").write_bytes(b"not a model" * 100)
    (tmp_path / "made").mkdir()
    with pytest.raises(FetchError, match=r"wrong\.gguf cannot be read as a language model"):
        dequantize(tmp_path / "wrong.gguf", tmp_path / "made")
    assert not list((tmp_path / "made").iterdir())
