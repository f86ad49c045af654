"""What a call of a Python function may give, as JSON Schema, and JSON values as the types of the function's hints.

Knows no tool and no docstring.
"""

from __future__ import annotations

import functools
import inspect
import json
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin, get_type_hints

import typing_extensions

from toolgen.catalog.normalization import without_secrets
from toolgen.catalog.python.annotated_texts import describe
from toolgen.catalog.python.declared import Declared, given_by_framework
from toolgen.catalog.python.typed_dicts import admit_typed_dicts, fields_of
from toolgen.catalog.schema import Note, Schema, schema_errors
from toolgen.errors import CatalogError
from toolgen.foreign.data import clean

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from pydantic.fields import FieldInfo

NO_DEFAULT = inspect.Parameter.empty
_GUESSED_FROM_DEFAULT = (bool, int, float, str)
_UNPACK = (typing.Unpack, typing_extensions.Unpack)


@dataclass(frozen=True)
class Argument:
    """One argument that a call gives by name. `hint` is None where any value is allowed, `default` is `NO_DEFAULT` where
    there is none; `field` is set where pydantic's `Field` holds the default, which a call must be given then."""

    name: str
    hint: Any
    required: bool
    default: Any
    field: FieldInfo | None = None


@dataclass(frozen=True)
class Signature:
    """The arguments of a function; `is_open` if it takes others too, each of the type `more` (None for any), the hint of its
    result, None if it has none, and definitions that schemas in the hints refer to."""

    arguments: tuple[Argument, ...]
    is_open: bool
    more: Any
    returns: Any
    definitions: Schema

    def schema(self, descriptions: Mapping[str, str], note: Note) -> Schema:
        """The object schema of a call's arguments; `descriptions` are the docstring's."""
        hints = {one.name: one.hint for one in self.arguments}
        (*properties, more), own = _schemas([*hints.values(), self.more])
        definitions = {**self.definitions, **own}
        described = dict(zip(hints, properties, strict=True))
        for one in self.arguments:
            inner = described[one.name]
            if text := descriptions.get(one.name):
                inner.setdefault("description", text)
            inner.pop("default", None)
            inner |= _default(one, inner, definitions, note)
            described[one.name] = without_secrets(one.name, inner, note)
        required = [one.name for one in self.arguments if one.required]
        return (
            ({"$defs": definitions} if definitions else {})
            | {"type": "object", "properties": described}
            | ({"required": required} if required else {})
            | {"additionalProperties": more or self.is_open}
        )

    def result_schema(self, note: Note) -> Schema | None:
        """The schema of the result as it is written in JSON; None without a hint, and with a note if it has none."""
        if self.returns is None:
            return None
        try:
            schema = _adapter(self.returns).json_schema(mode="serialization", schema_generator=_generator())
        except Exception as error:  # pydantic raises errors of several families for types without a JSON form
            note(f"the result's type {self.returns!r} has no JSON Schema ({type(error).__name__}); left out")
            return None
        describe(schema, self.returns)
        return schema

    def converter(self) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
        """From JSON arguments to what the function is called with. It raises ValueError in one line for wrong ones."""
        adapters = {one.name: _adapter(one.hint) for one in self.arguments if one.hint is not None}
        names = {one.name for one in self.arguments}
        more = _adapter(self.more) if self.more is not None else None

        def convert(arguments: Mapping[str, Any]) -> dict[str, Any]:
            if unknown := [] if self.is_open else [name for name in arguments if name not in names]:
                raise ValueError(f"unknown argument {unknown[0]!r}; known are: {', '.join(sorted(names)) or 'none'}")
            if missing := [one.name for one in self.arguments if one.required and one.name not in arguments]:
                raise ValueError(f"argument {missing[0]!r} is missing")
            given = {
                name: value if (adapter := adapters.get(name, None if name in names else more)) is None
                else _validated(name, adapter, value)
                for name, value in arguments.items()
            }  # fmt: skip
            fields = {one.name: one.field for one in self.arguments if one.field and one.name not in arguments}
            return given | {name: _default_of(field) for name, field in fields.items()}

        return convert


def read_signature(function: Callable[..., Any], note: Note, declared: Declared | None = None) -> Signature:
    """The arguments that a call can give by name. What no call can give is left out with a note; an argument without a usable
    type hint takes the type of its default, else any value. With `declared`, those that the function's tool object names and
    no others. CatalogError if the function needs others."""
    try:
        parameters = inspect.signature(function).parameters
    except (ValueError, TypeError):
        raise CatalogError("has no readable signature") from None
    hints = _hints(function, note)
    further = next((one for one in parameters.values() if one.kind is one.VAR_KEYWORD), None)
    if declared and declared.names and not further and parameters.keys().isdisjoint(declared.names):
        declared = None  # of something else
    arguments: list[Argument] = []
    for name, one in parameters.items():
        if one is further or not _can_be_given(one, hints.get(name), declared, note):
            continue
        hint = declared.hint(name, hints.get(name)) if declared else hints.get(name)
        arguments.append(_argument(name, hint, one.default, one.default is one.empty, note))
    is_open, more = False, None
    if further and declared:
        arguments += [_declared_argument(key, declared, note) for key in declared.names if key not in parameters]
    elif further:
        is_open, more, listed = _further(further.name, hints.get(further.name), note)
        arguments += listed
    if declared and (unknown := declared.names - parameters.keys() - {one.name for one in arguments}):
        note(f"the tool object names {', '.join(sorted(unknown))}, which its function does not take; left out")
    definitions = declared.definitions if declared else {}
    return Signature(tuple(arguments), is_open, more, hints.get("return"), definitions)


def _can_be_given(parameter: inspect.Parameter, hint: Any, declared: Declared | None, note: Note) -> bool:
    """Whether a call can give this parameter by name; noted if not, and a CatalogError if the function needs it."""
    name, required = parameter.name, parameter.default is parameter.empty
    if parameter.kind is parameter.VAR_POSITIONAL:
        note(f"*{name}: cannot be given by name; left out")
        return False
    if parameter.kind is parameter.POSITIONAL_ONLY:
        if required:
            raise CatalogError(f"parameter {name!r} is positional-only; tools are called by name")
        note(f"{name}: positional-only; left out")
        return False
    if (declared and name not in declared.names) or given_by_framework(hint):
        if required or given_by_framework(type(parameter.default)):  # such as FastMCP's dependencies
            raise CatalogError(f"its framework gives the parameter {name!r}, which no call can give")
        note(f"{name}: given by its framework; left out")
        return False
    return True


def _declared_argument(name: str, declared: Declared, note: Note) -> Argument:
    """An argument that a function takes as one of `**kwargs`."""
    hint = declared.hint(name, None)
    if name in declared.hints:
        return _argument(name, hint, NO_DEFAULT, True, note)
    return Argument(name, hint, name in declared.required, declared.schemas[name].get("default", NO_DEFAULT))


def _argument(name: str, hint: Any, default: Any, required: bool, note: Note) -> Argument:
    from pydantic.fields import FieldInfo

    field: FieldInfo | None = None
    if isinstance(default, FieldInfo):
        hint, field = Annotated[Any if hint is None else hint, default], default
    elif required and get_origin(hint) is Annotated:
        found = [one for one in get_args(hint)[1:] if isinstance(one, FieldInfo) and not one.is_required()]
        field = found[-1] if found else None
    if field is None:
        return Argument(name, _usable_hint(name, hint, default, note), required, default)
    needed = field.is_required()
    value = NO_DEFAULT if needed or field.default_factory else field.default
    return Argument(name, _usable_hint(name, hint, value, note), needed, value, None if needed else field)


def _further(name: str, hint: Any, note: Note) -> tuple[bool, Any, list[Argument]]:
    """What `**name` takes: whether others than those listed, of which type, and those that a TypedDict lists."""
    if get_origin(hint) in _UNPACK:
        fields = fields_of(get_args(hint)[0]).items()
        return False, None, [_argument(key, inner, NO_DEFAULT, required, note) for key, (inner, required) in fields]
    if hint is None or hint is Any:
        note(f"**{name}: any further argument is allowed")
        return True, None, []
    return True, _usable_hint(f"**{name}", hint, NO_DEFAULT, note), []


# --- hints ----------------------------------------------------------------------------------------------------------


def _hints(function: Callable[..., Any], note: Note) -> dict[str, Any]:
    """Parameter name (and `return`) to its type; a hint that cannot be resolved is left out with a note."""
    while isinstance(function, functools.partial):
        function = function.func
    if not inspect.isroutine(function) and not inspect.isclass(function):
        function = type(function).__call__
    try:
        return get_type_hints(function, include_extras=True)
    except Exception:  # a hint can name anything, so resolving it can raise anything
        return dict(_hints_one_by_one(function, note))


def _hints_one_by_one(function: Callable[..., Any], note: Note) -> Iterator[tuple[str, Any]]:
    namespace = getattr(inspect.unwrap(function), "__globals__", {})
    for name, hint in getattr(function, "__annotations__", {}).items():
        holder = types.FunctionType((lambda: None).__code__, namespace)
        holder.__annotations__ = {name: hint}
        try:
            yield name, get_type_hints(holder, include_extras=True)[name]
        except Exception as error:  # as in _hints
            note(f"{name}: type hint {hint!r} cannot be resolved ({type(error).__name__}: {error})")


def _usable_hint(name: str, hint: Any, default: Any, note: Note) -> Any:
    if hint is None and type(default) in _GUESSED_FROM_DEFAULT:
        note(f"{name}: no type hint; took the type of its default, {type(default).__name__}")
        return type(default)
    if hint is None:
        note(f"{name}: no type hint; any value is allowed")
        return None
    try:
        _schemas([hint])
    except Exception as error:  # pydantic raises errors of several families for types without a JSON form
        note(f"{name}: type {hint!r} has no JSON Schema ({type(error).__name__}); any value is allowed")
        return None
    return hint


# --- pydantic -------------------------------------------------------------------------------------------------------


def _adapter(hint: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    admit_typed_dicts(hint)
    return TypeAdapter(hint)


def _schemas(hints: Sequence[Any]) -> tuple[list[Schema], dict[str, Schema]]:
    """A schema for each hint, `{}` for None, and the definitions that they share."""
    from pydantic import TypeAdapter
    from pydantic.json_schema import JsonSchemaMode

    mode: JsonSchemaMode = "validation"
    inputs = [(place, mode, _adapter(hint)) for place, hint in enumerate(hints) if hint is not None]
    made, shared = TypeAdapter.json_schemas(inputs, schema_generator=_generator())
    schemas = [dict(made.get((place, mode), {})) for place in range(len(hints))]
    for schema, hint in zip(schemas, hints, strict=True):
        schema.pop("title", None)
        describe(schema, hint)
    return schemas, dict(shared.get("$defs", {}))


@functools.cache
def _generator() -> Any:
    from pydantic.json_schema import GenerateJsonSchema

    class Generator(GenerateJsonSchema):
        """Pydantic repeats every name as a title, which a model would read and pay for, and knows no texts but its own."""

        def field_title_should_be_set(self, schema: Any) -> bool:
            return False

        def typed_dict_schema(self, schema: Any) -> Schema:
            return _with_texts(super().typed_dict_schema(schema), schema)

        def dataclass_schema(self, schema: Any) -> Schema:
            return _with_texts(super().dataclass_schema(schema), schema)

        def model_schema(self, schema: Any) -> Schema:
            return _with_texts(super().model_schema(schema), schema)

    return Generator


def _with_texts(schema: Schema, core: Any) -> Schema:
    try:
        hints = get_type_hints(core["cls"], include_extras=True)
    except Exception:  # as in _hints; pydantic may know the names that typing does not
        return schema
    for name, inner in schema.get("properties", {}).items():
        describe(inner, hints.get(name))
    return schema


def _default(argument: Argument, schema: Schema, definitions: Schema, note: Note) -> Schema:
    """The default as JSON, if it has such a form and is valid under the argument's own schema."""
    if argument.default is NO_DEFAULT:
        return {}
    try:
        value = argument.default
        if argument.hint is not None:
            value = _adapter(argument.hint).dump_python(value, mode="json", warnings=False)
        value = json.loads(json.dumps(value, allow_nan=False))
        if clean(value) != value:
            raise ValueError("what no JSON of a catalog holds: lone surrogates, numbers of 309 digits")
    except Exception:  # a default can be anything, and so can what its serializer raises
        note(f"{argument.name}: its default has no JSON form; left out")
        return {}
    if schema_errors(value, schema | {"$defs": definitions}):
        note(f"{argument.name}: its default is not valid under its own type; left out")
        return {}
    return {"default": value}


def _default_of(field: FieldInfo) -> Any:
    return field.get_default(call_default_factory=True, validated_data={})  # pydantic 2.10 wants it for every field


def _validated(name: str, adapter: TypeAdapter[Any], value: Any) -> Any:
    from pydantic import ValidationError

    try:
        return adapter.validate_json(json.dumps(value))  # JSON, where a date is a text also in strict types
    except TypeError:
        raise ValueError(f"{name}: no JSON: {type(value).__name__}") from None
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        raise ValueError(f"{'.'.join(map(str, (name, *fault['loc'])))}: {fault['msg']}") from error
