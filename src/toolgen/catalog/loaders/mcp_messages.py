"""Messages of foreign MCP servers as text that the SDK's parser can take, so that one odd value does not cost a message.

The parser refuses a whole message for a lone surrogate, a control character in a text, bytes that are no UTF-8, and 200
levels of nesting. Mended: the character is replaced, what lies too deep becomes null. Knows no protocol.
"""

from __future__ import annotations

import re

from pydantic_core import from_json

MAX_MENDED = 32 << 20  # bytes
MAX_NESTING = 120  # more than a catalog's schema may have in a message, less than the parser takes
_ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)"
)
_CONTROL = re.compile(r"[\x00-\x1f]")
_TOKEN = re.compile(r'"(?:\\.|[^"\\])*"?|[\[{]|[\]}]', re.DOTALL)  # a text without end is one too: linear


def readable(message: bytes) -> bytes:
    """The message itself if it can be parsed, or mended; ValueError if it is no JSON."""
    try:
        from_json(message)
    except ValueError:
        if len(message) > MAX_MENDED:
            raise
        mended = _mended(message.decode("utf-8-sig", "replace")).encode()
        from_json(mended)
        return mended
    return message


def _mended(text: str) -> str:
    kept: list[str] = []
    depth = begin = 0
    for token in _TOKEN.finditer(text):
        first = token[0][0]
        if first == '"':
            if depth <= MAX_NESTING:
                kept += (text[begin : token.start()], _mended_text(token[0]))
                begin = token.end()
            continue
        depth += 1 if first in "[{" else -1
        if first in "[{" and depth == MAX_NESTING + 1:
            kept += (text[begin : token.start()], "null")
        elif first in "]}" and depth == MAX_NESTING:
            begin = token.end()
    return "".join((*kept, text[begin:] if depth <= MAX_NESTING else ""))


def _mended_text(text: str) -> str:
    whole = _ESCAPE.sub(lambda match: "\\ufffd" if match[1] else match[0], text)
    return _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", whole)
