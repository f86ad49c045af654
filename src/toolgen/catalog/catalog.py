"""Catalog: an ordered set of tools with unique ids and a content hash.

Knows no file layout beyond JSON lines and no model.
"""

from __future__ import annotations

import gc
import hashlib
import json
import math
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, overload

from toolgen.catalog.tool import Definition, Tool
from toolgen.errors import CatalogError, InputError
from toolgen.files import write_records
from toolgen.foreign.data import UNCLEAN, clean_text, open_file, parse_json

KEPT = 1 << 14
"""Tools of a catalog file that stay in memory once they were read."""


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
        self._tools: Sequence[Tool] = tools if isinstance(tools, _ToolLines) else tuple(tools)
        ids = self._tools.ids if isinstance(self._tools, _ToolLines) else [tool.id for tool in self._tools]
        self._index = {tool_id: position for position, tool_id in enumerate(ids)}
        if len(self._index) != len(ids):
            repeated = sorted(tool_id for tool_id, count in Counter(ids).items() if count > 1)
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
        return tuple(self._tools[position]) if isinstance(position, slice) else self._tools[position]

    def __contains__(self, tool_id: object) -> bool:
        return tool_id in self._index

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Catalog) and self.ids == other.ids and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(self.content_hash)

    @property
    def ids(self) -> tuple[str, ...]:
        """Tool ids in catalog order."""
        return tuple(self._index)

    def get(self, tool_id: str) -> Tool:
        """The tool with this id; CatalogError if there is none."""
        return self._tools[self.position(tool_id)]

    def extended(self, tools: Iterable[Tool]) -> Catalog:
        """The same tools and more behind them. CatalogError for an id that comes twice."""
        more = Catalog(tools)
        if known := [tool_id for tool_id in more.ids if tool_id in self]:
            raise CatalogError(f"the catalog has {known[0]!r} already; give the tool another id")
        other = copy(self)
        other._tools = _Edited.of(self._tools).with_more(more._tools)
        other._index = {**self._index, **{tool: len(self) + place for tool, place in more._index.items()}}
        other.__dict__.pop("content_hash", None)
        return other

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
        """What `other` added, removed and changed against this catalog; known at once where the content is the same."""
        if self.content_hash == other.content_hash:
            return CatalogDiff((), (), ())
        return CatalogDiff(
            added=tuple(t.id for t in other if t.id not in self),
            removed=tuple(t.id for t in self if t.id not in other),
            changed=tuple(t.id for t in self if t.id in other and other.get(t.id).content_hash != t.content_hash),
        )

    def redefined(self, definitions: Iterable[Definition]) -> Catalog:
        """The same tools, some of them defined otherwise; itself where there is no such definition."""
        return self.replaced(
            replace(self.get(one.tool), description=one.description, parameters=one.parameters) for one in definitions
        )

    def replaced(self, tools: Iterable[Tool]) -> Catalog:
        """The same catalog with other tools for those of the same ids; itself where there are none."""
        changed = {self.position(tool.id): tool for tool in tools}
        if not changed:
            return self
        other = copy(self)
        other._tools = _Edited.of(self._tools).with_changed(changed)
        other.__dict__.pop("content_hash", None)
        return other

    def save(self, path: Path) -> None:
        """Writes one tool a line."""
        write_records(path, (tool.to_dict() for tool in self._tools))

    @classmethod
    def load(cls, path: Path) -> Catalog:
        """Reads one tool a line; CatalogError names the file and line that cannot be read."""
        lines = _ToolLines(path)
        lines.read_all()
        return cls(lines)

    @classmethod
    def open(cls, path: Path, content_hash: str | None = None) -> Catalog:
        """The same for a file that is known to be sound, such as one whose sha256 was checked: a tool is parsed when it
        is asked for, so that opening 125,000 of them takes half a second. `content_hash` is what is known of it.
        """
        catalog = cls(_ToolLines(path))
        if content_hash is not None:
            catalog.__dict__["content_hash"] = content_hash  # where cached_property looks
        return catalog


class _Tools(Sequence[Tool], ABC):
    """Tools by their places, each taken when it is asked for."""

    @overload
    def __getitem__(self, position: int) -> Tool: ...

    @overload
    def __getitem__(self, position: slice) -> tuple[Tool, ...]: ...

    def __getitem__(self, position: int | slice) -> Tool | tuple[Tool, ...]:
        places = range(len(self))[position]
        return self._at(places) if isinstance(places, int) else tuple(map(self._at, places))

    def __iter__(self) -> Iterator[Tool]:
        return map(self._at, range(len(self)))

    @abstractmethod
    def _at(self, place: int) -> Tool:
        """The tool at a place from 0 to the length."""


class _Edited(_Tools):
    """Tools with more behind them, of which some, by their places, are others. The first are not copied, however often they are
    edited: in a live catalog of a million they would be read and kept each time."""

    def __init__(self, tools: Sequence[Tool], more: Sequence[Tool], changed: Mapping[int, Tool]) -> None:
        self._tools, self._more, self._changed = tools, more, changed

    @classmethod
    def of(cls, tools: Sequence[Tool]) -> _Edited:
        """Edited tools as they are; others without a change."""
        return tools if isinstance(tools, _Edited) else cls(tools, (), {})

    def with_more(self, more: Sequence[Tool]) -> _Edited:
        """The same and more behind them."""
        return _Edited(self._tools, (*self._more, *more), self._changed)

    def with_changed(self, changed: Mapping[int, Tool]) -> _Edited:
        """The same with others at these places."""
        return _Edited(self._tools, self._more, {**self._changed, **changed})

    def __len__(self) -> int:
        return len(self._tools) + len(self._more)

    def _at(self, place: int) -> Tool:
        if place in self._changed:
            return self._changed[place]
        return self._tools[place] if place < len(self._tools) else self._more[place - len(self._tools)]


class _ToolLines(_Tools):
    """The lines of a catalog file, each turned into its Tool when it is asked for. The first KEPT of these stay: a Tool takes
    four times the memory of its line, and reading it again takes 0.1 ms."""

    # What `Tool.to_dict` writes first. A line that begins otherwise is parsed for its id.
    _ID = re.compile(rb'\{"id": ("(?:[^"\\]|\\.)*")')

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept = 0
        try:
            with open_file(path) as file:
                self._items: list[bytes | Tool] = list(file)
        except InputError as error:
            raise CatalogError(f"cannot read the catalog: {error}") from error
        with garbage_collection_paused():
            self.ids = [self._id(position) for position in range(len(self._items))]

    def __len__(self) -> int:
        return len(self._items)

    def _at(self, place: int) -> Tool:
        item = self._items[place]
        if isinstance(item, bytes):
            item = self._parse(item, place)
            if self._kept < KEPT:
                self._items[place] = item
                self._kept += 1
        return item

    def read_all(self) -> None:
        """Parses every line, so that the first that cannot be read is known."""
        with garbage_collection_paused():
            for position in range(len(self)):
                self[position]

    def _id(self, position: int) -> str:
        item = self._items[position]
        if isinstance(item, bytes) and (start := self._ID.match(item)):
            try:
                return clean_text(str(json.loads(start[1])))
            except ValueError:
                pass  # _parse says what is wrong with the line
        return self[position].id

    def _parse(self, line: bytes, position: int) -> Tool:
        try:
            return Tool.from_dict(_object(line))
        except (InputError, ValueError, TypeError, AttributeError, RecursionError, CatalogError) as error:
            raise CatalogError(f"{self._path}, line {position + 1}: not a tool record ({error})") from error


def _object(line: bytes) -> dict[str, Any]:
    """The object of a line. The door for foreign JSON takes five times as long; what is plain does not go through it."""
    text = line.decode()
    value = parse_json(text, "the line") if UNCLEAN.search(text) else _PLAIN.decode(text.strip())
    if not isinstance(value, dict):
        raise ValueError(f"expected an object, got {type(value).__name__}")
    return value


def _number(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"{text[:20]} is no number of JSON")
    return value


_PLAIN = json.JSONDecoder(parse_float=_number, parse_constant=_number)


@contextmanager
def garbage_collection_paused() -> Iterator[None]:
    """Making millions of objects that all stay, Python would go through them again and again: 4 of 6 seconds for 125,000
    tools."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
