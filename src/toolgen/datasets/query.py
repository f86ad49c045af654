"""Query: a request with the tools that answer it, as a retriever is asked and trained. Knows no model and no file layout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from toolgen.foreign.typed import typed


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of a tool: its id and the argument object."""

    tool: str
    arguments: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        return {"tool": self.tool, "arguments": self.arguments}


@dataclass(frozen=True, kw_only=True)
class Synthetic:
    """Written from a tool's documentation (`toolgen catalog queries`): in which style, by whom ("rules" or a model)."""

    style: str
    by: str


@dataclass(frozen=True, kw_only=True)
class Rewritten:
    """Another wording of a request (`toolgen catalog rewrite`): how, by whom ("rules" or a model), and the original text."""

    how: str
    by: str
    original: str


Origin = Synthetic | Rewritten
_ORIGINS: Mapping[str, type[Origin]] = {"synthetic": Synthetic, "rewritten": Rewritten}


@dataclass(frozen=True, kw_only=True)
class Query:
    """A request.

    `tools` are the relevant tool ids without repetition, in the order of first use; empty means that no tool fits
    (abstention). `calls` are the expected calls in order, or None where the source has none. `category` is the source's
    own grouping. `origin` is None for what a user wrote. `faults` say what is wrong with the source's label: its calls
    contradict their tools, or a tool fits where it says that none does.
    """

    id: str
    text: str
    tools: tuple[str, ...]
    calls: tuple[Call, ...] | None = None
    category: str = ""
    origin: Origin | None = None
    faults: tuple[str, ...] = ()

    @property
    def is_synthetic(self) -> bool:
        """Whether it was made from documentation."""
        return isinstance(self.origin, Synthetic)

    def to_dict(self) -> dict[str, Any]:
        """The record of `queries.*.jsonl`; what is empty is left out, but for the tools."""
        record: dict[str, Any] = {"id": self.id, "text": self.text, "tools": list(self.tools)}
        if self.calls is not None:
            record["calls"] = [call.to_dict() for call in self.calls]
        if self.category:
            record["category"] = self.category
        if self.origin is not None:
            record["origin"] = {"kind": type(self.origin).__name__.lower(), **asdict(self.origin)}
        if self.faults:
            record["faults"] = list(self.faults)
        return record

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Query:
        """Reads `to_dict`; ValueError says what is of another type, KeyError what is of an unknown kind."""
        origin = record.get("origin")
        return typed(cls, {**record, "origin": None if origin is None else _origin(origin)})


def _origin(record: Mapping[str, Any]) -> Origin:
    return typed(_ORIGINS[record["kind"]], record)
