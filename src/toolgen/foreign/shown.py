"""What is left of a foreign text where people see it: only characters that are drawn; and the same in Markdown. Knows no
terminal and no page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_BREAKS = re.compile("[\t\n\v\f\r\x1c-\x1f\x85\u2028\u2029]")
# C0 without tab and line feed, and C1; what turns the direction of what follows; lone surrogates, which no encoding can write.
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_MARKUP = re.compile(r"([\\`*_{}\[\]<>|#~])")
_CELL_END = re.compile(r"(?<!\\)\|")


def drawn(text: str) -> str:
    """A text in lines, as long as it was; a character that a terminal or a page would obey is a replacement character."""
    return _OBEYED.sub("\ufffd", text)


def one_line(text: str) -> str:
    """The same in one line: each break of a line, and each tab, is a space."""
    return drawn(_BREAKS.sub(" ", text))


def in_markdown(text: str) -> str:
    """The same in one line of Markdown that reads as it is written."""
    return _MARKUP.sub(r"\\\1", one_line(text))


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells in Markdown, which cannot end their cell."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(_CELL_END.sub(r"\\|", cell) for cell in line) + " |\n" for line in lines)
