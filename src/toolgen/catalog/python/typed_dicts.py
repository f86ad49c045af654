"""`typing.TypedDict` before Python 3.12, which pydantic refuses because it lacks what generic ones need."""

from __future__ import annotations

import dataclasses
import functools
import sys
from typing import Any, NotRequired, Required, TypeVar, get_args, get_origin, get_type_hints

import typing_extensions


def fields_of(typed_dict: Any) -> dict[str, tuple[Any, bool]]:
    """Key to (type, whether it is required) of a TypedDict, or of a generic one with its types. `Required` and `NotRequired`
    count where annotations are texts too: there typing itself does not see them."""
    fields = {}
    declared = get_origin(typed_dict) or typed_dict
    types = dict(zip(getattr(declared, "__parameters__", ()), get_args(typed_dict), strict=False))
    for name, hint in get_type_hints(declared, include_extras=True).items():
        required = name in declared.__required_keys__
        while (origin := get_origin(hint)) in (Required, NotRequired, typing_extensions.ReadOnly):
            required = required if origin is typing_extensions.ReadOnly else origin is Required
            (hint,) = get_args(hint)
        fields[name] = (_filled(hint, types), required)
    return fields


def _filled(hint: Any, types: dict[Any, Any]) -> Any:
    """A type with those that its type variables stand for."""
    if isinstance(hint, TypeVar):
        return types.get(hint, hint)
    inside = () if isinstance(hint, type) else getattr(hint, "__parameters__", ())
    return hint[tuple(types.get(one, one) for one in inside)] if types and inside else hint


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
        if origin := get_origin(one):
            waiting.append(origin)
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

    @functools.cache
    def same(source: Any) -> Any:
        fields = {name: (Required if need else NotRequired)[hint] for name, (hint, need) in fields_of(source).items()}
        made = make(typed_dict.__name__, fields)
        made.__doc__, made.__module__ = typed_dict.__doc__, typed_dict.__module__
        return made

    typed_dict.__get_pydantic_core_schema__ = classmethod(
        lambda _cls, source, handler: handler.generate_schema(same(source))
    )
