"""What one benchmark needs of its tasks and no other has: a small frozen value for each, by name in the task's record.

Knows no checker and no environment; they take from the payload what they need.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Literal, Protocol, Self

from toolgen.foreign.typed import typed

Kind = Literal["single_turn", "multi_turn", "irrelevance"]
"""What a task is counted as: calls for one request, work over several turns or in a system with a state, or nothing to call."""


class Payload(Protocol):
    """`name` stands in the record, `kind` is what its tasks are counted as, and `package` names what must be fetched before
    they can be carried out (empty: nothing)."""

    name: ClassVar[str]
    kind: ClassVar[Kind]
    package: ClassVar[str]

    def to_dict(self) -> dict[str, Any]:
        """Its values for JSON."""

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """The payload of such values."""


@dataclass(frozen=True, kw_only=True)
class BfclAnswer:
    """What BFCL accepts for one expected call: the values of each parameter (the empty string: it may be left out)."""

    accepted: Mapping[str, Sequence[Any]]


@dataclass(frozen=True, kw_only=True)
class BfclCalls:
    """A single-turn request of BFCL: one answer for each expected call."""

    name: ClassVar[str] = "bfcl_calls"
    kind: ClassVar[Kind] = "single_turn"
    package: ClassVar[str] = ""
    answers: tuple[BfclAnswer, ...]

    def to_dict(self) -> dict[str, Any]:
        return {"answers": [{"accepted": one.accepted} for one in self.answers]}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        return typed(cls, record)


@dataclass(frozen=True, kw_only=True)
class BfclSystems:
    """A task in BFCL's simulated systems: the classes that it involves, whose initial state is the task's."""

    name: ClassVar[str] = "bfcl_systems"
    kind: ClassVar[Kind] = "multi_turn"
    package: ClassVar[str] = "bfcl"
    classes: tuple[str, ...]
    long_context: bool = False

    def to_dict(self) -> dict[str, Any]:
        return {"classes": list(self.classes), "long_context": self.long_context}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        return typed(cls, record)


@dataclass(frozen=True, kw_only=True)
class AgentDojoTask:
    """A user's task in a suite of AgentDojo (empty: only its world); with an `injection_task` somebody else's is written into
    what tools answer, as the task's state says."""

    name: ClassVar[str] = "agentdojo"
    kind: ClassVar[Kind] = "multi_turn"
    package: ClassVar[str] = "agentdojo"
    suite: str
    user_task: str
    injection_task: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        return typed(cls, record)


@dataclass(frozen=True, kw_only=True)
class Tau2Task:
    """A task in a domain of tau2, as its file has it (`record`; without criteria nothing is judged). `solo`: the agent has the
    user's tools, too."""

    name: ClassVar[str] = "tau2"
    kind: ClassVar[Kind] = "multi_turn"
    package: ClassVar[str] = "tau2"
    domain: str
    solo: bool
    record: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        return {"domain": self.domain, "solo": self.solo, "record": dict(self.record)}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        return typed(cls, record)


def world_of(payload: Payload | None) -> Payload | None:
    """The world of a task without what is asked for there; None if it has none, or one that somebody has tampered with."""
    if isinstance(payload, AgentDojoTask):
        return None if payload.injection_task else AgentDojoTask(suite=payload.suite, user_task="")
    if isinstance(payload, Tau2Task):
        kept = {key: value for key, value in payload.record.items() if key != "evaluation_criteria"}
        return replace(payload, record=kept)
    return payload if isinstance(payload, BfclSystems) and not payload.long_context else None


PAYLOADS: Mapping[str, type[Payload]] = {
    payload.name: payload for payload in (BfclCalls, BfclSystems, AgentDojoTask, Tau2Task)
}
