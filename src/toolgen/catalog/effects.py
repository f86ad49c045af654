"""What a call may change, as far as a catalog says it: a hint for whoever confirms calls or allows reading only.

A description is the word of whoever wrote it. HTTP: safe methods (RFC 9110, 9.2.1). MCP: `annotations` of a tool, which its
specification calls hints.
"""

from __future__ import annotations

from toolgen.catalog.tool import Tool

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""HTTP requests that only read: they may be sent again."""


def only_reads(tool: Tool) -> bool:
    """Whether a tool says that it changes nothing. False where nothing is said."""
    endpoint = tool.endpoint or {}
    if endpoint.get("kind") == "http":
        return str(endpoint.get("method", "")).upper() in SAFE_METHODS
    annotations = endpoint.get("annotations")
    return isinstance(annotations, dict) and annotations.get("readOnlyHint") is True
