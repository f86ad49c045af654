"""Plain JSON values: what can be sent anywhere. Knows no schema."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def is_plain_json(value: Any) -> bool:
    """Whether a parsed value can be written as JSON again: numbers are finite, text has no lone surrogates."""
    if isinstance(value, str):
        return not any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, Mapping):
        return all(is_plain_json(key) and is_plain_json(item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(is_plain_json, value))
    return value is None or isinstance(value, (bool, int))
