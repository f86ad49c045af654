"""Which tools of BFCL's whole catalog are equal in meaning, so that either of them is a right choice.

Each entry of BFCL has a few functions of its own; over the whole catalog several of them do the same under other names.
`bfcl_equal.jsonl` holds groups of such tools, each with what its parameters mean: we read all definitions, without any model's
choices. Only ids, names of parameters and our own words are in it. Units, conventions and all required parameters agree.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from toolgen.datasets.packaged import packaged
from toolgen.datasets.query import Call


@dataclass(frozen=True, kw_only=True)
class EqualTools:
    """The meaning of each parameter of each tool, and why the tools are equal. A parameter that is left out has no counterpart:
    a call with it has no equal."""

    tools: Mapping[str, Mapping[str, str]]
    reason: str

    def as_call_of(self, tool: str, call: Call) -> Call | None:
        """The call as one of another tool of the group; None if that one lacks an argument."""
        meanings, names = self.tools[call.tool], {meaning: name for name, meaning in self.tools[tool].items()}
        if not {meanings.get(name) for name in call.arguments} <= names.keys():
            return None
        return Call(tool=tool, arguments={names[meanings[name]]: value for name, value in call.arguments.items()})


@cache
def equal_tools() -> Mapping[str, EqualTools]:
    """The group of each tool that has an equal."""
    return {tool: group for group in packaged(EqualTools, "bfcl_equal.jsonl") for tool in group.tools}


def as_calls_of(wanted: Collection[str], calls: Iterable[Call]) -> list[Call]:
    """The calls, each of a tool that is not wanted as one of a wanted tool that is equal to it, where there is one."""
    return [call if call.tool in wanted else _as_call_of_any(wanted, call) for call in calls]


def _as_call_of_any(wanted: Collection[str], call: Call) -> Call:
    group = equal_tools().get(call.tool)
    others = (group.as_call_of(tool, call) for tool in wanted if tool in group.tools) if group else ()
    return next((other for other in others if other), call)
