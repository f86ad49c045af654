"""Values of declared types from JSON values: what is missing or of another type is one line, whatever the class.

Knows dataclasses and the types of their fields; keys that a class does not have are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, TypeVar

from toolgen.foreign.data import OnLoss

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


def typed_lines(kind: type[T], lines: Iterable[tuple[int, Any]], on_loss: OnLoss) -> Iterator[T]:
    """The values of numbered lines (`line_values`) as a `kind`; one that is none is told to `on_loss`."""
    for number, value in lines:
        try:
            found = typed(kind, value)
        except ValueError as error:
            on_loss(f"line {number}", str(error))
        else:
            yield found


@cache
def _adapter(kind: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)
