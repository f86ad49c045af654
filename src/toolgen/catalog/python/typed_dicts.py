"""`typing.TypedDict` before Python 3.12, which pydantic refuses because it lacks what generic ones need."""

from __future__ import annotations

import dataclasses
import sys
from typing import Any, NotRequired, Required, get_args, get_origin, get_type_hints

import typing_extensions


def fields_of(typed_dict: Any) -> dict[str, tuple[Any, bool]]:
    """Key to (type, whether it is required) of a TypedDict. `Required` and `NotRequired` count where
    annotations are texts too: there typing itself does not see them."""
    fields = {}
    for name, hint in get_type_hints(typed_dict, include_extras=True).items():
        required = name in typed_dict.__required_keys__
        while (origin := get_origin(hint)) in (Required, NotRequired, typing_extensions.ReadOnly):
            required = required if origin is typing_extensions.ReadOnly else origin is Required
            (hint,) = get_args(hint)
        fields[name] = (hint, required)
    return fields


def admit_typed_dicts(hint: Any) -> None:
    """Makes pydantic read every TypedDict of `typing` inside a type as the same one of `typing_extensions`."""
    if sys.version_info >= (3, 12):
        return
    waiting, seen = [hint], set()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        waiting += get_args(one)
        if typing_extensions.is_typeddict(one) or dataclasses.is_dataclass(one) or hasattr(one, "_fields"):
            try:
                waiting += get_type_hints(one, include_extras=True).values()
            except Exception:  # a hint can name anything; pydantic says what is wrong with it
                continue
        if typing_extensions.is_typeddict(one) and type(one).__module__ == "typing":
            _admit(one)


def _admit(typed_dict: Any) -> None:
    if "__get_pydantic_core_schema__" in vars(typed_dict):
        return
    make: Any = typing_extensions.TypedDict
    fields = fields_of(typed_dict).items()
    same = make(typed_dict.__name__, {name: (Required if need else NotRequired)[hint] for name, (hint, need) in fields})
    same.__doc__, same.__module__ = typed_dict.__doc__, typed_dict.__module__
    typed_dict.__get_pydantic_core_schema__ = classmethod(lambda _cls, _source, handler: handler.generate_schema(same))
