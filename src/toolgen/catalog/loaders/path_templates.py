"""Templates in the path of an operation, as `{name}` and nothing else.

OpenAPI knows only `{name}`. Descriptions that were made from discovery documents, gateways and routers also have operators
of RFC 6570 (`{+path}`, `{?q,n}`), patterns (`{name=projects/*}`, `{id:[0-9]+}`), wildcards (`{path*}`, `{proxy+}`) and
`/:id`. None of that is part of an argument's name. Knows no parameter's schema.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from toolgen.catalog.tool import JsonObject

_OPERATORS = "+#./;?&*"
_VARIABLE = re.compile(r"\s*([^:=*?+\s]+)\s*(.*)", re.DOTALL)
_STYLES = {".": "label", ";": "matrix"}
_MANY = re.compile(r"\*|/|\.\+|path\b")  # of a pattern: it takes more than one segment


@dataclass
class PathTemplate:
    """A path whose templates are `{name}`: `names` stand in it, `in_query` behind its question mark, and `query` stood in
    expressions like `{?q}`, which are gone. `wire` says how some are written."""

    path: str
    names: list[str] = field(default_factory=list)
    in_query: list[str] = field(default_factory=list)
    query: list[str] = field(default_factory=list)
    wire: dict[str, JsonObject] = field(default_factory=dict)


def settle_path(path: str, declared: Collection[str]) -> PathTemplate:
    """The templates of a path. A name that is `declared` as it stands is one, whatever characters it has."""
    settled = PathTemplate("")
    parts: list[str] = []
    behind_mark = False
    before, fragment = _without_fragment(path)
    for text, is_template in _split(before):
        if not is_template:
            parts.append(text if behind_mark else _colons(text, declared, settled))
            behind_mark = behind_mark or "?" in text
        elif text in declared or not any(character in text for character in (*_OPERATORS, ":", "=", ",")):
            (settled.in_query if behind_mark else settled.names).append(text)
            parts.append(f"{{{text}}}")
        else:
            parts.append(_expression(text, settled, settled.in_query if behind_mark else settled.names))
    settled.path = "".join(parts) + fragment
    return settled


def _without_fragment(path: str) -> tuple[str, str]:
    """A path, and what follows its `#` outside of braces."""
    depth = 0
    for place, character in enumerate(path):
        if character == "#" and depth == 0:
            return path[:place], path[place:]
        depth = max(0, depth + (character == "{") - (character == "}"))
    return path, ""


def _split(path: str) -> Iterator[tuple[str, bool]]:
    """Texts, and what stands in braces between them; a pattern may have braces of its own (`{id:[0-9]{3}}`)."""
    start = depth = 0
    for place, character in enumerate(path):
        if character == "{":
            if depth == 0:
                yield path[start:place], False
                start = place + 1
            depth += 1
        elif character == "}" and depth:
            depth -= 1
            if depth == 0:
                yield path[start:place], True
                start = place + 1
    yield ("{" if depth else "") + path[start:], False


def _expression(text: str, settled: PathTemplate, names: list[str]) -> str:
    operator = text[0] if text[0] in _OPERATORS else ""
    body = text[1:] if operator else text
    variables = body.split(",") if operator or not re.search("[:=]", body) else [body]
    written: list[str] = []
    for variable in variables:
        found = _VARIABLE.fullmatch(variable)
        if found is None or operator == "#":
            continue
        name, modifier = found[1], found[2]
        if operator in ("?", "&"):
            settled.query.append(name)
            continue
        names.append(name)
        if wire := _wire(operator, modifier):
            settled.wire[name] = wire
        written.append(("/" if operator == "/" else "") + f"{{{name}}}")
    return ("" if operator in (".", ";", "/") else ",").join(written)


def _wire(operator: str, modifier: str) -> JsonObject:
    """How the value of one variable is written: in a style, or with its slashes."""
    if operator in _STYLES:
        return {"style": _STYLES[operator]} | ({"explode": True} if modifier.startswith("*") else {})
    if operator in ("+", "*") or modifier.startswith("+") or _MANY.search(modifier):
        return {"allowReserved": True}
    return {}


def _colons(text: str, declared: Collection[str], settled: PathTemplate) -> str:
    """`/users/:id` where `id` is declared."""

    def replaced(found: re.Match[str]) -> str:
        if found[1] not in declared:
            return found[0]
        settled.names.append(found[1])
        return f"/{{{found[1]}}}"

    return re.sub(r"/:(\w+)(?=[/?]|$)", replaced, text)
