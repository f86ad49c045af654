"""The words of a text, and which of them tell the tools of a catalog apart. Knows no request and no model.

One place for both: BM25 counts these words (`retrieval/bm25.py`), short requests and training examples are made of them.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, lru_cache
from itertools import pairwise
from typing import NamedTuple

from toolgen.catalog.text import views
from toolgen.catalog.tool import Tool

_RUN = re.compile(r"[^\W\d_]+|\d+")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")

# Scripts that put no space between words: Thai, Lao, Myanmar, Khmer, Tai; Han, Kana, Bopomofo. Korean has spaces, but its
# endings hang on the word.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1980-\u19ff\u1a20-\u1aaf\ua9e0-\ua9ff\uaa60-\uaadf"
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u31ff\u3400-\u9fff\uf900-\ufaff\U0001b000-\U0001b16f\U00020000-\U0003ffff"
    "\u1100-\u11ff\ua960-\ua97f\uac00-\ud7ff"
)
_HAN = re.compile("[\u3005-\u3007\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_CACHED = 64  # characters; a longer run is a sentence or no word, and does not come again
# Soft hyphen, joiners and variation selectors: inside a word, and no part of it.
_INVISIBLE = "\u00ad\u200c\u200d\u2060\ufe00-\ufe0f\U000e0100-\U000e01ef"

# The words that hold English sentences together; in a request they say nothing about the tool that is meant.
_FUNCTION_WORDS = (
    "a an and are as at be but by for if in into is it no not of on or such that the their then there these they this "
    "to was will with i me my we our you your can could would should do does please what which how"
)
_STOPWORDS = frozenset(_FUNCTION_WORDS.split())

# Other words that a request is wrapped in. BM25 keeps these words (not measured without them); nobody in a hurry types them,
# and a small catalog has few of them, so that they would look telling.
_WRAPPING = frozenset(
    """
    about after again all also am any because been before being both did done each else ever every few from get give had
    has have having he help her here him his hi hello hey if interested its just kindly know let like likely look
    looking lot make many may maybe might mine more most much must need needs never next now off ok once one only other
    ours out over own perhaps same see shall she show since so some still tell than thank thanks them too trying under
    until up upon us use using very via want wants well were when where whether while who whom whose why within without
    wondering wo ca yet yours
    """.split()  # noqa: SIM905 - a list of this length is not read
)
_CLITIC = re.compile(r"(?:n['’]t|['’](?:s|d|m|re|ve|ll))$", re.IGNORECASE)


def words(text: str) -> list[str]:
    """The index terms of a text: runs of letters of any script and runs of digits, without case.

    Identifiers fall into their parts (`getHTTPStatus_v2` -> get http status v 2). Function words of English are left
    out. Endings stay: stripping plurals lowered NDCG@5 on the dev split by 0.2 to 0.7. A letter has its accents and vowel
    signs with it, however they are encoded. Where a script has no spaces, every two neighboring characters are a term, and
    every Chinese character.
    """
    runs = _RUN.findall(text) if text.isascii() else _patterns().run.findall(unicodedata.normalize("NFC", text))
    return [part for run in runs for part in (_parts(run) if len(run) <= _CACHED else _terms(run))]


@lru_cache(maxsize=1 << 16)  # the same runs come again and again: twice as fast over 125,000 tools
def _parts(run: str) -> tuple[str, ...]:
    return tuple(_terms(run))


def _terms(run: str) -> Iterator[str]:
    if run.isascii():
        yield from (part for piece in _HUMP.split(run) if (part := piece.lower()) not in _STOPWORDS)
        return
    patterns = _patterns()
    # Of each run, not of the text: NFKC makes letters of signs (`™`), which are no part of a word.
    for piece in patterns.run.findall(unicodedata.normalize("NFKC", patterns.invisible.sub("", run))):
        if piece.isdecimal():
            yield "".join(str(unicodedata.decimal(digit)) for digit in piece)
            continue
        for spaced, unspaced in patterns.piece.findall(piece):
            yield from (part for one in _HUMP.split(spaced) if (part := one.casefold()) and part not in _STOPWORDS)
            characters = patterns.character.findall(unspaced)
            yield from map("".join, pairwise(characters))
            yield from characters if len(characters) == 1 else _HAN.findall(unspaced)


class _Patterns(NamedTuple):
    """Expressions for text beyond ASCII: a word or number, a part of a word with or without spaces around it, a character with
    its marks, what is invisible."""

    run: re.Pattern[str]
    piece: re.Pattern[str]
    character: re.Pattern[str]
    invisible: re.Pattern[str]


@cache
def _patterns() -> _Patterns:
    # Python's `re` knows no categories. But for variation selectors, all marks are below U+20000.
    marks = "".join(map(chr, (code for code in range(0x20000) if unicodedata.category(chr(code))[0] == "M")))
    letter = r"[^\W\d_]"
    return _Patterns(
        run=re.compile(rf"{letter}(?:{letter}|[{marks}{_INVISIBLE}])*|\d+"),
        piece=re.compile(rf"([^{_UNSPACED}]+)|([{_UNSPACED}][{_UNSPACED}{marks}]*)"),
        character=re.compile(rf"[^{marks}][{marks}]*"),
        invisible=re.compile(rf"[{_INVISIBLE}]"),
    )


def content_words(text: str) -> list[str]:
    """What stands between spaces, as it is written but without punctuation around it, each once; numbers and English words
    that say nothing about what is wanted are left out. A text of a script without spaces is one word."""
    found: dict[str, str] = {}
    for part in text.split():
        bare = _CLITIC.sub("", part.strip("\"'`“”‘’.,;:!?¿¡()[]{}<>*。，？！"))
        if any(not term.isdecimal() and term not in _WRAPPING for term in words(bare)):
            found.setdefault(bare.lower(), bare)
    return list(found.values())


class TellingWords:
    """How well a word tells the tools of a catalog apart: by inverse document frequency over their names and descriptions.

    Parameters are left out: their descriptions are full of example values (`Paris`, `2024-05-01`), which are rare and say
    nothing about what a tool does. Numbers and single Latin letters tell nothing for the same reason.
    """

    def __init__(self, tools: Iterable[Tool]) -> None:
        self._tools_with: Counter[str] = Counter()
        for tool in tools:
            seen = views(tool)
            self._tools_with.update({*words(seen["name"]), *words(seen.get("description", ""))})

    def places(self, found: Sequence[str]) -> list[int]:
        """The places of those words that some tool has, most telling first; of equally telling ones the earlier first."""
        counts = {i: count for i, word in enumerate(found) if (count := self._rarest(word))}
        return sorted(counts, key=lambda i: (counts[i], i))

    def _rarest(self, word: str) -> int:
        """How many tools have the rarest part of a word that any has; 0 if none has one."""
        terms = (term for term in words(word) if not term.isdecimal() and not (len(term) == 1 and term.isascii()))
        return min((count for term in terms if (count := self._tools_with[term])), default=0)
