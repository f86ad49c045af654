"""What the loaders of tools share."""

from __future__ import annotations

from dataclasses import dataclass

from toolgen.catalog.loaders.report import LoadReport
from toolgen.catalog.tool import Tool


@dataclass(frozen=True)
class LoadedTools:
    """The tools of one source, ids unique within it, and the account of what was lost or repaired."""

    tools: tuple[Tool, ...]
    report: LoadReport


def shortened(text: str, limit: int) -> str:
    """At most `limit` characters of a text, and ` ...` if there were more."""
    return text if len(text) <= limit else text[:limit].rstrip() + " ..."
