"""Catalog: an ordered set of tools with unique ids and a content hash.

Knows no file layout beyond JSON lines and no model.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sized
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import overload

from toolgen.catalog.tool import Tool
from toolgen.errors import CatalogError


@dataclass(frozen=True)
class CatalogDiff:
    """What changed from one catalog to another, as tool ids."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


class Catalog(Iterable[Tool], Sized):
    """Ordered tools, `tool_id in catalog`; position is stable and is what a vocabulary numbers its rows by.

    Raises CatalogError on a repeated id: a collision is resolved by the loader, never merged here.
    """

    def __init__(self, tools: Iterable[Tool] = ()) -> None:
        self._tools = tuple(tools)
        self._index = {tool.id: position for position, tool in enumerate(self._tools)}
        if len(self._index) != len(self._tools):
            repeated = sorted(tool_id for tool_id, count in Counter(t.id for t in self._tools).items() if count > 1)
            raise CatalogError(f"tool ids must be unique; repeated: {', '.join(repeated[:5])} ({len(repeated)} in all)")

    def __len__(self) -> int:
        return len(self._tools)

    def __iter__(self) -> Iterator[Tool]:
        return iter(self._tools)

    @overload
    def __getitem__(self, position: int) -> Tool: ...

    @overload
    def __getitem__(self, position: slice) -> tuple[Tool, ...]: ...

    def __getitem__(self, position: int | slice) -> Tool | tuple[Tool, ...]:
        return self._tools[position]

    def __contains__(self, tool_id: object) -> bool:
        return tool_id in self._index

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Catalog) and self._tools == other._tools

    def __hash__(self) -> int:
        return hash(self.content_hash)

    @property
    def ids(self) -> tuple[str, ...]:
        """Tool ids in catalog order."""
        return tuple(self._index)

    def get(self, tool_id: str) -> Tool:
        """The tool with this id; CatalogError if there is none."""
        return self._tools[self.position(tool_id)]

    def position(self, tool_id: str) -> int:
        """The place of a tool in the catalog, from 0."""
        try:
            return self._index[tool_id]
        except KeyError:
            raise CatalogError(f"no tool {tool_id!r} in this catalog of {len(self)} tools") from None

    @cached_property
    def content_hash(self) -> str:
        """Identity by content: the hash over all tools in order, 64 hex digits."""
        digest = hashlib.sha256()
        for tool in self._tools:
            digest.update(tool.content_hash.encode())
        return digest.hexdigest()

    def diff(self, other: Catalog) -> CatalogDiff:
        """What `other` added, removed and changed against this catalog."""
        return CatalogDiff(
            added=tuple(t.id for t in other if t.id not in self),
            removed=tuple(t.id for t in self if t.id not in other),
            changed=tuple(t.id for t in self if t.id in other and other.get(t.id).content_hash != t.content_hash),
        )

    def save(self, path: Path) -> None:
        """Writes one tool a line."""
        with path.open("w", encoding="utf-8") as file:
            for tool in self._tools:
                file.write(json.dumps(tool.to_dict(), ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, path: Path) -> Catalog:
        """Reads one tool a line; CatalogError names the file and line that cannot be read."""
        tools = []
        try:
            with path.open(encoding="utf-8") as file:
                for number, line in enumerate(file, start=1):
                    try:
                        tools.append(Tool.from_dict(json.loads(line)))
                    except (json.JSONDecodeError, TypeError, AttributeError) as error:
                        raise CatalogError(f"{path}, line {number}: not a tool record ({error})") from error
        except (OSError, UnicodeDecodeError) as error:
            raise CatalogError(f"cannot read the catalog {path}: {error}") from error
        return cls(tools)
