"""Reads the text files of published datasets: lines, and JSON objects one a line, with the place of a fault."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from toolgen.catalog.loaders.common import scrub
from toolgen.errors import DatasetError


def read_text(path: Path) -> str:
    """The text of a file; DatasetError if it is missing or not UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DatasetError(f"{path.parent} has no {path.name}; is it the folder of another dataset?") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"cannot read {path}: {error}") from error


def read_lines(path: Path) -> list[str]:
    """The lines of a file that are not empty; DatasetError as for `read_text`."""
    return [
        line for line in read_text(path).split("\n") if line.strip()
    ]  # not splitlines: U+2028 stands inside JSON strings


def read_objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and object, text cleaned of what no UTF-8 file can hold; DatasetError names a line that is none."""
    for number, line in enumerate(read_lines(path), start=1):
        value = parse_json(line, f"{path}, line {number}")
        if not isinstance(value, dict):
            raise DatasetError(f"{path}, line {number}: expected an object, got {type(value).__name__}")
        yield number, value


def parse_json(text: str, place: str) -> Any:
    """The value of a JSON text, cleaned of what no UTF-8 file can hold; DatasetError as for `parse_raw_json`."""
    try:
        return scrub(parse_raw_json(text, place))
    except RecursionError:
        raise DatasetError(f"{place}: nested too deeply") from None


def parse_raw_json(text: str, place: str) -> Any:
    """The value of a JSON text; DatasetError that begins with `place` if it is none or nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError:
        raise DatasetError(f"{place}: nested too deeply") from None
    except ValueError as error:
        raise DatasetError(f"{place}: not JSON ({error})") from error
