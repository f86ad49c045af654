"""What looks like a secret in a foreign description: people publish their own keys as default values.

Errs on the side of taking something for a secret: a catalog without a default is of use, one with a password goes round.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

MIN_SECRET = 6  # characters of a value whose name says that it is secret
MIN_KEY = 16  # of one whose name only says `key` or `auth`

_SECRET_NAMES = frozenset({"pwd", "pass", "credential", "credentials", "authorization", "bearer", "jwt"})
_SECRET_ENDS = ("password", "passwd", "passphrase", "secret", "token", "apikey", "accesskey", "privatekey", "secretkey")
_KEY_NAMES = frozenset({"key", "auth", "signature", "cookie", "session", "pat"})
# Token formats of their issuers: OpenAI and Stripe, GitHub, GitLab, Slack, AWS, Google, JWT, PEM, HTTP authorization.
_KNOWN = re.compile(
    r"\b(?:sk|pk|rk)[-_][A-Za-z0-9_-]{16,}|\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_\w{20,}|\bglpat-[\w-]{16,}"
    r"|\bxox[abeprs]-[\w-]{10,}|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bAIza[\w-]{30,}|\beyJ[\w-]{8,}\.[\w-]{8,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY|^(?:Bearer|Basic|Token) [\w.~+/=-]{8,}$"
    r"|\w://[^/\s:@]{0,200}:(?!\d+[/?#])(?:(?!://)[^\s@]){1,1000}@"  # a login in an address, not a port
)
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
# In a text of any language (JSON, shell, connection strings): name=value, "name": "value", Name: Bearer value.
_ASSIGNED = re.compile(
    r"(?<![\w.-])([\w.-]+)"
    r"(?=[\\\"']*(?:\s*:[ \t]*|=)[\\\"'\[({]*((?:(?:bearer|basic|token) +)?[^\s\\\"',;&})\]]{1,64}))",
    re.IGNORECASE,
)
# Also a user alone in an address, a header of any name, and JSON in base64.
_IN_TEXT = re.compile(rf"{_KNOWN.pattern}|https?://[^/\s@]+@|\bBearer [\w.~+/=-]{{6,}}|\beyJ[\w+/=-]{{16,}}")
_LOGIN = re.compile(r"(?!\d+:\d+$)[^\s:/]+:(?!//)\S+")  # not the numbers of user and group
_OPEN = frozenset({"", "true", "false", "null", "none", "bearer", "basic", "token"})


def looks_secret(name: str, value: Any) -> bool:
    """Whether a value, or one inside it, looks like a secret where it has this name."""
    if isinstance(value, dict):
        return any(looks_secret(str(key), inner) for key, inner in value.items())
    if isinstance(value, list):
        return any(looks_secret(name, inner) for inner in value)
    if not isinstance(value, str):
        return False
    if _KNOWN.search(value):
        return True
    words = _words(name)
    if not words or " " in value or not value.isascii():
        return False
    if is_secret_name(name):
        return len(value) >= MIN_SECRET
    return words[-1] in _KEY_NAMES and len(value) >= MIN_KEY and any(character.isdigit() for character in value)


def is_secret_name(name: str) -> bool:
    """Whether a name says that its value is secret."""
    words = _words(name)
    return bool(words) and (words[-1] in _SECRET_NAMES or "".join(words[-2:]).endswith(_SECRET_ENDS))


def looks_secret_option(name: str, value: str) -> bool:
    """Whether what an option of a command is given is a secret, or has one somewhere in it: also short ones, and those in JSON,
    in a connection string or in the script of a shell."""
    options = (pair for pair in pairwise(value.split()) if pair[0][0] == "-" != pair[1][0])
    pairs = ((name, value), *_ASSIGNED.findall(value), *options)
    return bool(_IN_TEXT.search(value)) or any(_is_given_secret(*pair) for pair in pairs)


def _is_given_secret(name: str, value: str) -> bool:
    if is_secret_name(name):
        return value.lower() not in _OPEN
    if name.lstrip("-") in ("u", "user"):  # as curl has it
        return _LOGIN.fullmatch(value) is not None
    return looks_secret(name, value)


def _words(name: str) -> list[str]:
    return [word.lower() for word in _WORDS.findall(name)]
