"""What the loaders share: their result, and text that any file and tokenizer can hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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


def scrub(value: Any) -> Any:
    """The same JSON value without NUL bytes and with lone surrogates replaced: no UTF-8 file can hold the latter."""
    if isinstance(value, str):
        return value.replace("\0", "").encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [scrub(item) for item in value]
    if isinstance(value, dict):
        return {scrub(key): scrub(item) for key, item in value.items()}
    return value
