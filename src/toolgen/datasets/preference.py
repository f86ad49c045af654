"""Preference: two ways in which one conversation went on, of which one was better. Knows no model and no prompt format.

The names of its parts are those of TRL's conversational preference data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from toolgen.datasets.messages import FINISH, NO_TOOL
from toolgen.datasets.trajectory import Message, called_tools, check_messages
from toolgen.errors import DatasetError
from toolgen.foreign.typed import typed


@dataclass(frozen=True, kw_only=True)
class Preference:
    """After the messages of `prompt` those of `chosen` are better than those of `rejected`; both begin with the assistant's.

    `query` is the id of the query or task. `tools` are the tools among which was chosen; None: the whole catalog.
    """

    id: str
    query: str
    prompt: tuple[Message, ...]
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]
    tools: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("prompt", "chosen", "rejected"):
            check_messages(getattr(self, name), f"preference {self.id!r}, {name}")
        if not self.prompt:
            raise DatasetError(f"preference {self.id!r}: its prompt is empty; expected at least a message of the user")
        for name in ("chosen", "rejected"):
            messages = getattr(self, name)
            if not messages or messages[0]["role"] != "assistant":
                raise DatasetError(f"preference {self.id!r}: {name} must begin with a message of the assistant")
        if self.chosen == self.rejected:
            raise DatasetError(f"preference {self.id!r}: chosen and rejected are the same")
        if self.tools is not None and (missing := sorted(self.called_tools - {*self.tools, FINISH, NO_TOOL})):
            raise DatasetError(f"preference {self.id!r} calls {missing[0]!r}, which is not among its tools")

    @property
    def called_tools(self) -> frozenset[str]:
        """The names in all its calls, "finish" and "no_tool" too."""
        return called_tools((*self.prompt, *self.chosen, *self.rejected))

    def to_dict(self) -> dict[str, Any]:
        """The record of `preferences.*.jsonl`."""
        record: dict[str, Any] = {"id": self.id, "query": self.query}
        record |= {name: list(getattr(self, name)) for name in ("prompt", "chosen", "rejected")}
        return record if self.tools is None else record | {"tools": list(self.tools)}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Preference:
        """Reads `to_dict`; ValueError says what is of another type."""
        return typed(cls, record)
