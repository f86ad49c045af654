"""Types that are written as text, as JSON Schema: `Dict[str, float]`, `ArrayList<String>`, `string[]`, `int | None`,
`list of str`.

Knows the notations of Python, Java and TypeScript, and the bare words of BFCL and older schemas; no tool and no file.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Any

from toolgen.catalog.schema import Schema, admit_null
from toolgen.foreign.data import clean

_NULL = {"type": "null"}

_WORDS = {
    "object": ("object", "dict", "dictionary", "map", "hashmap", "hashtable", "record", "mapping", "mutablemapping"),
    "array": ("array", "list", "tuple", "arraylist", "set", "sequence", "iterable", "frozenset", "collection"),
    "number": ("number", "float", "double", "decimal", "bigdecimal"),
    "integer": ("integer", "int", "long", "short", "byte", "bigint", "biginteger"),
    "string": ("string", "str", "char", "character"),
    "boolean": ("boolean", "bool"),
    "null": ("null", "none", "nonetype", "void", "undefined"),
}
_TYPE_OF = {word: name for name, words in _WORDS.items() for word in words}
_ANY = frozenset({"any", "", "mixed", "unknown"})
_WRAPPERS = frozenset({"annotated", "required", "notrequired", "readonly", "final"})  # the type is their first part
_LIST_OF = re.compile(r"(?:list|array|set|sequence) of (.+)", re.IGNORECASE | re.DOTALL)
_FOREIGN = re.compile(r"""('[^']*'|"[^"]*")|\.?<|>|\[\s*\]""")  # what Java and TypeScript write otherwise than Python
_AS_PYTHON = {"<": "[", ".<": "[", ">": "]"}
_MAX_TEXT = 2_000  # characters; no type is longer


@dataclass(frozen=True)
class TypeText:
    """The schema of a type in text, empty where any value is allowed, and the parts of the text that are no known type."""

    schema: Schema
    unknown: tuple[str, ...] = ()


def parse_type(text: str) -> TypeText:
    """The type that a text names. Nothing is refused: where it is unknown, any value is allowed."""
    text = text.strip()
    if (kind := _TYPE_OF.get(text.lower())) or text.lower() in _ANY:
        return TypeText({"type": kind} if kind else {})
    if len(text) > _MAX_TEXT:
        return TypeText({}, (text,))
    if listed := _LIST_OF.fullmatch(text):
        plural = listed[1].lower().endswith("s") and listed[1][:-1].lower() in _TYPE_OF  # "list of strings"
        inner = parse_type(listed[1][:-1] if plural else listed[1])
        return TypeText(_array(inner.schema), inner.unknown)
    python = _FOREIGN.sub(lambda found: found[1] or _AS_PYTHON.get(found[0], "[...]"), text)
    unknown: list[str] = []
    try:
        with warnings.catch_warnings(action="ignore"):  # of the parser, about escapes
            tree = ast.parse(python, mode="eval").body
        return TypeText(_schema(tree, unknown), tuple(unknown))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return TypeText({}, (text,))


def any_of(schemas: Sequence[Schema]) -> Schema:
    """The schema of what any of these admits: a list of types or of values where that says it all, else `anyOf`."""
    distinct: list[Schema] = []
    for one in (part for schema in schemas for part in _alternatives(schema)):
        distinct += [one] if one not in distinct else []
    if {} in distinct or not distinct:
        return {}
    if len(distinct) == 2 and _NULL in distinct:
        return admit_null(distinct[1 - distinct.index(_NULL)])
    if len(distinct) == 1:
        return distinct[0]
    if all(schema.keys() == {"type"} for schema in distinct):
        return {"type": [schema["type"] for schema in distinct]}
    return {"anyOf": distinct}


def _alternatives(schema: Schema) -> Sequence[Schema]:
    """The alternatives that a schema consists of."""
    if schema.keys() == {"anyOf"}:
        return list(schema["anyOf"])
    if schema.keys() == {"type"} and isinstance(schema["type"], list):
        return [{"type": name} for name in schema["type"]]
    return [schema]


def _schema(node: ast.expr, unknown: list[str]) -> Schema:
    """ValueError for what is no type at all."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _union([node.left, node.right], unknown)
    if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or):  # "int or str"
        return _union(node.values, unknown)
    if isinstance(node, ast.Constant) and node.value is None:
        return dict(_NULL)
    if isinstance(node, ast.Constant) and isinstance(node.value, str):  # a reference forward
        inner = parse_type(node.value)
        unknown += inner.unknown
        return inner.schema
    if isinstance(node, ast.Subscript):
        return _generic(node, unknown)
    name = _name(node)
    if kind := _TYPE_OF.get(name):
        return {"type": kind}
    if name not in _ANY:
        unknown.append(ast.unparse(node))
    return {}


def _union(nodes: Sequence[ast.expr], unknown: list[str]) -> Schema:
    members = [inner for node in nodes for inner in _members(node)]
    values = [one for one in members if isinstance(one, ast.Constant) and one.value is not None]
    schemas = [_schema(one, unknown) for one in members if one not in values]
    return any_of([*([_values([one.value for one in values])] if values else []), *schemas])


def _members(node: ast.expr) -> list[ast.expr]:
    """The members of a union that is written with `|`."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return [*_members(node.left), *_members(node.right)]
    return [node]


def _generic(node: ast.Subscript, unknown: list[str]) -> Schema:
    """A type with parts in brackets."""
    name = _name(node.value) if not isinstance(node.value, ast.Subscript) else ""
    kind = _TYPE_OF.get(name)
    parts = list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]
    open_end = bool(parts) and isinstance(parts[-1], ast.Constant) and parts[-1].value is ...
    parts = parts[:-1] if open_end else parts
    if name == "literal":
        return _values([ast.literal_eval(part) for part in parts])
    if not parts and open_end:  # string[]
        return {"type": "array"} if kind == "array" else _array(_schema(node.value, unknown))
    if name in ("union", "optional"):
        schemas = [_schema(part, unknown) for part in parts]
        return any_of(schemas) if name == "union" else admit_null(any_of(schemas))
    if name in _WRAPPERS and parts:
        return _schema(parts[0], unknown)
    inner = [_schema(part, unknown) for part in parts] if kind in ("array", "object") else []
    if kind == "object" and len(inner) == 2:
        names = {"propertyNames": inner[0]} if "enum" in inner[0] else {}
        return {"type": "object", **({"additionalProperties": inner[1]} if inner[1] else {}), **names}
    if name == "tuple" and inner and not open_end:
        return {"type": "array", "prefixItems": inner, "minItems": len(inner), "maxItems": len(inner)}
    if kind == "array" and inner:
        return _array(inner[0])
    if not kind:
        unknown.append(ast.unparse(node))
    return {"type": kind} if kind else {}


def _name(node: ast.expr) -> str:
    """The last word of a name, in small letters; ValueError for what is none."""
    if isinstance(node, ast.Name):
        return node.id.lower()
    if isinstance(node, ast.Attribute):
        return node.attr.lower()
    raise ValueError(ast.unparse(node))


def _array(items: Schema) -> Schema:
    return {"type": "array", "items": items} if items else {"type": "array"}


def _values(values: list[Any]) -> Schema:
    """ValueError for values that JSON does not have."""
    if not values or any(not isinstance(one, (str, int, float, NoneType)) for one in values):
        raise ValueError(values)
    values = clean(values)
    return {"type": "string", "enum": values} if all(isinstance(one, str) for one in values) else {"enum": values}
