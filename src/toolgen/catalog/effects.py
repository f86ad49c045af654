"""What a call may change, as far as a catalog says it: a hint for whoever confirms calls or allows reading only.

A description is the word of whoever wrote it. HTTP: safe methods (RFC 9110, 9.2.1). MCP: `annotations` of a tool, which its
specification calls hints.
"""

from __future__ import annotations

from typing import Literal

from toolgen.catalog.tool import Tool

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""HTTP requests that only read: they may be sent again."""
Effect = Literal["reads", "adds", "changes", "deletes"]


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


def only_reads(tool: Tool) -> bool:
    """Whether a tool says that it changes nothing. False where nothing is said."""
    return effect_of(tool) == "reads"
