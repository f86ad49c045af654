"""Grammars of argument objects: JSON Schema -> which tokens may come next.

Compiles with llguidance over the base vocabulary, so that a tool token is not a letter of this alphabet at all. What
llguidance cannot express is relaxed step by step; the caller validates the object afterwards and says so.
Knows a tokenizer and schemas; no model and no tool.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

from toolgen.decoding.lowering import Lowered, Relaxed, lowered, replaced, subschemas
from toolgen.decoding.matcher import EndTokens, Matcher, NumberTokens
from toolgen.decoding.references import Json
from toolgen.errors import CheckpointError

# json.dumps' default separators: what the training text was written with.
JSON_STYLE: Mapping[str, Any] = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}

# What is left out at one place where the compiler gives up, one group after the other: first what only narrows a value.
RELAXATIONS: tuple[frozenset[str], ...] = (
    frozenset({"format"}),
    frozenset({"pattern", "multipleOf", "minLength", "maxLength", "minItems", "maxItems"}),
    frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}),
    frozenset({"minProperties", "maxProperties", "patternProperties"}),
    frozenset({"enum", "const"}),
    frozenset({"allOf", "anyOf", "$ref"}),
)
MAX_REPAIRS = 16


@dataclass(frozen=True)
class ArgumentGrammar:
    """A compiled schema. `dropped` is what could not be kept, and where; empty means that the grammar is exact."""

    text: str
    dropped: tuple[Relaxed, ...] = ()

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
        """The grammar of an argument object: keys in the order of `properties`, none that nothing declares (`lowered`)."""
        try:
            simple = lowered(schema)
        except (RecursionError, TypeError, ValueError, AttributeError, KeyError):  # too deep, or no schema at all
            simple = Lowered({"type": "object"}, (Relaxed("/", "properties"),))
        whole, dropped = simple.schema, list(simple.relaxed)
        for _ in range(MAX_REPAIRS):
            text = self._grammar(whole)
            if text is not None:
                return ArgumentGrammar(text, tuple(dropped))
            whole, relaxed = self._repaired(whole)
            dropped += relaxed
        text = self._grammar({"type": "object"})
        if text is None:
            raise CheckpointError("llguidance cannot compile the grammar of a plain JSON object for this tokenizer")
        return ArgumentGrammar(text, (*dropped, Relaxed("/", "properties")))

    @cached_property
    def numbers(self) -> NumberTokens:
        """The tokens that go on with a number."""
        return NumberTokens.of(self.alphabet, self.vocabulary_size)

    @cached_property
    def ends(self) -> EndTokens:
        """The tokens that end a value."""
        return EndTokens.of(self.alphabet, self.vocabulary_size)

    def matcher(self, grammar: ArgumentGrammar) -> Matcher:
        """A fresh position at the beginning of the grammar."""
        from llguidance import LLMatcher

        position = LLMatcher(self.alphabet, grammar.text)
        return Matcher(position, self.alphabet, size=self.vocabulary_size, numbers=self.numbers, ends=self.ends)

    def _grammar(self, schema: Mapping[str, Any]) -> str | None:
        from llguidance import LLMatcher

        text: str = LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=cast(Any, JSON_STYLE))
        return None if LLMatcher.validate_grammar(text, self.alphabet) else text

    def _repaired(self, whole: Json) -> tuple[Json, list[Relaxed]]:
        """The schema without what the compiler cannot follow at one place, the deepest that fails by itself."""
        definitions = dict(whole.get("$defs", {}))

        def fails(schema: Any) -> bool:
            alone = {"type": "object", "properties": {"x": schema}, "required": ["x"], "additionalProperties": False}
            return self._grammar({**alone, "$defs": definitions}) is None

        path: tuple[Any, ...] = ()
        node: Json = whole
        while True:
            for way, child in subschemas(node, definitions):
                known = dict(definitions)
                if way[0] == "$defs":
                    definitions[way[1]] = {}  # not the fault of what refers to itself
                if child and fails(child):
                    path, node = (way if way[0] == "$defs" else (*path, *way)), child
                    break
                definitions = known
            else:
                break
        left_out, kept = set(node) - {"type", "$defs"}, {} if path else {"type": "object"}
        for group in RELAXATIONS:
            rest = {key: value for key, value in node.items() if key not in group}
            if len(rest) < len(node) and not fails(rest):
                left_out, kept = set(node) - set(rest), rest
                break
        place = "/" + "/".join(map(str, path))
        return replaced(whole, path, kept), [Relaxed(place, key) for key in sorted(left_out)]
