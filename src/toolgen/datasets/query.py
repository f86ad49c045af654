"""Query: a user's request with the tools (and calls) that answer it. Knows no model and no file layout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SYNTHETIC = "synthetic"
"""The key of `Query.meta` that says who wrote a request that no user made, and in which style."""
REWRITTEN = "rewritten"
"""The key of `Query.meta` that says how and by whom a request was made shorter or vaguer, and how it read before."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of a tool: its id and the argument object."""

    tool: str
    arguments: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        return {"tool": self.tool, "arguments": self.arguments}


@dataclass(frozen=True, kw_only=True)
class Query:
    """A request.

    `tools` are the relevant tool ids without repetition, in the order of first use; empty means that no tool fits
    (abstention). `calls` are the expected calls in order, or None where the source has none. `meta` carries what a
    benchmark needs besides: `category`, `unseen_tools` (bool), `expected` (the accepted values of each argument), ...
    """

    id: str
    text: str
    tools: tuple[str, ...]
    calls: tuple[Call, ...] | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_synthetic(self) -> bool:
        """Whether it was made from documentation (`toolgen catalog queries`)."""
        return SYNTHETIC in self.meta

    @property
    def is_multi_turn(self) -> bool:
        """Whether it is a task of several requests, one after another, in `meta["turns"]`."""
        return "turns" in self.meta

    def to_dict(self) -> dict[str, Any]:
        """The record of `queries.*.jsonl`."""
        record: dict[str, Any] = {"id": self.id, "text": self.text, "tools": list(self.tools)}
        if self.calls is not None:
            record["calls"] = [call.to_dict() for call in self.calls]
        record["meta"] = self.meta
        return record

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Query:
        calls = record.get("calls")
        return cls(
            id=record["id"],
            text=record["text"],
            tools=tuple(record["tools"]),
            calls=None if calls is None else tuple(Call(tool=c["tool"], arguments=c["arguments"]) for c in calls),
            meta=record.get("meta", {}),
        )
