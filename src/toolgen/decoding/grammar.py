"""Grammars of argument objects: JSON Schema -> which tokens may come next.

Compiles with llguidance over the base vocabulary, so that a tool token is not a letter of this alphabet at all. What
llguidance cannot express is relaxed step by step; the caller validates the object afterwards and says so.
Knows a tokenizer and schemas; no model and no tool.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from toolgen.errors import CheckpointError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

# json.dumps' default separators: what the training text was written with.
JSON_STYLE: Mapping[str, Any] = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}

# What is dropped, one group after the other, when a schema cannot be compiled: first what only narrows a value.
RELAXATIONS: tuple[frozenset[str], ...] = (
    frozenset({"format", "uniqueItems", "contains", "minContains", "maxContains", "contentEncoding"}),
    frozenset({"not", "if", "then", "else", "dependentRequired", "dependentSchemas", "dependencies"}),
    frozenset({"propertyNames", "minProperties", "maxProperties", "unevaluatedProperties", "unevaluatedItems"}),
    frozenset({"pattern", "patternProperties", "multipleOf", "minLength", "maxLength", "minItems", "maxItems"}),
    frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}),
    frozenset({"$ref", "$dynamicRef", "allOf", "oneOf"}),
    frozenset({"enum", "const"}),
)
COMBINATORS = ("allOf", "anyOf", "oneOf", "$ref", "$dynamicRef", "if", "patternProperties", "unevaluatedProperties")
# Keywords whose value maps *names* to schemas: the names are not keywords.
NAMED_SCHEMAS = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
# Keywords whose value is data, not a schema.
DATA_KEYWORDS = frozenset({"const", "enum", "default", "examples", "required"})


@dataclass(frozen=True)
class ArgumentGrammar:
    """A compiled schema. `dropped` are the keywords that could not be kept; empty means that the grammar is exact."""

    text: str
    dropped: tuple[str, ...] = ()

    @property
    def relaxed(self) -> bool:
        """Whether the grammar admits objects that the schema does not."""
        return bool(self.dropped)


class GrammarCompiler:
    """Compiles schemas for one tokenizer.

    `vocabulary_size` is the number of token ids that text may use: all ids below it, none above.
    The tokenizer's view for llguidance takes about a second to build; it is built at the first use.
    """

    def __init__(self, tokenizer: Any, *, vocabulary_size: int, end_id: int) -> None:
        self.vocabulary_size = vocabulary_size
        self._tokenizer = tokenizer
        self._end_id = end_id

    @cached_property
    def alphabet(self) -> Any:
        """The base vocabulary as llguidance sees it (`LLTokenizer`)."""
        from llguidance import LLTokenizer

        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise CheckpointError("decoding arguments needs a fast tokenizer (tokenizer.json); this model has none")
        description = json.loads(backend.to_str())
        description["added_tokens"] = [t for t in description["added_tokens"] if t["id"] < self.vocabulary_size]
        description["padding"] = description["truncation"] = None
        try:
            return LLTokenizer(
                json.dumps(description),
                n_vocab=self.vocabulary_size,
                eos_token=self._end_id,
                slices=LLTokenizer.json_slices(),
            )
        except ValueError as error:
            raise CheckpointError(f"llguidance cannot read this checkpoint's tokenizer: {error}") from error

    def compile(self, schema: Mapping[str, Any]) -> ArgumentGrammar:
        """The grammar of an argument object: keys in the order of `properties`, no others (`close_objects`)."""
        closed = close_objects(schema)
        text = self._grammar(closed)
        if text is not None:
            return ArgumentGrammar(text)
        dropped: set[str] = set()
        for group in RELAXATIONS:
            closed, found = without_keywords(closed, group)
            dropped |= found
            text = self._grammar(closed, coerce_one_of=True)
            if text is not None:
                return ArgumentGrammar(text, tuple(sorted(dropped or {"oneOf"})))
        text = self._grammar({"type": "object"})
        if text is None:
            raise CheckpointError("llguidance cannot compile the grammar of a plain JSON object for this tokenizer")
        return ArgumentGrammar(text, ("properties",))

    def matcher(self, grammar: ArgumentGrammar) -> Matcher:
        """A fresh position at the beginning of the grammar."""
        return Matcher(self, grammar)

    def _grammar(self, schema: Mapping[str, Any], **options: Any) -> str | None:
        from llguidance import LLMatcher

        text: str = LLMatcher.grammar_from_json_schema(
            json.dumps(schema, ensure_ascii=False), overrides=cast(Any, {**JSON_STYLE, **options})
        )
        return None if LLMatcher.validate_grammar(text, self.alphabet) else text


class Matcher:
    """A position inside a grammar: which tokens may come next, and whether the object is complete."""

    def __init__(self, compiler: GrammarCompiler, grammar: ArgumentGrammar) -> None:
        from llguidance import LLMatcher

        self._alphabet = compiler.alphabet
        self._size = compiler.vocabulary_size
        self._matcher = LLMatcher(self._alphabet, grammar.text)
        self.tokens: list[int] = []

    @property
    def complete(self) -> bool:
        """Whether the tokens so far are a whole object."""
        return bool(self._matcher.is_accepting())

    @property
    def stuck(self) -> bool:
        """Whether no token can follow although the object is not complete (a limit of the library was reached)."""
        return bool(self._matcher.is_stopped()) and not self.complete

    @property
    def text(self) -> str:
        """The tokens so far as text."""
        content: bytes = self._alphabet.decode_bytes(self.tokens)
        return content.decode("utf-8", errors="replace")

    def forced(self) -> list[int]:
        """The tokens that must come next because only one text is possible; often the next key."""
        return list(self._matcher.compute_ff_tokens())

    def allowed_V(self) -> npt.NDArray[np.bool_]:
        """Which of the base vocabulary's tokens may come next [V]."""
        import numpy as np

        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        return np.unpackbits(bits, count=self._size, bitorder="little").astype(bool)

    def consume(self, token_id: int) -> None:
        """Moves on by one allowed token."""
        self._matcher.consume_token(token_id)
        self.tokens.append(token_id)

    def closing_tokens(self) -> list[int]:
        """Single-character tokens that bring the object nearer to its end from here, best first; the caller checks the
        mask. Inside a string that is its quote; outside, the brackets, then the quote of an empty string."""
        characters = '"' if _inside_string(self.text) else '}]"'
        candidates = (self._alphabet.tokenize_str(character) for character in characters)
        return [tokens[0] for tokens in candidates if len(tokens) == 1]


def close_objects(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with undeclared keys forbidden wherever it does not speak about them.

    JSON Schema admits undeclared keys by default; a call with one is legal but never meant. Objects under a combinator
    stay open: there the declared keys may stand in another branch. An object without declared keys stays open too,
    except the argument object itself.
    """
    closed: dict[str, Any] = _closed(schema)
    closed["type"] = "object"
    if "additionalProperties" not in closed and not any(key in closed for key in COMBINATORS):
        closed["additionalProperties"] = False
    return closed


def _closed(schema: Any) -> Any:
    if not isinstance(schema, Mapping):
        return schema
    result = _map_schemas(schema, _closed, skip=frozenset({"allOf", "not", "if", "then", "else"}))
    open_object = result.get("properties") and "additionalProperties" not in result
    if open_object and not any(key in result for key in COMBINATORS):
        result["additionalProperties"] = False
    return result


def without_keywords(schema: Mapping[str, Any], keywords: frozenset[str]) -> tuple[dict[str, Any], set[str]]:
    """The schema without these keywords at any depth, and which of them it had. Property names are left alone."""
    found: set[str] = set()

    def strip(node: Any) -> Any:
        if not isinstance(node, Mapping):
            return node
        found.update(keywords & node.keys())
        return _map_schemas({key: value for key, value in node.items() if key not in keywords}, strip)

    return strip(schema), found


def _map_schemas(
    schema: Mapping[str, Any], change: Callable[[Any], Any], skip: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """A schema with `change` applied to each schema directly inside it."""
    result: dict[str, Any] = {}
    for key, value in schema.items():
        if key in DATA_KEYWORDS or key in skip:
            result[key] = value
        elif key in NAMED_SCHEMAS and isinstance(value, Mapping):
            result[key] = {name: change(item) for name, item in value.items()}
        elif isinstance(value, Mapping):
            result[key] = change(value)
        elif isinstance(value, list):
            result[key] = [change(item) for item in value]
        else:
            result[key] = value
    return result


def _inside_string(text: str) -> bool:
    """Whether a prefix of a JSON text ends within a string."""
    inside = escaped = False
    for character in text:
        if escaped:
            escaped = False
        elif inside and character == "\\":
            escaped = True
        elif character == '"':
            inside = not inside
    return inside
