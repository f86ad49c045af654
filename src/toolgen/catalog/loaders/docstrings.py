"""Docstrings to a description and one line per parameter; Google, NumPy and reST styles. Knows no function."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from dataclasses import dataclass

_GOOGLE_PARAMETERS = (
    "args",
    "arguments",
    "parameters",
    "params",
    "keyword args",
    "keyword arguments",
    "other parameters",
)
_GOOGLE_OTHER = (
    "returns", "return", "yields", "yield", "raises", "raise", "example", "examples", "note", "notes", "warning",
    "warnings", "attributes", "see also", "references", "todo", "warns",
)  # fmt: skip
_GOOGLE_SECTION = re.compile(rf"^({'|'.join((*_GOOGLE_PARAMETERS, *_GOOGLE_OTHER))})\s*:\s*$", re.I)
_GOOGLE_ENTRY = re.compile(r"^\*{0,2}(?P<name>\w+)\s*(\([^)]*\))?\s*:\s*(?P<text>.*)$")
_NUMPY_ENTRY = re.compile(r"^(?P<names>\*{0,2}\w+(\s*,\s*\*{0,2}\w+)*)\s*(:.*)?$")
_REST_PARAMETER = re.compile(
    r"^:(?:param|parameter|arg|argument|key|keyword)\s+(?:[^:]*\s)?\*{0,2}(?P<name>\w+)\s*:\s*(?P<text>.*)$"
)
_REST_FIELD = re.compile(r"^:\w+[^:]*:")


@dataclass(frozen=True)
class ParsedDocstring:
    """`description` is everything before the first section; `parameters` maps a name to its text on one line."""

    description: str
    parameters: dict[str, str]


def parse_docstring(docstring: str | None) -> ParsedDocstring:
    """Reads a docstring of any of the three styles; a text without sections is all description."""
    lines = inspect.cleandoc(docstring or "").splitlines()
    description: list[str] = []
    parameters: dict[str, str] = {}
    in_description, at = True, 0
    while at < len(lines):
        if (section := _section(lines, at)) is not None:
            in_description = False
            at = section.end
            if section.is_parameters:
                parameters |= section.read(lines[section.start : section.end])
        elif match := _REST_PARAMETER.match(lines[at]):
            in_description = False
            end = _block_end(lines, at + 1)
            parameters[match["name"]] = _joined([match["text"], *lines[at + 1 : end]])
            at = end
        else:
            in_description = in_description and not _REST_FIELD.match(lines[at])
            if in_description:
                description.append(lines[at])
            at += 1
    return ParsedDocstring(_paragraphs(description), parameters)


@dataclass(frozen=True)
class _Section:
    """Lines [start, end) below a heading."""

    start: int
    end: int
    is_parameters: bool
    is_numpy: bool

    def read(self, lines: Sequence[str]) -> dict[str, str]:
        return _numpy_entries(lines) if self.is_numpy else _google_entries(lines)


def _section(lines: Sequence[str], at: int) -> _Section | None:
    """The section whose heading is line `at`, if it is one."""
    heading = lines[at].strip()
    underlined = at + 1 < len(lines) and re.fullmatch(r"-{3,}", lines[at + 1].strip()) is not None
    if underlined and heading:
        end = at + 2
        while end < len(lines) and not (end + 1 < len(lines) and re.fullmatch(r"-{3,}", lines[end + 1].strip())):
            end += 1
        return _Section(at + 2, end, heading.lower() in _GOOGLE_PARAMETERS, is_numpy=True)
    if (match := _GOOGLE_SECTION.match(lines[at])) is None:
        return None
    return _Section(at + 1, _block_end(lines, at + 1), match[1].lower() in _GOOGLE_PARAMETERS, is_numpy=False)


def _block_end(lines: Sequence[str], start: int) -> int:
    """The first line from `start` on that is neither indented nor empty."""
    return next(
        (i for i in range(start, len(lines)) if lines[i].strip() and not lines[i].startswith((" ", "\t"))), len(lines)
    )


def _google_entries(lines: Sequence[str]) -> dict[str, str]:
    texts = [line for line in lines if line.strip()]
    indent = min((len(line) - len(line.lstrip()) for line in texts), default=0)
    entries: dict[str, list[str]] = {}
    current: list[str] = []
    for line in texts:
        starts = len(line) - len(line.lstrip()) == indent and (match := _GOOGLE_ENTRY.match(line.strip()))
        if starts and match:
            current = entries.setdefault(match["name"], [])
            current.append(match["text"])
        else:
            current.append(line)
    return {name: _joined(texts) for name, texts in entries.items()}


def _numpy_entries(lines: Sequence[str]) -> dict[str, str]:
    entries: dict[str, list[str]] = {}
    current: list[str] = []
    for line in lines:
        if line[:1].strip() and (match := _NUMPY_ENTRY.match(line)):
            current = []
            for name in match["names"].split(","):
                entries[name.strip().lstrip("*")] = current
        else:
            current.append(line)
    return {name: _joined(texts) for name, texts in entries.items()}


def _joined(lines: Sequence[str]) -> str:
    return " ".join(word for line in lines for word in line.split())


def _paragraphs(lines: Sequence[str]) -> str:
    """Lines of one paragraph joined, paragraphs kept apart by one line break."""
    blocks = re.split(r"\n\s*\n", "\n".join(lines).strip())
    return "\n".join(_joined([block]) for block in blocks if block.strip())
