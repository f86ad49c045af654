"""What looks like a secret in a foreign description: people publish their own keys as default values.

Errs on the side of taking something for a secret: a catalog without a default is of use, one with a password goes round.
"""

from __future__ import annotations

import re
from typing import Any

MIN_SECRET = 6  # characters of a value whose name says that it is secret
MIN_KEY = 16  # of one whose name only says `key` or `auth`

_SECRET_NAMES = frozenset({"password", "passwd", "pwd", "passphrase", "secret", "token", "apikey", "credential",
                           "credentials", "authorization", "bearer", "jwt"})  # fmt: skip
_KEY_NAMES = frozenset({"key", "auth", "signature", "cookie", "session", "pat"})
# Token formats of their issuers: OpenAI and Stripe, GitHub, GitLab, Slack, AWS, Google, JWT, PEM, HTTP authorization.
_KNOWN = re.compile(
    r"\b(?:sk|pk|rk)[-_][A-Za-z0-9_-]{16,}|\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_\w{20,}|\bglpat-[\w-]{16,}"
    r"|\bxox[abeprs]-[\w-]{10,}|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bAIza[\w-]{30,}|\beyJ[\w-]{8,}\.[\w-]{8,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY|^(?:Bearer|Basic|Token) [\w.~+/=-]{8,}$|^\w+://[^/\s:@]+:[^/\s@]+@"
)
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


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
    words = [word.lower() for word in _WORDS.findall(name)]
    if not words or " " in value or not value.isascii():
        return False
    if words[-1] in _SECRET_NAMES or words[-2:] in (["api", "key"], ["access", "key"], ["private", "key"]):
        return len(value) >= MIN_SECRET
    return words[-1] in _KEY_NAMES and len(value) >= MIN_KEY and any(character.isdigit() for character in value)
