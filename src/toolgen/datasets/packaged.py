"""Our own decisions about published data, which the package brings along: one record a line. Knows no dataset."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from typing import TypeVar

from toolgen.foreign.data import parse_json
from toolgen.foreign.typed import typed

T = TypeVar("T")


def packaged(kind: type[T], file: str) -> Iterator[T]:
    """The records of a file beside this module."""
    text = resources.files("toolgen.datasets").joinpath(file).read_text(encoding="utf-8")
    return (typed(kind, parse_json(line, file)) for line in text.splitlines())
