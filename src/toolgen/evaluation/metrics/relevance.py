"""The relevant tools of a request as every metric sees them. Knows tool ids only."""

from __future__ import annotations

from collections.abc import Sequence

from toolgen.errors import InputError


def relevant_set(relevant: Sequence[str]) -> frozenset[str]:
    """The distinct relevant tools. Raises InputError if there are none: no ranking metric is defined then."""
    if not relevant:
        raise InputError("a ranking metric needs at least one relevant tool; leave out requests that no tool fits")
    return frozenset(relevant)
