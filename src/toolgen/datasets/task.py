"""Task: what an agent is to do, turn by turn, and what is expected of it. Knows no model, environment or checker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from toolgen.catalog.tool import Definition
from toolgen.datasets.payloads import PAYLOADS, Kind, Payload
from toolgen.datasets.query import Call, Query
from toolgen.errors import DatasetError
from toolgen.foreign.data import clean_text
from toolgen.foreign.typed import typed


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One turn of the user: what is said and what should then be called.

    `calls` are the expected calls in order; empty where there is nothing to call, so that the agent declines or asks back;
    None where nobody knows. `held_back` are tools that are not offered in this turn.
    """

    text: str
    calls: tuple[Call, ...] | None = None
    held_back: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        record: dict[str, Any] = {"text": self.text}
        if self.calls is not None:
            record["calls"] = [call.to_dict() for call in self.calls]
        if self.held_back:
            record["held_back"] = list(self.held_back)
        return record


@dataclass(frozen=True, kw_only=True)
class Task:
    """What an agent does: the turns of the user, one or more.

    `system` precedes the first turn. `state` is where the environment begins, in its own terms. `payload` is what the
    benchmark of the task needs in addition. `definitions` are those of its tools that it means otherwise than the catalog.
    `category` is the source's own grouping. `faults` say what is wrong with the source's label, as in `Query`. `synthetic`: it
    was made from documentation. A task and a query of one id are the same request.
    """

    id: str
    turns: tuple[Turn, ...]
    system: str = ""
    state: Mapping[str, Any] = field(default_factory=dict)
    payload: Payload | None = None
    definitions: tuple[Definition, ...] = ()
    category: str = ""
    faults: tuple[str, ...] = ()
    synthetic: bool = False

    def __post_init__(self) -> None:
        if not self.turns:
            raise DatasetError(f"task {self.id!r} has no turn; expected at least one text of the user")

    @classmethod
    def from_text(cls, text: str, id: str = "task") -> Task:
        """A request of which nothing is known but its text, which is cleaned of what no tokenizer reads."""
        return cls(id=id, turns=(Turn(text=clean_text(text)),))

    @classmethod
    def from_query(cls, query: Query) -> Task:
        """A query as a task of one turn; nothing is to be called where no tool fits."""
        turn = Turn(text=query.text, calls=(query.calls or None) if query.tools else ())
        return cls(
            id=query.id,
            turns=(turn,),
            category=query.category,
            faults=query.faults,
            synthetic=query.is_synthetic,
        )

    @property
    def calls(self) -> tuple[Call, ...]:
        """The expected calls of all turns; none where they are not known."""
        return tuple(call for turn in self.turns for call in turn.calls or ())

    @property
    def tools(self) -> tuple[str, ...]:
        """The ids of the tools that the expected calls call, in the order of first use."""
        return tuple(dict.fromkeys(call.tool for call in self.calls))

    @property
    def has_known_calls(self) -> bool:
        """Whether it is known of each turn what is to be called, if anything."""
        return all(turn.calls is not None for turn in self.turns)

    @property
    def no_tool_fits(self) -> bool:
        """Whether it is known that there is nothing to call in any turn."""
        return all(turn.calls == () for turn in self.turns)

    @property
    def kind(self) -> Kind:
        """What the task is counted as."""
        if self.payload is not None:
            return self.payload.kind
        if self.no_tool_fits:
            return "irrelevance"
        return "single_turn" if len(self.turns) == 1 else "multi_turn"

    @property
    def package(self) -> str:
        """The fetched package without which the task cannot be carried out; empty if it needs none."""
        return self.payload.package if self.payload else ""

    def to_dict(self) -> dict[str, Any]:
        """The record of `tasks.*.jsonl`; what is empty is left out."""
        record: dict[str, Any] = {"id": self.id, "turns": [turn.to_dict() for turn in self.turns]}
        if self.payload is not None:
            record["payload"] = {"name": self.payload.name, **self.payload.to_dict()}
        rest = {
            "system": self.system,
            "state": self.state,
            "definitions": [asdict(one) for one in self.definitions],
            "category": self.category,
            "faults": list(self.faults),
            "synthetic": self.synthetic,
        }
        return record | {key: value for key, value in rest.items() if value}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Task:
        """Reads `to_dict`; ValueError says what is of another type, KeyError what is missing."""
        payload = record.get("payload")
        return cls(
            id=typed(str, record["id"]),
            turns=typed(tuple[Turn, ...], record["turns"]),
            system=typed(str, record.get("system", "")),
            state=typed(dict[str, Any], record.get("state", {})),
            payload=None if payload is None else PAYLOADS[payload["name"]].from_dict(payload),
            definitions=typed(tuple[Definition, ...], record.get("definitions", ())),
            category=typed(str, record.get("category", "")),
            faults=typed(tuple[str, ...], record.get("faults", ())),
            synthetic=typed(bool, record.get("synthetic", False)),
        )
