"""Savings: what a client's context holds of the catalog through the gateway, against all definitions listed. Knows no model.

Tokens are those of a tokenizer that is handed in. A definition is counted as the JSON of name, description and schema.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toolgen.catalog import Catalog, Tool
from toolgen.errors import InputError
from toolgen.foreign.data import read_objects
from toolgen.serving.gateway import brief, definition

Tokens = Callable[[Sequence[str]], int]
"""How many tokens texts have."""
USUAL = 5
"""Tools in the answer of a search whose number is not known: the default."""


@dataclass(frozen=True)
class Savings:
    """What a conversation holds that lists all definitions, and one that has the gateway's and searches.

    `unit` says what is counted. `per_search` is a search's answer with the definition that is then read: from the log if it
    has searches (`is_measured`), else the catalog's mean. `operations` counts the log's lines, `unknown` those about tools
    that the catalog lacks.
    """

    tools: int
    unit: str
    all_listed: int
    gateway_listed: int
    per_search: float
    is_measured: bool
    operations: Mapping[str, int] = field(default_factory=dict)
    unknown: int = 0

    @property
    def break_even(self) -> int:
        """With more searches in one conversation than these, listing all tools is cheaper; 0 if it always is."""
        return max(0, int((self.all_listed - self.gateway_listed) / self.per_search))

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "tools": self.tools,
            "unit": self.unit,
            "tokens": {
                "all_listed": self.all_listed,
                "gateway_listed": self.gateway_listed,
                "per_search": round(self.per_search, 1),
            },
            "per_search_from": "log" if self.is_measured else "catalog",
            "break_even_searches": self.break_even,
            "log": {"operations": dict(self.operations), "unknown": self.unknown},
        }

    def lines(self) -> list[str]:
        """For people."""
        source = "the log's mean" if self.is_measured else "expected; a log with searches tells"
        share = self.gateway_listed / self.all_listed
        difference = f"{1 - share:.1%} less" if share <= 1 else f"{share - 1:.1%} more"
        even = (
            f"{self.break_even:,} searches in one conversation" if self.break_even else "never, listing all is cheaper"
        )
        counted = ", ".join(f"{count:,} {name}" for name, count in sorted(self.operations.items()))
        return [
            f"all {self.tools:,} tools listed: {self.all_listed:,} {self.unit}",
            f"the gateway's three: {self.gateway_listed:,} tokens ({difference})",
            f"a search, and the definition read after it: {self.per_search:,.0f} tokens ({source})",
            f"break-even: {even}",
            *([f"in the log: {counted}"] if counted else []),
            *([f"{self.unknown:,} lines name tools that are not in this catalog"] if self.unknown else []),
        ]


def savings(
    catalog: Catalog,
    listed: Iterable[Mapping[str, Any]],
    tokens: Tokens,
    *,
    unit: str = "tokens",
    log: Path | None = None,
) -> Savings:
    """Counts for a catalog, the definitions that the gateway lists, and the log of its operations, if there is one."""
    searches, read, operations, unknown = _logged(catalog, log) if log else ([], [], Counter[str](), 0)
    is_measured = bool(searches)
    if is_measured:
        per_search = (tokens(searches) + tokens(read)) / len(searches)
    else:
        per_search = (USUAL * tokens([*map(_line, catalog)]) + tokens([*map(_text, catalog)])) / len(catalog)
    return Savings(
        tools=len(catalog),
        unit=unit,
        all_listed=tokens([listing(one) for one in map(definition, catalog)]),
        gateway_listed=tokens([listing(one) for one in listed]),
        per_search=per_search,
        is_measured=is_measured,
        operations=operations,
        unknown=unknown,
    )


def listing(one: Mapping[str, Any]) -> str:
    """What a client gives its model of a listed tool."""
    kept = {"name": one["name"], "description": one.get("description") or "", "input_schema": one["inputSchema"]}
    return json.dumps(kept, ensure_ascii=False)


def _line(tool: Tool) -> str:
    return f"{tool.id}: {brief(tool)}"


def _text(tool: Tool) -> str:
    return json.dumps(definition(tool), ensure_ascii=False)


def _logged(catalog: Catalog, log: Path) -> tuple[list[str], list[str], Counter[str], int]:
    """The answers of searches and the definitions that were read, how many operations there were, and lines about unknown
    tools. InputError for a line that the gateway has not written."""

    def broken(place: str, reason: str) -> None:
        raise InputError(f"{log} is no log of `toolgen mcp --log`: {place}: {reason}")

    searches: list[str] = []
    read: list[str] = []
    operations, unknown = Counter[str](), 0
    for number, line in read_objects(log, broken):
        operation, names = line.get("operation"), line.get("tools")
        if not isinstance(operation, str) or not isinstance(names, list):
            broken(f"line {number}", "it has no operation and tools")
            continue
        operations[operation] += 1
        tools = [catalog.get(name) for name in names if name in catalog]
        unknown += len(tools) < len(names)
        if operation == "search":
            searches.append("\n".join(map(_line, tools)))
        elif operation == "details":
            read += map(_text, tools)
    return searches, read, operations, unknown
