"""Atomic indexing: a tool is one new token, readable as `<<provider&&name>>` (ToolGen, arXiv 2410.03439, section 3.2)."""

from __future__ import annotations

from toolgen.catalog.catalog import Catalog
from toolgen.catalog.naming import assign_tokens
from toolgen.virtualization.indexing.spelling import Spelling


def atomic(catalog: Catalog) -> Spelling:
    """One token a tool, in the order of the catalog."""
    tokens = tuple(assign_tokens(catalog).values())
    return Spelling("atomic", tokens, tokens)
