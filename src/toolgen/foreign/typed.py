"""Values of declared types from JSON values: what is missing or of another type is one line, whatever the class.

Knows dataclasses and the types of their fields; keys that a class does not have are left out.
"""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")


def typed(kind: type[T], value: Any) -> T:
    """The value as a `kind`, such as a dataclass or `tuple[str, ...]`; ValueError with place and reason if it is none."""
    from pydantic import ValidationError

    adapter: Any = _adapter(kind)  # type: ignore[arg-type]
    try:
        found: T = adapter.validate_python(value)
        return found
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"{place or 'the value'}: {first['msg'].removeprefix('Value error, ')[:200]}") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None


@cache
def _adapter(kind: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)
