"""Trajectory: everything that was said and done for one request, and how it ended. Knows no model and no prompt format.

Messages are OpenAI chat messages. `function.name` of a tool call holds the *tool id*; wire names exist on the wire
only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from toolgen.errors import DatasetError
from toolgen.foreign.typed import typed

Message = Mapping[str, Any]
ROLES = ("system", "user", "assistant", "tool")
"""Who writes messages. Prompts name the role as it is, so there are no others."""
Status = Literal["finished", "gave_up", "declined", "step_limit", "token_limit", "time_limit", "cancelled", "error"]
# After these the user can go on; after a limit or an error, as in BFCL, the task ends.
TURN_DONE = frozenset[Status]({"finished", "gave_up", "declined"})


@dataclass(frozen=True, kw_only=True)
class TurnOutcome:
    """How one turn of the user ended, with which answer, after how many actions."""

    status: Status
    answer: str | None = None
    steps: int = 0


@dataclass(frozen=True, kw_only=True)
class Diagnostics:
    """What the decoder noted of one action: the tool with its probability; whether the unconstrained model would have
    called a tool at all (`tool_exists`) and one that was offered (`tool_allowed`); and of the arguments their status, their
    tokens, how often the grammar had to forbid the model's choice (`masked`), and whether it was looser than the schema."""

    tool: str
    probability: float
    tool_exists: bool
    tool_allowed: bool
    arguments: str
    argument_tokens: int
    masked: int
    relaxed: bool


@dataclass(frozen=True, kw_only=True)
class Decision:
    """One action of a run: in which turn, why it was not carried out (empty: it was), and what the decoder noted of it."""

    turn: int
    stuck: str = ""
    diagnostics: Diagnostics | None = None

    def to_dict(self) -> dict[str, Any]:
        noted = {} if self.diagnostics is None else {"diagnostics": asdict(self.diagnostics)}
        return {"turn": self.turn, "stuck": self.stuck, **noted}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended.

    `turns` are the turns that were begun. `environment` is where it ran, empty for a published conversation; `calls` were
    executed there, of which `tool_errors` failed and `timeouts` got no answer in time. `tokens` were generated in `seconds`,
    `thought_tokens` of them for thoughts, and `prompt_tokens` read before the actions, what is read again each time.
    """

    turns: tuple[TurnOutcome, ...]
    environment: str = ""
    calls: int = 0
    tool_errors: int = 0
    timeouts: int = 0
    tokens: int = 0
    thought_tokens: int = 0
    prompt_tokens: int = 0
    seconds: float = 0.0
    decisions: tuple[Decision, ...] = ()

    def __post_init__(self) -> None:
        if not self.turns:
            raise DatasetError("an outcome without a turn; expected how at least one turn of the user ended")

    @property
    def status(self) -> Status:
        """How the last turn ended."""
        return self.turns[-1].status

    @property
    def answer(self) -> str | None:
        """What was answered in the last turn."""
        return self.turns[-1].answer

    def to_dict(self) -> dict[str, Any]:
        """Its values for JSON, with those of the last turn in front; what is zero or empty is left out."""
        rest = {
            "environment": self.environment,
            "calls": self.calls,
            "tool_errors": self.tool_errors,
            "timeouts": self.timeouts,
            "tokens": self.tokens,
            "thought_tokens": self.thought_tokens,
            "prompt_tokens": self.prompt_tokens,
            "seconds": self.seconds,
            "decisions": [decision.to_dict() for decision in self.decisions],
        }
        return {
            "status": self.status,
            "answer": self.answer,
            "turns": [asdict(turn) for turn in self.turns],
            **{key: value for key, value in rest.items() if value},
        }


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    """One run. `messages` are user, assistant (`content`, `tool_calls`) and tool (`tool_call_id`, `content`) messages;
    the calls of one message do not depend on each other, and their results follow. `query` is the id of the query or task."""

    id: str
    query: str
    messages: tuple[Message, ...]
    outcome: Outcome

    def __post_init__(self) -> None:
        check_messages(self.messages, f"trajectory {self.id!r}")

    @property
    def called_tools(self) -> frozenset[str]:
        """The names in all its calls: tool ids, and "finish" or "no_tool" where they are written out."""
        return called_tools(self.messages)

    def to_dict(self) -> dict[str, Any]:
        """The record of `trajectories.*.jsonl`."""
        return {"id": self.id, "query": self.query, "messages": list(self.messages), "outcome": self.outcome.to_dict()}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Trajectory:
        """Reads `to_dict`; ValueError says what is of another type."""
        return typed(cls, record)


def called_tools(messages: Iterable[Message]) -> frozenset[str]:
    """The names in all calls of messages."""
    calls = (call for message in messages for call in message.get("tool_calls") or ())
    return frozenset(call["function"]["name"] for call in calls)


def check_messages(messages: Iterable[Message], place: str) -> None:
    """DatasetError where a message has another role or calls of another form than there are."""
    for number, message in enumerate(messages, start=1):
        if message.get("role") not in ROLES:
            raise DatasetError(
                f"{place}, message {number}: the role is {message.get('role')!r}; expected one of {', '.join(ROLES)}"
            )
        if not _has_sound_calls(message):
            raise DatasetError(
                f"{place}, message {number}: expected a text as content and a list of tool calls, each with a function that "
                "has a name and arguments as JSON text"
            )


def _has_sound_calls(message: Message) -> bool:
    calls = message.get("tool_calls")
    if not isinstance(message.get("content"), str | None) or not isinstance(calls, list | tuple | None):
        return False
    functions = [call.get("function") if isinstance(call, Mapping) else None for call in calls or ()]
    return all(
        isinstance(one, Mapping) and isinstance(one.get("name"), str) and isinstance(one.get("arguments"), str)
        for one in functions
    )
