"""Schemas as grammars: what is exact, what is relaxed, and that object keys are closed where that is meant."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from toolgen.catalog.loaders.openapi import load_openapi
from toolgen.checkpoint import Checkpoint
from toolgen.decoding.grammar import GrammarCompiler
from toolgen.decoding.lowering import Relaxed
from toolgen.errors import CheckpointError


@pytest.fixture(scope="module")
def compiler(checkpoint: Checkpoint) -> GrammarCompiler:
    first = checkpoint.vocabulary.first_id
    return GrammarCompiler(checkpoint.tokenizer, vocabulary_size=first, end_id=checkpoint.protocol.end_id)


def accepts(compiler: GrammarCompiler, checkpoint: Checkpoint, schema: Mapping[str, Any], value: Any) -> bool:
    matcher = compiler.matcher(compiler.compile(schema))
    text = json.dumps(value, ensure_ascii=False)
    for token_id in checkpoint.tokenizer(text, add_special_tokens=False)["input_ids"]:
        if not matcher.allowed_V()[token_id]:
            return False
        matcher.consume(token_id)
    assert matcher.text == text
    return matcher.complete


PAIR: Mapping[str, Any] = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "object", "properties": {"c": {"type": "string"}}}},
    "required": ["a"],
}


@pytest.mark.parametrize(
    ("value", "legal"),
    [
        ({"a": 1}, True),
        ({"a": 1, "b": {"c": 'über "x" 漢字'}}, True),
        ({"a": 1, "b": {}}, True),
        ({"b": {}}, False),
        ({"a": "1"}, False),
        ({"a": 1, "z": 1}, False),
        ({"a": 1, "b": {"z": 1}}, False),
        ([], False),
    ],
)
def test_a_grammar_accepts_what_the_schema_admits(
    compiler: GrammarCompiler, checkpoint: Checkpoint, value: Any, legal: bool
) -> None:
    assert accepts(compiler, checkpoint, PAIR, value) == legal


def test_text_is_written_with_the_separators_of_json_dumps(compiler: GrammarCompiler, checkpoint: Checkpoint) -> None:
    matcher = compiler.matcher(compiler.compile(PAIR))
    for token_id in checkpoint.tokenizer('{"a":1}', add_special_tokens=False)["input_ids"]:
        if not matcher.allowed_V()[token_id]:
            return
        matcher.consume(token_id)
    pytest.fail("JSON without blanks was accepted")


def test_the_alphabet_ends_before_the_tool_tokens(compiler: GrammarCompiler, checkpoint: Checkpoint) -> None:
    matcher = compiler.matcher(compiler.compile({"type": "object", "properties": {"x": {"type": "string"}}}))
    assert len(matcher.allowed_V()) == checkpoint.vocabulary.first_id


def test_a_tool_without_parameters_has_one_argument_object(compiler: GrammarCompiler) -> None:
    matcher = compiler.matcher(compiler.compile({"type": "object"}))
    for token_id in matcher.forced():
        matcher.consume(token_id)
    assert matcher.complete and matcher.text == "{}"


@pytest.mark.parametrize(
    ("schema", "place", "keyword"),
    [
        ({"type": "array", "items": {"type": "string"}, "uniqueItems": True}, "/properties/x", "uniqueItems"),
        ({"not": {"type": "integer"}}, "/properties/x", "not"),
        ({"type": "string", "pattern": "^(?=a)b"}, "/properties/x", "pattern"),
        ({"items": {"$ref": "https://example.org/schema"}}, "/properties/x/items", "$ref"),
        ({"anyOf": [{"type": "null"}, {"maxLength": 10**10}]}, "/properties/x/anyOf/1", "maxLength"),
        ({"type": "integer", "maximum": 2**64 - 1}, "/properties/x", "maximum"),
        ({"enum": [1, 2**53 + 1]}, "/properties/x", "enum"),
        ({"contains": {"const": 1}}, "/properties/x", "contains"),
        ({"multipleOf": 0.123456789123}, "/properties/x", "multipleOf"),
    ],
)
def test_what_cannot_be_expressed_is_left_out_at_its_place_alone(
    compiler: GrammarCompiler, checkpoint: Checkpoint, schema: Mapping[str, Any], place: str, keyword: str
) -> None:
    properties = {"day": {"type": "string", "format": "date"}, "x": schema, "format": {"type": "integer"}}
    whole = {"type": "object", "properties": properties}
    grammar = compiler.compile(whole)
    assert grammar.relaxed and grammar.dropped == (Relaxed(place, keyword),)
    assert accepts(compiler, checkpoint, whole, {"day": "2026-02-11", "format": 1})
    assert not accepts(compiler, checkpoint, whole, {"day": "11.2.2026"})
    assert not accepts(compiler, checkpoint, whole, {"format": "1"})


def test_an_unknown_format_says_nothing_about_what_is_valid(compiler: GrammarCompiler, checkpoint: Checkpoint) -> None:
    schema = {"properties": {"x": {"type": "string", "format": "iban"}, "n": {"type": "integer", "format": "int32"}}}
    assert not compiler.compile(schema).relaxed
    assert accepts(compiler, checkpoint, schema, {"x": "any", "n": 5})


def test_a_schema_that_can_be_expressed_is_not_relaxed(compiler: GrammarCompiler) -> None:
    assert not compiler.compile(PAIR).relaxed


def test_what_the_library_gives_up_at_is_found_in_definitions_too(
    compiler: GrammarCompiler, checkpoint: Checkpoint
) -> None:
    schema = {
        "properties": {"tree": {"$ref": "#/$defs/Tree"}},
        "$defs": {
            "Tree": {
                "type": "object",
                "properties": {"next": {"$ref": "#/$defs/Tree"}, "name": {"type": "string", "maxLength": 10**10}},
                "required": ["name"],
            }
        },
    }
    grammar = compiler.compile(schema)
    assert [one.keyword for one in grammar.dropped] == ["maxLength"]
    assert accepts(compiler, checkpoint, schema, {"tree": {"next": {"name": "b"}, "name": "a"}})
    assert not accepts(compiler, checkpoint, schema, {"tree": {"next": {}, "name": "a"}})


def test_a_slow_tokenizer_is_one_clear_error() -> None:
    compiler = GrammarCompiler(object(), vocabulary_size=10, end_id=0)
    with pytest.raises(CheckpointError, match="fast tokenizer"):
        compiler.compile(PAIR)


def test_the_tokenizer_itself_is_left_as_it_was(compiler: GrammarCompiler, checkpoint: Checkpoint) -> None:
    assert isinstance(checkpoint.tokenizer, PreTrainedTokenizerFast)
    before = checkpoint.tokenizer.backend_tokenizer.to_str()
    compiler.compile(PAIR)
    assert checkpoint.tokenizer.backend_tokenizer.to_str() == before


def test_a_foreign_schema_is_compiled_without_a_look_outside_and_its_patterns_in_no_time(
    compiler: GrammarCompiler, tmp_path: Path
) -> None:
    compiler.compile({})  # what is imported late is imported here
    seen: list[str] = []
    watching = True

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if watching and event.startswith(("open", "socket.", "urllib.Request", "subprocess.Popen")):
            seen.append(f"{event} {arguments}")

    sys.addaudithook(watch)
    (tmp_path / "x.json").write_text('{"type": "integer"}')
    seen.clear()
    start = time.monotonic()
    for inner in (
        {"$ref": (tmp_path / "x.json").as_uri()},
        {"$ref": "http://127.0.0.1:9/x.json"},
        {"$ref": "x.json", "$id": tmp_path.as_uri() + "/"},
        {"type": "string", "pattern": "(a+)+$"},
        {"type": "string", "pattern": "(((a{1000}){1000}){1000}){1000}"},
        {"type": "object", "patternProperties": {"^(a|a)*b$": {"type": "integer"}}},
    ):
        matcher = compiler.matcher(compiler.compile({"type": "object", "properties": {"p": inner}, "required": ["p"]}))
        for token_id in matcher.forced():
            matcher.consume(token_id)
        matcher.allowed_V()
    watching = False
    assert seen == [] and time.monotonic() - start < 5


def test_alternatives_that_a_discriminator_tells_apart_are_written_with_their_own_value(
    compiler: GrammarCompiler, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    pet = {"type": "object", "required": ["kind"], "properties": {"kind": {"type": "string"}}}
    parent = {"$ref": "#/components/schemas/Pet"}
    components = {"Pet": pet} | {
        name: {"allOf": [parent, {"type": "object", "properties": {own: {"type": "integer"}}}]}
        for name, own in (("Cat", "lives"), ("Dog", "barks"))
    }
    either = {
        "oneOf": [{"$ref": f"#/components/schemas/{name}"} for name in ("Cat", "Dog")],
        "discriminator": {"propertyName": "kind"},
    }
    operation = {"requestBody": {"required": True, "content": {"application/json": {"schema": either}}}}
    document = {"openapi": "3.0.3", "paths": {"/x": {"post": operation}}, "components": {"schemas": components}}
    (tmp_path / "api.json").write_text(json.dumps(document))
    (tool,) = load_openapi(tmp_path / "api.json").tools
    assert not compiler.compile(tool.parameters).relaxed
    for value, legal in (
        ({"kind": "Cat", "lives": 3}, True),
        ({"kind": "Dog"}, True),
        ({"kind": "Fish"}, False),
    ):
        assert accepts(compiler, checkpoint, tool.parameters, {"body": value}) == legal
