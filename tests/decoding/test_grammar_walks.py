"""Random walks through the grammars of random schemas are valid by `jsonschema`, and random valid instances are admitted.

The walks are those of `benchmarks/grammar_walks.py`, which goes through 2,000 published schemas.
"""

from __future__ import annotations

import importlib.util
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from toolgen.decoding.grammar import GrammarCompiler

Json = dict[str, Any]
SCHEMAS, WALKS = 150, 6
NAMES = ("a", "b", "kind", "é", "x-1", 'q"')

_spec = importlib.util.spec_from_file_location(
    "grammar_walks", Path(__file__).parents[2] / "benchmarks" / "grammar_walks.py"
)
assert _spec is not None and _spec.loader is not None
walks: Any = importlib.util.module_from_spec(_spec)
sys.modules["grammar_walks"] = walks
_spec.loader.exec_module(walks)


class RandomSchemas:
    """Schemas with all that is said of arguments, nested and composed."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)

    def root(self) -> Json:
        schema = self.object(3) | {"type": "object"}
        schema["$defs"] = {"One": self.object(1), "Two": self.schema(1), "Tree": self.tree()}
        return schema

    def schema(self, depth: int) -> Any:
        kinds = [self.text, self.number, self.constant, self.nullable, self.reference, self.simple]
        if depth > 0:
            kinds += [self.object, self.object, self.array, self.composed, self.composed]
        return self.draw.choice(kinds)(depth)

    def text(self, _depth: int) -> Json:
        more: list[Json] = [
            {},
            {"minLength": self.draw.randrange(3)},
            {"maxLength": 1 + self.draw.randrange(9)},
            {"pattern": self.draw.choice(["^[a-c]+$", "^\\d{2,3}$", "x", "^(é|漢)*$", '^"'])},
            {"format": self.draw.choice(["date", "email", "iban"])},
        ]
        return {"type": "string"} | self.draw.choice(more) | self.draw.choice(more[:3])

    def number(self, _depth: int) -> Json:
        schema: Json = {"type": self.draw.choice(["integer", "number"])}
        low = self.draw.choice([None, -3, 0, 0.5, 17])
        if low is not None:
            schema[self.draw.choice(["minimum", "exclusiveMinimum"])] = low
        if self.draw.random() < 0.5:
            schema[self.draw.choice(["maximum", "exclusiveMaximum"])] = (low or 0) + self.draw.choice([2, 10.25, 1000])
        if self.draw.random() < 0.3:
            schema["multipleOf"] = self.draw.choice([1, 2, 0.5, 0.01])
        return schema

    def constant(self, _depth: int) -> Json:
        values = ["s", "", "two words", 1, -2.5, True, None, [1, "a"], {"k": 1}]
        if self.draw.random() < 0.3:
            return {"const": self.draw.choice(values)}
        return {"enum": self.draw.sample(values, 3)}

    def nullable(self, depth: int) -> Json:
        inner = self.text(depth) if self.draw.random() < 0.5 else self.number(depth)
        return inner | {"type": [inner["type"], "null"]}

    def simple(self, _depth: int) -> Any:
        return self.draw.choice(
            [{}, True, {"type": "boolean"}, {"not": {"type": ["string", "array"]}}, {"type": "object"}]
        )

    def reference(self, _depth: int) -> Json:
        return {"$ref": f"#/$defs/{self.draw.choice(['One', 'Two', 'Tree'])}"} if self.draw.random() < 0.5 else {}

    def array(self, depth: int) -> Json:
        schema: Json = {"type": "array", "items": self.schema(depth - 1)}
        more: list[Json] = [
            {},
            {"minItems": 1, "maxItems": 3},
            {"prefixItems": [self.schema(0)], "items": self.schema(0)},
            {"uniqueItems": True},
            {"contains": {"type": "null"}},
        ]
        return schema | self.draw.choice(more)

    def object(self, depth: int) -> Json:
        names = self.draw.sample(NAMES, self.draw.randrange(1, 4))
        schema: Json = {"type": "object", "properties": {name: self.schema(depth - 1) for name in names}}
        schema["required"] = [name for name in names if self.draw.random() < 0.4]
        more: list[Json] = [
            {},
            {},
            {"additionalProperties": False},
            {"additionalProperties": {"type": "integer"}},
            {"patternProperties": {"^x-": {"type": "boolean"}}},
            {"minProperties": 1},
            {"dependentRequired": {names[0]: [self.draw.choice(NAMES)]}},
            {"propertyNames": {"maxLength": 4}},
            {
                "if": {"required": [names[0]]},
                "then": {"properties": {names[0]: self.schema(0)}},
                "else": {"minProperties": 1},
            },
        ]
        return schema | self.draw.choice(more)

    def composed(self, depth: int) -> Json:
        keyword = self.draw.choice(["allOf", "anyOf", "oneOf"])
        parts = [self.object(depth - 1) for _ in range(2)]
        if keyword != "allOf":
            parts.append(self.schema(0) if self.draw.random() < 0.5 else {"type": "null"})
        schema: Json = {keyword: parts}
        if self.draw.random() < 0.3:
            schema["properties"] = {self.draw.choice(NAMES): self.schema(0)}
        return schema

    def tree(self) -> Json:
        return {
            "type": "object",
            "properties": {"v": self.number(0), "next": {"anyOf": [{"$ref": "#/$defs/Tree"}, {"type": "null"}]}},
            "required": ["v"],
        }


@pytest.fixture(scope="module")
def compiler() -> GrammarCompiler:
    made: GrammarCompiler = walks.byte_compiler()
    return made


def without_one(schema: Json, draw: random.Random) -> Json:
    """The schema without one of its keywords, so that its walks are sometimes valid under it and sometimes not."""
    copy: Json = json.loads(json.dumps(schema))
    found = [
        (node, key) for node in nodes(copy) for key in node if key not in ("$defs", "format", "properties", "$ref")
    ]
    node, key = draw.choice(found)
    del node[key]
    return copy


def nodes(schema: Any) -> Iterator[Json]:
    if isinstance(schema, dict):
        yield schema
        for key, value in schema.items():
            if key in ("properties", "patternProperties", "$defs"):
                for inner in value.values():
                    yield from nodes(inner)
            elif key not in ("const", "enum", "dependentRequired"):
                yield from nodes(value)
    elif isinstance(schema, list):
        for inner in schema:
            yield from nodes(inner)


@pytest.mark.parametrize("part", range(5))
def test_walks_of_exact_grammars_are_valid_and_valid_instances_are_admitted(
    compiler: GrammarCompiler, part: int
) -> None:
    draw = random.Random(part)
    tally = walks.Tally()
    for number in range(part, SCHEMAS, 5):
        schema = RandomSchemas(number).root()
        wider = compiler.compile(without_one(schema, draw))
        texts = [walks.walk(compiler.matcher(wider), draw, walks.patterns_of(schema)) for _ in range(WALKS)]
        instances = [json.loads(text) for text in texts if text is not None]
        valid = tuple(one for one in instances if walks.is_valid(one, schema))
        tally.add(compiler, walks.Sample("random", str(number), schema, valid), draw, walks=WALKS)
    counts = tally.counts
    assert tally.wrong == []
    assert counts["schemas, exact"] > counts["schemas, relaxed"]
    assert counts["walks, exact, valid"] >= 0.99 * WALKS * counts["schemas, exact"]
    assert counts["instances, admitted"] > 50
