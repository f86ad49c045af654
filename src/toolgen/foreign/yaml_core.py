"""YAML by the core schema of YAML 1.2, which OpenAPI asks for: `no` is a text and a date too.

One document a text, without recursion and with a bound on what aliases expand to. A scalar that no program holds (1e999) stays
a text, since JSON has no such number.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from toolgen.errors import InputError
from toolgen.foreign.data import MAX_DEPTH, UNCLEAN, Note, clean, clean_text, joined, read_text

MAX_SETTINGS_BYTES = 16 << 20
MAX_YAML_VALUES = 4_000_000  # with aliases expanded
_INTEGER = re.compile(r"[-+]?[0-9]{1,308}|0x[0-9a-fA-F]{1,255}|0o[0-7]{1,340}")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_WORDS = {"": None, "~": None} | {
    form: value
    for word, value in (("null", None), ("true", True), ("false", False))
    for form in (word, word.capitalize(), word.upper())
}


def parse_yaml(text: str, name: str, on_note: Note | None = None, *, as_texts: bool = False) -> Any:
    """The value of a text in YAML, clean; InputError that begins with `name` if it is none. None if it is empty. `as_texts`
    leaves every scalar but null the text that it is."""
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml is some ten times as fast
    builder = _YamlBuilder(name, on_note or (lambda _line: None), _text if as_texts else _scalar)
    try:
        for event in yaml.parse(clean_text(text), Loader=loader):
            builder.take(event)
    except yaml.YAMLError as error:
        raise InputError(f"{name}: neither JSON nor YAML: {' '.join(str(error).split())[:300]}") from None
    return clean(builder.result) if "\\" in text and UNCLEAN.search(text) else builder.result


def read_yaml(path: Path) -> Any:
    """The value of a file that a user writes by hand; InputError as for `read_text` and `parse_yaml`."""
    return parse_yaml(read_text(path, MAX_SETTINGS_BYTES), str(path))


@dataclass
class _Open:
    """A mapping or list that is being read. `size` counts the values in it with aliases expanded."""

    value: Any
    anchor: str | None
    key: str | None = None
    size: int = 1
    merged: list[Any] = field(default_factory=list)


class _YamlBuilder:
    """Values from the events of a YAML parser, without recursion, counting what aliases would expand to.

    A few lines of nested aliases can stand for billions of values ("billion laughs"): sharing them keeps the reading
    cheap, but everything later walks through them.
    """

    def __init__(self, name: str, note: Note, scalar: Callable[[str], Any]) -> None:
        self.result: Any = None
        self._name, self._note, self._scalar = name, note, scalar
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._values = 0
        self._documents = 0

    def take(self, event: Any) -> None:
        """One event of `yaml.parse`."""
        kind = type(event).__name__
        if kind == "ScalarEvent":
            self._count(1)
            plain = event.implicit[0] and event.tag is None
            value = event.value if not plain or self._wants_key() else self._scalar(event.value)
            self._add(value, 1, event.anchor, plain)
        elif kind in ("MappingStartEvent", "SequenceStartEvent"):
            self._start({} if kind == "MappingStartEvent" else [], event.anchor)
        elif kind in ("MappingEndEvent", "SequenceEndEvent"):
            self._end()
        elif kind == "AliasEvent":
            self._alias(event.anchor)
        elif kind == "DocumentStartEvent":
            self._documents += 1
            if self._documents > 1:
                raise InputError(f"{self._name}: several YAML documents in one file; expected one")

    def _start(self, value: Any, anchor: str | None) -> None:
        self._count(1)
        if self._wants_key():
            raise InputError(f"{self._name}: a key of a mapping is not text")
        if len(self._open) >= MAX_DEPTH:
            raise InputError(f"{self._name}: nested deeper than {MAX_DEPTH} levels")
        self._open.append(_Open(value, anchor))

    def _end(self) -> None:
        done = self._open.pop()
        for others in done.merged:
            for other in others if isinstance(others, list) else [others]:
                for key, value in other.items() if isinstance(other, dict) else ():
                    done.value.setdefault(key, value)
        self._add(done.value, done.size, done.anchor)

    def _alias(self, anchor: str) -> None:
        if anchor not in self._anchors:
            raise InputError(f"{self._name}: the alias *{anchor[:40]} names nothing before it")
        value, size = self._anchors[anchor]
        self._count(size)
        self._add(str(value) if self._wants_key() else value, size)

    def _wants_key(self) -> bool:
        return bool(self._open) and isinstance(self._open[-1].value, dict) and self._open[-1].key is None

    def _add(self, value: Any, size: int, anchor: str | None = None, plain: bool = False) -> None:
        if anchor is not None:
            self._anchors[anchor] = (value, size)
        if not self._open:
            self.result = value
            return
        parent = self._open[-1]
        parent.size += size
        if isinstance(parent.value, list):
            parent.value.append(value)
        elif parent.key is None:
            parent.key = f"\0{value}" if plain and value == "<<" else value  # no text that is read holds NUL
        else:
            if parent.key == "\0<<":
                parent.merged.append(value)
            elif parent.key in parent.value:
                parent.value[parent.key] = joined(parent.key, parent.value[parent.key], value, self._note)
            else:
                parent.value[parent.key] = value
            parent.key = None

    def _count(self, size: int) -> None:
        self._values += size
        if self._values > MAX_YAML_VALUES:
            raise InputError(
                f"{self._name}: more than {MAX_YAML_VALUES:,} values when its aliases are expanded; it was not read"
            )


@lru_cache(maxsize=1 << 14)
def _scalar(text: str) -> Any:
    """A plain scalar by the core schema (YAML 1.2.2, section 10.3.2); infinities stay texts, since JSON has none."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text, 0) if text[:2] in ("0x", "0o") else int(text)
    if _FLOAT.fullmatch(text):
        number = float(text)
        return number if math.isfinite(number) else text
    return text


def _text(text: str) -> str | None:
    """A plain scalar as it is written."""
    return None if text in _WORDS and _WORDS[text] is None else text
