"""What BFCL's label "no tool fits" is worth over its whole catalog.

BFCL gives that label against the few candidates of an entry. `bfcl_irrelevance.jsonl` holds what we decided against all tools:
BM25, a sentence encoder and their sum proposed, we read each request and the list of tools. Only ids and our own words are in
it, none of BFCL's texts. A tool that takes anything (a web search, a language model, a person) counts where it is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

from toolgen.datasets.packaged import packaged


@dataclass(frozen=True, kw_only=True)
class Relabelled:
    """`none`: the label holds. `fits`: the tool does what is asked. `lacks`: it would, but a detail is missing, and to ask for
    it is right. `open`: one can see it either way."""

    id: str
    decision: Literal["none", "fits", "lacks", "open"]
    reason: str
    tool: str = ""

    @property
    def fault(self) -> str:
        """What is wrong with the label; empty where it holds."""
        said = {"none": "", "fits": "does what is asked", "lacks": "lacks a detail", "open": "may do what is asked"}
        return said[self.decision] and f"{self.tool} {said[self.decision]}: {self.reason}"


@cache
def relabelled() -> Mapping[str, Relabelled]:
    """The decisions by the ids of requests."""
    return {one.id: one for one in packaged(Relabelled, "bfcl_irrelevance.jsonl")}
