"""Writes small files in the publishers' formats."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes records as `NAME.jsonl.gz` into the folder of a set, which it returns."""

    def write(name: str, *records: Any) -> Path:
        text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        (tmp_path / f"{name}.jsonl.gz").write_bytes(gzip.compress(text.encode()))
        return tmp_path

    return write
