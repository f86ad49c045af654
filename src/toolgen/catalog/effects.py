"""What a call may change, as far as a catalog says it: a hint for whoever confirms calls or allows reading only.

A description is the word of whoever wrote it. HTTP: safe methods (RFC 9110, 9.2.1). MCP: `annotations` of a tool, which its
specification calls hints.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from toolgen.catalog.tool import Tool
from toolgen.foreign.shown import one_line

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""HTTP requests that only read: they may be sent again."""
Effect = Literal["reads", "adds", "changes", "deletes"]
SHOWN_ARGUMENTS = 1000
"""Characters of arguments in a question to a person."""
_MAY: Mapping[Effect, str] = {
    "reads": "only reads",
    "adds": "adds something",
    "changes": "may change something",
    "deletes": "may change or delete something",
}


def effect_of(tool: Tool) -> Effect:
    """The most that a tool may do. Where nothing is said it may delete, as MCP's default has it."""
    endpoint = tool.endpoint or {}
    if endpoint.get("kind") == "http":
        method = str(endpoint.get("method", "")).upper()
        if method in SAFE_METHODS:
            return "reads"
        return "changes" if method in ("POST", "PUT", "PATCH") else "deletes"
    annotations = endpoint.get("annotations")
    hints = annotations if isinstance(annotations, dict) else {}
    if hints.get("readOnlyHint") is True:
        return "reads"
    return "adds" if hints.get("destructiveHint") is False else "deletes"


def question(tool: Tool, arguments: Mapping[str, Any]) -> str:
    """What a person is asked before a call, in one line."""
    given = one_line(json.dumps(dict(arguments), ensure_ascii=False, default=str))
    if len(given) > SHOWN_ARGUMENTS:
        given = f"{given[:SHOWN_ARGUMENTS]} ... ({len(given) - SHOWN_ARGUMENTS:,} more characters)"
    return f"{one_line(tool.id)} {_MAY[effect_of(tool)]}. Call it with {given}?"


def only_reads(tool: Tool) -> bool:
    """Whether a tool says that it changes nothing. False where nothing is said."""
    return effect_of(tool) == "reads"
