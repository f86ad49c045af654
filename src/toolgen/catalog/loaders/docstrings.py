"""Docstrings to a description and one line a parameter; Google, NumPy and reST styles, read by docstring-parser. Knows no
function."""

from __future__ import annotations

import re
from dataclasses import dataclass

import docstring_parser

# docstring-parser ends a type at its first colon or space; the type hints say more, so types are taken out first.
_GOOGLE_SECTION = re.compile(r"\s*(?:(?:keyword|other) )?(?:args|arguments|params|parameters):\s*", re.IGNORECASE)
_GOOGLE_ENTRY = re.compile(r"(\s*\*{0,2}\w+)\s*(?=\()")
_REST_ENTRY = re.compile(
    r"^(\s*:(?:param|parameter|arg|argument|key|keyword))\s+(?!\*{0,2}\w+\s*:)[^\n]*?\s(\*{0,2}\w+)\s*:(?=\s|$)",
    re.MULTILINE,
)
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")


@dataclass(frozen=True)
class ParsedDocstring:
    """`description` is everything before the first section; `parameters` maps a name to its text on one line."""

    description: str
    parameters: dict[str, str]


def parse_docstring(docstring: str | None) -> ParsedDocstring:
    """Reads a docstring of any of the three styles; a text without sections, or with broken ones, is all description."""
    parsed = docstring_parser.parse(_without_types(docstring or ""))
    parameters = {
        name.strip().lstrip("*"): " ".join((parameter.description or "").split())
        for parameter in parsed.params
        if parameter.args[0] != "attribute"
        for name in parameter.arg_name.split(",")
    }
    paragraphs = re.split(r"\n\s*\n", (parsed.description or "").strip())
    return ParsedDocstring("\n".join(" ".join(one.split()) for one in paragraphs if one.strip()), parameters)


def _without_types(docstring: str) -> str:
    lines = _REST_ENTRY.sub(r"\1 \2:", docstring).split("\n")
    section: int | None = None  # indentation of the section's title
    entries: int | None = None  # indentation of its entries
    for place, line in enumerate(lines):
        indentation = len(line) - len(line.lstrip())
        if _GOOGLE_SECTION.fullmatch(line):
            section, entries = indentation, None
        elif section is not None and line.strip():
            if indentation <= section:
                section = None
                continue
            entries = indentation if entries is None else entries
            if indentation == entries and (entry := _GOOGLE_ENTRY.match(line)):
                end = _closing_bracket(line, entry.end())
                if line[end:].lstrip().startswith(":"):
                    lines[place] = entry[1] + line[end:].lstrip()
    return "\n".join(lines)


def _closing_bracket(line: str, start: int) -> int:
    """The place after the bracket that closes the one at `start`, brackets in quotes left alone; the end without one."""
    depth = 0
    bare = _QUOTED.sub(lambda quoted: " " * len(quoted[0]), line)
    for place in range(start, len(bare)):
        depth += (bare[place] in "([{") - (bare[place] in ")]}")
        if depth == 0:
            return place + 1
    return len(line)
