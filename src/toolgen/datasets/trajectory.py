"""Trajectory: everything that was said and done for one request. Knows no model and no prompt format.

Messages are OpenAI chat messages. `function.name` of a tool call holds the *tool id*; wire names exist on the wire
only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Message = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    """One run. `messages` are user, assistant (`content`, `tool_calls`) and tool (`tool_call_id`, `content`) messages;
    an assistant makes one call a message. `query` is the id of the request. `outcome` says how it ended: `{"status":
    "finished" | "gave_up" | "declined" | "step_limit" | "token_limit" | "error", "answer": str | None, ...}`.
    """

    id: str
    query: str
    messages: tuple[Message, ...]
    outcome: Mapping[str, Any] = field(default_factory=dict)

    @property
    def called_tools(self) -> frozenset[str]:
        """The names in all its calls: tool ids, and "finish" or "no_tool" where they are written out."""
        calls = (call for message in self.messages for call in message.get("tool_calls") or ())
        return frozenset(call["function"]["name"] for call in calls)

    def to_dict(self) -> dict[str, Any]:
        """The record of `trajectories.*.jsonl`."""
        return {"id": self.id, "query": self.query, "messages": list(self.messages), "outcome": self.outcome}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Trajectory:
        return cls(
            id=record["id"],
            query=record["query"],
            messages=tuple(record["messages"]),
            outcome=record.get("outcome", {}),
        )
