"""What each part of a conversation's text weighs in the loss: what a grammar forces is little to learn, a value much.

Kinds: `structure` (braces, commas, spaces), `key`, `value`, `stop` (the end of a turn), `answer` (the words of `finish`),
`text` (words that are no arguments). The tokens of a tool are choices and weighed apart. Knows no tokenizer and no model.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from toolgen.datasets.messages import FINISH
from toolgen.training.config import Kind
from toolgen.virtualization.vocabulary import TURN_END

if TYPE_CHECKING:
    from toolgen.virtualization.protocol import Part

_NAME = re.compile(r"<<(.+)>>\Z", re.S)  # however many tokens a tool has; in other text the template breaks `<<` up
_JSON = re.compile(
    r'(?P<key>"(?:[^"\\]|\\.)*"(?=\s*:))|(?P<value>"(?:[^"\\]|\\.)*"|[^\s{}\[\],:"]+)|(?P<structure>.)', re.S
)


def parts_of(written: Sequence[tuple[int, str]], weights: Mapping[Kind, float]) -> Iterator[Part]:
    """The parts of what the assistant wrote, given as pieces with their places: a call's name, then its arguments."""
    called = ""
    for start, piece in written:
        body = piece.removesuffix(TURN_END)
        if name := _NAME.search(piece):
            yield start, start + name.start(), weights.get("text", 1.0)
            yield start + name.start(), start + len(piece), 1.0  # a choice, whatever text weighs
            called = name[1]
            continue
        if called and body.startswith("{"):
            for kind, first, last in _arguments(body, is_finish=called == FINISH):
                yield start + first, start + last, weights.get(kind, 1.0)
        else:
            yield start, start + len(body), weights.get("text", 1.0)
        if len(body) < len(piece):
            yield start + len(body), start + len(piece), weights.get("stop", 1.0)
        called = ""


def _arguments(text: str, *, is_finish: bool) -> Iterator[tuple[Kind, int, int]]:
    for found in _JSON.finditer(text):
        kind: Kind = "key" if found["key"] else "value" if found["value"] else "structure"
        if is_finish:
            kind = "answer" if kind == "value" else "structure"
        yield kind, found.start(), found.end()
