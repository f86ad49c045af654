"""Tool: one callable API, the frozen value that every other package speaks in.

Knows no source format, no token and no model.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from toolgen.errors import CatalogError

ID_SEPARATOR = "&&"

JsonObject = Mapping[str, Any]

EMPTY_SCHEMA: JsonObject = {"type": "object", "properties": {}}

_NEEDED = frozenset({"id", "provider", "name"})
_TEXTS = ("id", "provider", "name", "category", "description")
_OBJECTS = ("parameters", "returns", "endpoint", "source")
_KNOWN = _NEEDED | {"category", "description", "parameters", "returns", "endpoint", "source"}


def canonical_json(value: Any) -> str:
    """The one serialization that hashes are taken of: sorted keys, no spaces, Unicode kept."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True, kw_only=True)
class Definition:
    """Another description and other parameters than a catalog has for the tool with the id `tool`: benchmarks define one
    name in several ways."""

    tool: str
    description: str
    parameters: JsonObject


@dataclass(frozen=True, kw_only=True)
class Tool:
    """One callable API.

    `id` is `provider&&name` unless the source gives a better one. `parameters` is the JSON Schema (2020-12) of the
    argument object, `returns` that of the result or None. `endpoint` says how the tool is called
    (`{"kind": "python" | "simulated" | "http" | "mcp", ...}`), or is None for a tool that is only described.
    `source` says where the description came from.
    """

    id: str
    provider: str
    name: str
    category: str = ""
    description: str = ""
    parameters: JsonObject = field(default_factory=lambda: EMPTY_SCHEMA)
    returns: JsonObject | None = None
    endpoint: JsonObject | None = None
    source: JsonObject = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.id or not self.name:
            raise CatalogError(f"a tool needs an id and a name; got id={self.id!r}, name={self.name!r}")

    @property
    def properties(self) -> JsonObject:
        """Parameter name to its JSON Schema."""
        properties: JsonObject = self.parameters.get("properties") or {}
        return properties

    @property
    def required(self) -> tuple[str, ...]:
        """Names of the parameters that a call must give."""
        return tuple(self.parameters.get("required") or ())

    @property
    def origin(self) -> str:
        """What carries its calls out: the address of a server, the command that starts one, a file or module. Empty where the
        endpoint does not say."""
        endpoint = self.endpoint or {}
        if endpoint.get("kind") == "http":
            server = str(endpoint.get("server") or "")
            return server if "://" in server else ""
        if endpoint.get("kind") == "mcp" and endpoint.get("command"):
            place = f" in {endpoint['cwd']}" if endpoint.get("cwd") else ""
            return shlex.join(map(str, endpoint["command"])) + place
        return str(endpoint.get("url") or endpoint.get("file") or endpoint.get("module") or "")

    @cached_property
    def content_hash(self) -> str:
        """Hash of what a model or a caller sees; `source` does not count. 16 hex digits."""
        record = self.to_dict()
        del record["source"]
        return hashlib.sha256(canonical_json(record).encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """The record of `catalog.jsonl`."""
        return {
            "id": self.id,
            "provider": self.provider,
            "name": self.name,
            "category": self.category,
            "description": self.description,
            "parameters": self.parameters,
            "returns": self.returns,
            "endpoint": self.endpoint,
            "source": self.source,
        }

    @classmethod
    def from_dict(cls, record: JsonObject) -> Tool:
        """Reads a record of `catalog.jsonl`; CatalogError names the missing or unknown keys."""
        missing, unknown = _NEEDED - record.keys(), record.keys() - _KNOWN
        if missing or unknown:
            problems = [f"missing {sorted(missing)}"] * bool(missing) + [f"unknown {sorted(unknown)}"] * bool(unknown)
            raise CatalogError(f"tool record {record.get('id', '?')!r}: {', '.join(problems)}")
        wrong = [key for key in _TEXTS if not isinstance(record.get(key), str | None)]
        wrong += [key for key in _OBJECTS if not isinstance(record.get(key), Mapping | None)]
        tool = cls(**{key: value for key, value in record.items() if value is not None and key not in wrong})
        if not isinstance(tool.parameters.get("properties"), Mapping | None):
            wrong.append("parameters.properties")
        required = tool.parameters.get("required")
        if not isinstance(required, list | None) or not all(isinstance(name, str) for name in required or ()):
            wrong.append("parameters.required")
        if wrong:
            raise CatalogError(f"tool record {record['id']!r:.80}: {wrong[0]} is of another type")
        return tool
