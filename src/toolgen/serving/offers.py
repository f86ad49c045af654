"""The tools that a request offers, in OpenAI's form: those of the catalog, its own, and which of them may be chosen.

On the wire a tool of the catalog has its wire name (at most 64 legal characters), one of the request the name that it has
there. Knows no server and no model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

from toolgen.catalog import Catalog, Tool
from toolgen.catalog.loaders.json_records import described_tool
from toolgen.catalog.naming import wire_name, wire_names
from toolgen.datasets.messages import FINISH, NO_TOOL
from toolgen.errors import CatalogError
from toolgen.serving.errors import FormatError

MOST = 128
"""Tools of one request, as at OpenAI."""


class Names:
    """Ids and wire names of a catalog's tools, and of those that a request brings along, whose ids are none of `taken`."""

    def __init__(self, catalog: Catalog, taken: Catalog | None = None) -> None:
        self.catalog, self.taken = catalog, taken or catalog
        self._ids = wire_names(catalog)
        self._own: Mapping[str, Tool] = {}

    def with_own(self, tools: Mapping[str, Tool]) -> Names:
        """The same names and those of a request's own tools, which come first."""
        other = copy(self)
        other._own = tools
        return other

    def is_wire(self, name: str) -> bool:
        """Whether this is the wire name of a tool of the catalog."""
        return name in self._ids

    def id_of(self, name: Any, param: str) -> str:
        """The tool of a name on the wire, or of an id. FormatError for one that nobody knows."""
        if own := self._own.get(str(name)):
            return own.id
        known = self._ids.get(str(name), str(name))
        if known not in self.catalog:
            raise FormatError(
                f"neither the catalog nor the tools of the request have {str(name)[:100]!r}; list it with its parameters",
                param,
            )
        return known

    def wire(self, tool_id: str) -> str:
        """The name of a tool on the wire."""
        own = next((name for name, tool in self._own.items() if tool.id == tool_id), None)
        return own or wire_name(self.catalog.get(tool_id))

    def definition(self, tool_id: str) -> dict[str, Any]:
        """A tool of the catalog as the Responses API writes it."""
        tool = self.catalog.get(tool_id)
        return {
            "type": "function",
            "name": wire_name(tool),
            "description": tool.description,
            "parameters": dict(tool.parameters),
            "strict": False,
        }


@dataclass(frozen=True)
class Offer:
    """What the `tools` of a request are: `listed` in it are tools of the catalog and its `own`; with `searches` all others of
    the catalog may be called, too, as they may where nothing is listed."""

    names: Names
    own: tuple[Tool, ...] = ()
    listed: tuple[str, ...] = ()
    searches: bool = False

    def choose(self, choice: Any) -> Choice:
        """What `tool_choice` leaves of it."""
        every = Choice(None if self.searches or not self.listed else self.listed)
        if choice in (None, "auto"):
            return every
        if choice == "none":
            return Choice(())
        if choice == "required":
            return replace(every, required=True)
        if isinstance(choice, Mapping):
            kind = choice.get("type")
            inner = choice.get(str(kind)) or choice
            if kind == "function" and isinstance(inner, Mapping):
                return Choice((self._offered(inner.get("name")),), required=True)
            some = inner.get("tools") if isinstance(inner, Mapping) else None
            if kind == "allowed_tools" and isinstance(some, list):
                names = [_function(one, "tool_choice").get("name") for one in some]
                if inner.get("mode") not in ("auto", "required"):
                    raise FormatError("the mode of allowed_tools is auto or required", "tool_choice")
                if not names and inner["mode"] == "required":
                    raise FormatError("allowed_tools requires a call and names no tool; name one", "tool_choice")
                return Choice(tuple(map(self._offered, names)), required=inner["mode"] == "required")
        raise FormatError(
            "tool_choice is none, auto, required, a function by name or allowed_tools; "
            f"got {json.dumps(choice, default=str)[:100]}",
            "tool_choice",
        )

    def _offered(self, name: Any) -> str:
        """The tool of a name in `tool_choice`. FormatError for one that may not be called anyway."""
        tool = self.names.id_of(name, "tool_choice")
        if self.listed and not self.searches and tool not in self.listed:
            raise FormatError(f"tool_choice names {str(name)[:100]!r}, which tools does not list", "tool_choice")
        return tool


@dataclass(frozen=True)
class Choice:
    """Which tools may be called (None: all), and whether one has to be."""

    tools: tuple[str, ...] | None = None
    required: bool = False


def read_offer(tools: Sequence[Any] | None, names: Names) -> Offer:
    """The tools of a request. One with a wire name is the catalog's, as is one that is only a name which the catalog has; every
    other is the request's own."""
    given = tools or ()
    functions = [
        (f"tools[{place}]", _function(tool, f"tools[{place}]"))
        for place, tool in enumerate(given)
        if not _searches(tool)
    ]
    if len(functions) > MOST:
        raise FormatError(f"the request lists {len(functions)} tools; at most {MOST} are read", "tools")
    own: dict[str, Tool] = {}
    for where, function in functions:
        name = str(function.get("name"))
        is_bare = not function.get("description") and function.get("parameters") is None
        if not names.is_wire(name) and not (is_bare and name in names.catalog):
            if name in own:
                raise FormatError(f"{where} has the name {name[:64]!r} of a tool before it", where)
            own[name] = _own_tool(function, where, names.taken)
    known = names.with_own(own)
    listed = dict.fromkeys(known.id_of(function.get("name"), where) for where, function in functions)
    return Offer(known, tuple(own.values()), tuple(listed), any(map(_searches, given)))


def _own_tool(function: Mapping[str, Any], where: str, taken: Catalog) -> Tool:
    """A function of a request as a tool, whose id is not taken, nor an action's. FormatError says what is wrong with it."""
    try:
        tool = described_tool(dict(function), function.get("parameters"), "", "request", [])
    except CatalogError as error:
        raise FormatError(f"{where}: {error}", where) from None
    while tool.id in taken or tool.id in (FINISH, NO_TOOL):
        tool = replace(tool, id=f"{tool.id}#")
    return tool


def _searches(tool: Any) -> bool:
    return isinstance(tool, Mapping) and tool.get("type") == "tool_search"


def _function(tool: Any, where: str) -> Mapping[str, Any]:
    """The function of a tool in either API's form."""
    kind = tool.get("type") if isinstance(tool, Mapping) else tool
    if kind != "function":
        raise FormatError(f"{where} is of the type {str(kind)[:60]!r}; known are function and tool_search", where)
    function = tool.get("function") or tool
    if not isinstance(function, Mapping):
        raise FormatError(f"{where} is no function", where)
    return function
