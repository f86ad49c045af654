"""Conversation: what every training set is read into. Requests with their tools and whole trajectories come out of it.

Knows no publisher's format and no model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from toolgen.catalog.tool import Tool
from toolgen.datasets.messages import FINISH, NO_TOOL, call_message, calls_message, result_message, user_message
from toolgen.datasets.query import Call
from toolgen.datasets.trajectory import Message, Outcome, Trajectory, TurnOutcome

Ending = Literal["answered", "asked", "declined"]


@dataclass(frozen=True, kw_only=True)
class Action:
    """One call of a tool, and what came back; `result` is None where the set holds none."""

    tool: str
    arguments: Mapping[str, Any]
    result: str | None = None


@dataclass(frozen=True, kw_only=True)
class Step:
    """One message of the assistant: a text, calls that are made at once, or both."""

    text: str = ""
    actions: tuple[Action, ...] = ()

    def with_tools(self, tools: Mapping[str, Tool]) -> Step:
        """The same step, each call of a name as a call of the tool that `tools` has for it."""
        return replace(self, actions=tuple(replace(one, tool=tools[one.tool].id) for one in self.actions))


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What a user said, and all that the assistant did until the next words of the user.

    `ending` says how the assistant left it: "answered" (or done), "asked" for a detail that was missing, or "declined"
    because none of the conversation's tools fits.
    """

    text: str
    steps: tuple[Step, ...] = ()
    ending: Ending = "answered"

    @property
    def actions(self) -> tuple[Action, ...]:
        """Its calls in order."""
        return tuple(action for step in self.steps for action in step.actions)

    @property
    def answer(self) -> str:
        """The text that ends it; empty if it ends in a call or in nothing."""
        return self.steps[-1].text if self.steps and not self.steps[-1].actions else ""


@dataclass(frozen=True, kw_only=True)
class Request:
    """A text that stands for itself, with the tools that it needs; none if no tool of its conversation fits.

    `calls` is None where they are not known, or not to be made yet: with `asks_back` a detail is missing, and `tools` are
    those that are called once it is known. With `follows` the text comes after calls and may lean on them.
    """

    id: str
    text: str
    tools: tuple[str, ...]
    calls: tuple[Call, ...] | None
    asks_back: bool = False
    follows: bool = False


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """One record of a training set.

    `tools` are those that the assistant could choose from: the relevant ones and, where the set names them, the
    candidates beside them, which are hard negatives. `relevant` are the ids of the tools for the first turn where the
    set names them without calls. `system` is what the assistant was told before.
    """

    id: str
    tools: tuple[Tool, ...]
    turns: tuple[Turn, ...]
    relevant: tuple[str, ...] = ()
    system: str = ""

    @property
    def actions(self) -> tuple[Action, ...]:
        """All its calls in order."""
        return tuple(action for turn in self.turns for action in turn.actions)

    @property
    def is_complete(self) -> bool:
        """Whether each call has a result, each turn is answered in words or declined, and not all is small talk."""
        ends = all(turn.answer or turn.ending == "declined" for turn in self.turns)
        needs = bool(self.actions) or any(turn.ending != "answered" for turn in self.turns)
        return ends and needs and all(action.result is not None for action in self.actions)

    def with_tools(self, tools: Mapping[str, Tool]) -> Conversation:
        """The same with other tools: `tools` has one for each name in its calls, and are those that it then offers."""
        turns = tuple(replace(turn, steps=tuple(step.with_tools(tools) for step in turn.steps)) for turn in self.turns)
        relevant = tuple(tools[name].id for name in self.relevant)
        return replace(self, tools=tuple(tools.values()), turns=turns, relevant=relevant)

    def requests(self) -> Iterator[Request]:
        """The requests in it.

        A turn with calls is one, together with the words of the user since the last one. So is a turn that no tool fits,
        and the first of several turns in which the assistant asks for details.
        """
        if self.relevant:
            yield Request(id=f"{self.id}-0", text=self.turns[0].text, tools=self.relevant, calls=None)
            return
        said: list[str] = []
        follows = False
        for number, turn in enumerate(self.turns):
            name = f"{self.id}-{number}"
            if turn.ending == "declined" and not turn.actions:
                yield Request(id=name, text=turn.text, tools=(), calls=(), follows=follows)
                said = []
                continue
            said.append(turn.text)
            if turn.actions:
                text, calls = "\n".join(said), calls_of(turn.actions)
                yield Request(id=name, text=text, tools=_used(turn.actions), calls=calls, follows=follows)
                said, follows = [], True
            elif turn.ending == "asked" and len(said) == 1 and (tools := self._tools_after(number)):
                yield Request(id=name, text=turn.text, tools=tools, calls=None, asks_back=True, follows=follows)

    def trajectory(self) -> Trajectory | None:
        """The whole conversation, each turn ended by its answer; None unless `is_complete`."""
        if not self.is_complete:
            return None
        messages: list[Message] = [{"role": "system", "content": self.system}] if self.system else []
        for turn in self.turns:
            messages.append(user_message(turn.text))
            for step in turn.steps:
                names = [f"call_{len(messages)}_{number}" for number in range(len(step.actions))]
                if names:
                    made = [(one.tool, one.arguments, name) for one, name in zip(step.actions, names, strict=True)]
                    messages.append(calls_message(made, step.text))
                    results = zip(names, step.actions, strict=True)
                    messages += [result_message(name, one.result or "") for name, one in results]
            if turn.ending == "declined":
                messages.append(call_message(NO_TOOL, {}, f"call_{len(messages)}"))
            else:
                messages.append(call_message(FINISH, {"answer": turn.answer}, f"call_{len(messages)}"))
        ends = (
            TurnOutcome(status="declined" if turn.ending == "declined" else "finished", answer=turn.answer or None)
            for turn in self.turns
        )
        return Trajectory(id=self.id, query=self.id, messages=tuple(messages), outcome=Outcome(turns=tuple(ends)))

    def _tools_after(self, number: int) -> tuple[str, ...]:
        """The tools of the next turn with calls, before any turn that is declined."""
        for turn in self.turns[number + 1 :]:
            if turn.actions:
                return _used(turn.actions)
            if turn.ending == "declined":
                break
        return ()


def calls_of(actions: Iterable[Action]) -> tuple[Call, ...]:
    """The actions without what came back."""
    return tuple(Call(tool=action.tool, arguments=action.arguments) for action in actions)


def _used(actions: Iterable[Action]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(action.tool for action in actions))
