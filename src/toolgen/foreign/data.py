"""The one door through which foreign files, texts and JSON come in. Its rules hold for every source and option:

- A file is a regular one, of at most MAX_FILE_BYTES: no folder, pipe or device, and no link to one.
- Text is UTF-8, or UTF-16 or UTF-32 that can be told from it. Lines end at a line feed alone, with or without a carriage
  return before it; other separators of Unicode (U+2028, U+0085, ...) stand inside texts.
- JSON nests at most MAX_DEPTH deep; what lies deeper is left out. A key that occurs twice in one object: two objects become
  one with the members of both, of anything else the later is taken. A number that JSON does not have or no program
  holds (NaN, Infinity, 1e999, an integer of more than 308 digits) is null.
- A string holds no NUL, which is left out, and no lone surrogate, which becomes "?": no UTF-8 file can hold the latter.

What was changed on the way is told to `on_note`, one line each. Errors are InputError, in one line. Knows no format but JSON.
"""

from __future__ import annotations

import gzip
import json
import math
import os
import re
import stat
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from toolgen.errors import InputError
from toolgen.files import whole_lines

Note = Callable[[str], None]
OnLoss = Callable[[str, str], None]
"""Takes what was lost, such as `line 3`, and the reason."""

MAX_FILE_BYTES = 1 << 30
MAX_DEPTH = 200  # of JSON and YAML; everything that walks through a value recurses
MAX_DIGITS = 308  # of an integer: what a float can hold, too
_TOO_LARGE = 10**MAX_DIGITS
_REFUSED = "numbers that JSON does not have (NaN, Infinity, 1e999) became null"
_DEEP = f"what is nested deeper than {MAX_DEPTH} levels was left out"

# Escapes or characters that no UTF-8 file can hold, or no text should: NUL and surrogates. Pairs of surrogate escapes match
# too; they only cost a second look.
UNCLEAN = re.compile("\\\\u(?:0000|[dD][89a-fA-F])|[\0\ud800-\udfff]")


# --- files and texts --------------------------------------------------------------------------------------------------


def read_bytes(path: Path, limit: int = MAX_FILE_BYTES) -> bytes:
    """The content of a regular file; InputError if it is none, cannot be read or has more than `limit` bytes."""
    try:
        with open_file(path) as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    if len(data) > limit:
        raise InputError(f"{path} has more than {limit >> 20:,} MB; at most that much is read")
    return data


def lines_so_far(path: Path) -> bytes:
    """The whole lines of a file to which lines are added; none where there is no file."""
    return whole_lines(read_bytes(path)) if path.exists() else b""


def read_gzip(path: Path, limit: int = MAX_FILE_BYTES) -> bytes:
    """What a gzip file holds, unpacked no further than `limit` bytes: 1 MB can hold 1 GB. InputError as for `read_bytes`, or
    if it is damaged."""
    try:
        with open_file(path) as file, gzip.open(file) as packed:
            data = packed.read(limit + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"cannot read {path}: {error}") from error
    if len(data) > limit:
        raise InputError(f"{path} holds more than {limit >> 20:,} MB; at most that much is unpacked")
    return data


def open_file(path: Path) -> BinaryIO:
    """A regular file, opened to read; InputError if it is none. A pipe would be waited for, a device has no end."""
    try:
        file = open(path, "rb", opener=_open_at_once)  # noqa: SIM115  # the caller closes it
    except FileNotFoundError:
        raise InputError(f"there is no file {path}") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder; expected a file") from None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    raise InputError(f"{path} is a pipe or a device; expected a regular file")


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # which Windows does not have, nor pipes with names


def read_text(path: Path, limit: int = MAX_FILE_BYTES) -> str:
    """The text of a file, without a byte order mark; InputError as for `read_bytes`, or if it is no text."""
    return decode(read_bytes(path, limit), str(path))


def decode(data: bytes, place: str) -> str:
    """The text of some bytes, without a byte order mark; InputError that begins with `place` if they are none."""
    try:
        return data.decode(json.detect_encoding(data), "surrogatepass").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise InputError(f"{place}: not text in UTF-8 (byte {error.start})") from None


def read_lines(path: Path, on_loss: OnLoss) -> Iterator[tuple[int, str]]:
    """Number and text of each line that is not blank. One that is no text is told to `on_loss`; InputError as for
    `read_bytes`."""
    return _lines(read_bytes(path), str(path), on_loss)


def _lines(data: bytes, place: str, on_loss: OnLoss) -> Iterator[tuple[int, str]]:
    encoding = json.detect_encoding(data)
    if not encoding.startswith("utf-8"):
        data, encoding = decode(data, place).encode("utf-8", "surrogatepass"), "utf-8"
    for number, line in enumerate(data.split(b"\n"), start=1):
        try:
            text = line.decode(encoding if number == 1 else "utf-8", "surrogatepass")
        except UnicodeDecodeError as error:
            on_loss(f"line {number}", f"not text in UTF-8 (byte {error.start})")
            continue
        if text.strip():
            yield number, text.removesuffix("\r")


# --- JSON -------------------------------------------------------------------------------------------------------------


def parse_json(text: str, place: str, on_note: Note | None = None) -> Any:
    """The JSON value of a text, clean; InputError that begins with `place` if it is none."""
    try:
        return _parsed(text, on_note)
    except ValueError as error:
        raise InputError(f"{place}: {error}") from None


def read_json(path: Path, on_note: Note | None = None) -> Any:
    """The JSON value of a file, clean; InputError as for `read_text` and `parse_json`."""
    return parse_json(read_text(path), str(path), on_note)


def read_objects(path: Path, on_loss: OnLoss, on_note: Note | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number and object of each line of JSON lines. A line that holds none is told to `on_loss`; InputError as for
    `read_bytes`."""
    for number, value in line_values(read_bytes(path), str(path), on_loss, on_note):
        if isinstance(value, dict):
            yield number, value
        else:
            on_loss(f"line {number}", f"expected an object, got {type(value).__name__}")


def read_values(path: Path, on_loss: OnLoss, on_note: Note | None = None) -> list[Any]:
    """The value of a file that is one JSON document, else the values of its lines.

    A line that cannot be read is told to `on_loss`. InputError as for `read_bytes`, or if the file is neither: lines of a
    broken document that happen to be JSON are no JSON lines.
    """
    data = read_bytes(path)
    try:
        return [parse_json(decode(data, str(path)), str(path), on_note)]
    except InputError as error:
        reason = str(error).removeprefix(f"{path}: ").removeprefix("not JSON: ")
    broken: list[tuple[str, str]] = []
    values = [value for _, value in line_values(data, str(path), lambda *loss: broken.append(loss), on_note)]
    if sum(isinstance(value, dict) for value in values) <= len(broken):
        raise InputError(f"{path} is neither JSON nor JSON lines: {reason}")
    for loss in broken:
        on_loss(*loss)
    return values


def line_values(data: bytes, place: str, on_loss: OnLoss, on_note: Note | None = None) -> Iterator[tuple[int, Any]]:
    """Number and value of each line of JSON lines that is not blank; one that cannot be read is told to `on_loss`."""
    for number, line in _lines(data, place, on_loss):
        try:
            yield number, _parsed(line, on_note)
        except ValueError as error:
            on_loss(f"line {number}", str(error))


def _parsed(text: str, on_note: Note | None) -> Any:
    """The value of a text, clean; ValueError with the reason if it is none."""
    note = on_note or (lambda _line: None)
    refused = 0

    def nothing(_text: str) -> Any:
        nonlocal refused
        refused += 1
        return None

    def whole(digits: str) -> Any:
        return int(digits) if len(digits) <= MAX_DIGITS else nothing(digits)

    def finite(digits: str) -> Any:
        number = float(digits)
        return number if math.isfinite(number) else nothing(digits)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) == len(pairs):
            return found
        found = {}
        for key, value in pairs:
            found[key] = joined(key, found[key], value, note) if key in found else value
        return found

    try:
        value = json.loads(text, parse_constant=nothing, parse_float=finite, parse_int=whole, object_pairs_hook=unique)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except json.JSONDecodeError as error:
        cut = error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated")
        raise ValueError(f"not JSON: {error}" + "; it may be incomplete" * cut) from None
    if refused:
        note(f"{refused} {_REFUSED}")
    if cut_depth(value):
        note(_DEEP)
    plain = text.isascii() and "\\u" not in text  # most texts are, which is told ten times as fast
    return value if plain or not UNCLEAN.search(text) else clean(value)


def joined(key: str, first: Any, second: Any, note: Note) -> Any:
    """What a key that occurs twice in one object stands for."""
    if not (isinstance(first, dict) and isinstance(second, dict)):
        note(f"the key {key[:60]!r} occurs twice in one object; the later value was taken")
        return second
    note(f"the key {key[:60]!r} occurs twice in one object; the members of both were taken")
    both = dict(first)
    for inner, value in second.items():
        both[inner] = joined(inner, both[inner], value, note) if inner in both else value
    return both


def cut_depth(value: Any) -> bool:
    """Empties what lies deeper than MAX_DEPTH levels in a value, in place; whether there was something."""
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(MAX_DEPTH):
        if not level:
            return False
        inside = (outer.values() if isinstance(outer, dict) else outer for outer in level)
        level = [inner for some in inside for inner in some if isinstance(inner, (dict, list))]
    found = any(level)
    for outer in level:
        outer.clear()
    return found


def clean(value: Any, depth: int = 0) -> Any:
    """A value that did not come through `parse_json`, under the same rules; tuples become lists."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, (list, tuple)):
        return [clean(item, depth + 1) for item in value] if depth < MAX_DEPTH else []
    if isinstance(value, dict):
        return {clean(key): clean(item, depth + 1) for key, item in value.items()} if depth < MAX_DEPTH else {}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return None if isinstance(value, int) and abs(value) >= _TOO_LARGE else value


def clean_text(text: str) -> str:
    """A text without NUL, with lone surrogates replaced."""
    return text.replace("\0", "").encode("utf-8", "replace").decode() if UNCLEAN.search(text) else text
