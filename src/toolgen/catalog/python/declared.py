"""What the tool objects of agent frameworks say of their arguments, as type hints: a pydantic model or a JSON Schema. Knows no
function."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Annotated, Any

from toolgen.catalog.normalization import normalize_schema
from toolgen.catalog.schema import Note, Schema

# Where they say it: LangChain, LangChain and CrewAI, LlamaIndex, pydantic-ai, FastMCP and Haystack, smolagents.
_PLACES = (
    "tool_call_schema",
    "args_schema",
    "metadata.fn_schema",
    "function_schema.json_schema",
    "parameters",
    "inputs",
)
# Packages whose classes are given by the framework: contexts, callbacks, configurations.
_FRAMEWORKS = frozenset(
    {
        "agents",
        "autogen_core",
        "crewai",
        "fastmcp",
        "haystack",
        "langchain",
        "langchain_core",
        "langgraph",
        "llama_index",
    }
    | {"mcp", "pydantic_ai", "smolagents"}
)


@dataclass(frozen=True)
class Declared:
    """The arguments that a tool object names: each with its hint, or with its JSON Schema and then those that a call must give
    and the definitions that the schemas refer to."""

    hints: Mapping[str, Any] = field(default_factory=dict)
    schemas: Mapping[str, Schema] = field(default_factory=dict)
    required: frozenset[str] = frozenset()
    definitions: Schema = field(default_factory=dict)

    @property
    def names(self) -> Set[str]:
        """The names of the arguments, in their order."""
        return {**self.hints, **self.schemas}.keys()

    def hint(self, name: str, own: Any) -> Any:
        """The hint of an argument whose function has the hint `own` for it, or None."""
        from pydantic import WithJsonSchema

        if name in self.hints:
            return self.hints[name]
        return Annotated[Any if own is None else own, WithJsonSchema(self.schemas[name])]


def declared_by(tool: Any, note: Note) -> Declared | None:
    """What a tool object says of its arguments; None if it says nothing that is known here."""
    from pydantic import BaseModel

    for place in _PLACES:
        try:
            found = attrgetter(place)(tool)
        except Exception:  # it has none, or a property that raises whatever it likes
            continue
        if isinstance(found, type) and issubclass(found, BaseModel):
            return Declared(hints={name: Annotated[one.annotation, one] for name, one in found.model_fields.items()})
        if isinstance(found, dict) and found and _are_objects(found.get("properties", found)):
            return _of_schema(found if "properties" in found else {"properties": found}, note)
    return None


def given_by_framework(hint: Any) -> bool:
    """Whether a type, or a part of it, is a class of a framework, which no call can give."""
    module = str(getattr(hint, "__module__", ""))
    return module.partition(".")[0] in _FRAMEWORKS or any(map(given_by_framework, getattr(hint, "__args__", ())))


def _are_objects(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(one, dict) for one in value.values())


def _of_schema(schema: Schema, note: Note) -> Declared:
    normal = normalize_schema({"type": "object", **schema}, on_note=note)
    return Declared(
        # Pydantic makes a title of every name.
        schemas={name: {k: v for k, v in one.items() if k != "title"} for name, one in normal["properties"].items()},
        required=frozenset(normal.get("required", ())),
        definitions=normal.get("$defs", {}),
    )
