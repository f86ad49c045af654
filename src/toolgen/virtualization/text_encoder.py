"""TextEncoder: text to token ids such that no text from outside becomes a special or a tool token.

A tokenizer finds the text of its added tokens (turn markers, the end of a text, tools) wherever it stands. Here a twin without
added tokens reads the text: same normalizer, same pieces, same ids. Where a prompt's own tokens stand is said by the caller;
the twin sees one noncharacter for each of them, so that what stands beside it is cut as it always was. Knows no prompt.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase

from toolgen.datasets.trajectory import ROLES
from toolgen.errors import CheckpointError, InputError

# Unicode keeps U+FDD0 to U+FDEF for use inside a program; a lone surrogate is no text either. Foreign ones become U+FFFD.
_NO_TEXT = re.compile("[\ud800-\udfff\ufdd0-\ufdef]")
_SEPARATORS = "\ufdd0\ufdd1\ufdd2\ufdd3"
_OPEN, _CLOSE = "\ufdd8", "\ufdd9"  # around the number of a message in a rendered template


class _Own(NamedTuple):
    """An added token: its id, and what stands for it in the twin; which one says whether the white space beside is its own."""

    token_id: int
    separator: str


@dataclass(frozen=True)
class Encoded:
    """Token ids, and the places in the text that they come from.

    `encoding` is the twin's, in which every own token of the prompt is one character; `sources` says which of its ids each of
    `ids` was; `ends` are the ends of the own tokens in the text, `removed` how much longer the text is up to there.
    """

    ids: list[int]
    encoding: Any
    sources: Sequence[int]
    ends: Sequence[int]
    removed: Sequence[int]

    def within(self, spans: Iterable[tuple[int, int]]) -> list[bool]:
        """Whether each id lies in one of these parts of the text, which begin and end between the prompt's own tokens."""
        places = self.encoding.offsets
        starts, stops = ([places[source][side] for source in self.sources] for side in (0, 1))
        mask = [False] * len(self.ids)
        for start, stop in spans:
            # White space can have an empty place in the text, so what lies between a span's first and last token counts.
            first, last = bisect_left(starts, self._place(start)), bisect_right(stops, self._place(stop))
            first += next((i for i, token in enumerate(range(first, last)) if stops[token] > starts[token]), 0)
            mask[first:last] = [True] * (last - first)
        return mask

    def largest(self, parts: Iterable[tuple[int, int, float]]) -> list[float]:
        """For each id the largest of the numbers of the parts of the text that it lies in or touches; 0 outside of all."""
        places = self.encoding.offsets
        starts, stops = ([places[source][side] for source in self.sources] for side in (0, 1))
        found = [0.0] * len(self.ids)
        for start, stop, number in parts:
            first, last = bisect_right(stops, self._place(start)), bisect_left(starts, self._place(stop))
            found[first:last] = [max(one, number) for one in found[first:last]]
        return found

    def _place(self, given: int) -> int:
        """Where a place of the text is in that of the twin."""
        count = bisect_right(self.ends, given)
        return given - (self.removed[count - 1] if count else 0)


class TextEncoder:
    """Encodes texts with a tokenizer of the library `tokenizers` (CheckpointError for another), as it is now: tokens that are
    added later are not known.

    Text that holds the text of no added token gets the tokenizer's own ids. An added token that is white space, as GPT-NeoX and
    Gemma have them, counts as text.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        from tokenizers import AddedToken, Tokenizer

        backend: Any = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise CheckpointError(
                f"a tokenizer of the class {type(tokenizer).__name__} cannot be used; it needs a tokenizer.json of the "
                "library tokenizers"
            )
        twin = Tokenizer(backend.model)
        twin.normalizer, twin.pre_tokenizer = backend.normalizer, backend.pre_tokenizer
        twin.post_processor = backend.post_processor  # it decides which places a token has
        self._twin, self._tokenizer = twin, tokenizer
        self._own: dict[str, _Own] = {}
        self._instead: dict[int, Sequence[int]] = {}
        blank = {}
        for token_id, token in backend.get_added_tokens_decoder().items():
            if token.content.isspace():
                blank[token_id] = token
            else:
                self._own[token.content] = _Own(token_id, _SEPARATORS[2 * token.lstrip + token.rstrip])
        twin.add_tokens([*blank.values()])
        self._instead |= {
            one: (token_id,)
            for token_id, token in blank.items()
            if (one := twin.token_to_id(token.content)) not in (None, token_id)
        }
        twin.add_special_tokens(
            [
                AddedToken(separator, normalized=False, lstrip=place > 1, rstrip=place % 2 == 1)
                for place, separator in enumerate(_SEPARATORS)
            ]
        )
        self._separators = {twin.token_to_id(separator) for separator in _SEPARATORS}
        self._spell_pieces(backend)

    def _spell_pieces(self, backend: Any) -> None:
        """A vocabulary that holds an added token's text as a piece, as Unigram's does, may give it for plain text: then its
        characters are meant. What stands for unknown text stays."""
        unknown = {piece.id for piece in backend.model.tokenize("\U0010ffff")}  # no letter of any vocabulary
        pieces = {
            own.token_id: text
            for text, own in self._own.items()
            if own.token_id not in unknown and backend.model.token_to_id(text) is not None
        }
        for token_id, text in pieces.items():
            spelled = (one for letter in text for one in self._twin.encode(letter, add_special_tokens=False).ids)
            self._instead[token_id] = [one for one in spelled if one not in pieces]

    def encode(self, text: str, own: re.Pattern[str]) -> Encoded:
        """A text in which what `own` matches is the prompt's, and a token where the tokenizer has one of that text; all else
        comes from outside."""
        return self._encode(_clean(text), own, ())

    def encode_each(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of texts that come from outside altogether."""
        encodings = self._twin.encode_batch([*map(_clean, texts)], add_special_tokens=False)
        return [self._finished(encoding.ids, ())[0] for encoding in encodings]

    def beginning(self, text: str, tokens: int) -> str:
        """The text up to the end of its token number `tokens`; all of a shorter one."""
        if len(text.encode("utf-8", "replace")) <= tokens:  # no tokenizer needs more than one token a byte
            return text
        encoding = self._read(_clean(text))
        return text if len(encoding.ids) <= tokens else text[: encoding.offsets[tokens - 1][1]]

    def encode_chat(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """Token ids of messages in the tokenizer's own chat template, up to where the assistant answers; their contents come
        from outside. The template is shown a number for each of them, so that none can be taken for a part of it."""
        shown: list[Mapping[str, str]] = []
        contents: list[str] = []
        for message in messages:
            check_role(message["role"], ROLES)
            if content := message["content"].strip():
                number = f"{_OPEN}{len(contents)}{_CLOSE}"
                message = {**message, "content": message["content"].replace(content, number)}
                contents.append(_clean(content))
            shown.append(message)
        text: Any = self._tokenizer.apply_chat_template(shown, tokenize=False, add_generation_prompt=True)
        return self._encode(text, self._number_or_own, contents).ids

    @cached_property
    def _number_or_own(self) -> re.Pattern[str]:
        """The number of a content, or the text of an added token, the longest that fits."""
        own = map(re.escape, sorted(self._own, key=len, reverse=True))
        return re.compile("|".join([f"{_OPEN}([0-9]+){_CLOSE}", *own]))

    def _encode(self, text: str, pattern: re.Pattern[str], contents: Sequence[str]) -> Encoded:
        own: list[int] = []
        ends: list[int] = []
        lengths: list[int] = []

        def replaced(match: re.Match[str]) -> str:
            if match.lastindex:
                return contents[int(match[1])]
            if match[0] not in self._own:
                return match[0]
            token = self._own[match[0]]
            own.append(token.token_id)
            ends.append(match.end())
            lengths.append(len(match[0]) - 1)
            return token.separator

        encoding = self._read(pattern.sub(replaced, text))
        ids, sources = self._finished(encoding.ids, own)
        return Encoded(ids, encoding, sources, ends, [*accumulate(lengths)])

    def _read(self, text: str) -> Any:
        """The twin's encoding. A batch of one: unlike `encode` it leaves the other threads running, for seconds where a text is
        long."""
        (encoding,) = self._twin.encode_batch([text], add_special_tokens=False)
        return encoding

    def _finished(self, ids: list[int], own: Sequence[int]) -> tuple[list[int], Sequence[int]]:
        """The twin's ids with the prompt's own tokens where they stand, and for each the place of the id that it was."""
        own_ids = iter(own)
        if self._instead.keys().isdisjoint(ids):  # nearly always
            return [next(own_ids) if one in self._separators else one for one in ids], range(len(ids))
        found: list[int] = []
        sources: list[int] = []
        for place, one in enumerate(ids):
            meant = (next(own_ids),) if one in self._separators else self._instead.get(one, (one,))
            found += meant
            sources += [place] * len(meant)
        return found, sources


def check_role(role: str, roles: Iterable[str]) -> None:
    """InputError for a role that is none: it would stand in the template as it is, and could end its turn."""
    if role not in roles:
        raise InputError(f"a message's role is {role!r}; expected one of {', '.join(ROLES)}")


def _clean(text: str) -> str:
    return _NO_TEXT.sub("\ufffd", text)
