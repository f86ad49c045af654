"""Docstrings to a description and one line a parameter; Google, NumPy and reST styles, read by docstring-parser. Knows no
function."""

from __future__ import annotations

import re
from dataclasses import dataclass

import docstring_parser


@dataclass(frozen=True)
class ParsedDocstring:
    """`description` is everything before the first section; `parameters` maps a name to its text on one line."""

    description: str
    parameters: dict[str, str]


def parse_docstring(docstring: str | None) -> ParsedDocstring:
    """Reads a docstring of any of the three styles; a text without sections, or with broken ones, is all description."""
    parsed = docstring_parser.parse(docstring or "")
    parameters = {
        name.strip().lstrip("*"): " ".join((parameter.description or "").split())
        for parameter in parsed.params
        if parameter.args[0] != "attribute"
        for name in parameter.arg_name.split(",")
    }
    paragraphs = re.split(r"\n\s*\n", (parsed.description or "").strip())
    return ParsedDocstring("\n".join(" ".join(one.split()) for one in paragraphs if one.strip()), parameters)
