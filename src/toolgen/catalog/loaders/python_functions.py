"""Reads plain Python functions: type hints and docstrings become tools.

A tool's endpoint is `{"kind": "python", "module" | "file": ..., "function": ...}`. The module is imported, its
functions are not called.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, NotRequired, Required, get_type_hints

from toolgen.catalog.loaders.common import LoadedTools, scrub
from toolgen.catalog.loaders.docstrings import parse_docstring
from toolgen.catalog.loaders.report import LoadReport, Loss
from toolgen.catalog.naming import tool_id
from toolgen.catalog.normalization import without_secrets
from toolgen.catalog.schema import Note, Schema
from toolgen.catalog.tool import Tool
from toolgen.errors import CatalogError

_GUESSED_FROM_DEFAULT = (bool, int, float, str)


def load_python_functions(source: str) -> LoadedTools:
    """The public functions of a module (`package.module`) or file (`path/to/tools.py`): those in its `__all__`, else
    those defined in it whose name has no leading underscore.

    A function that cannot be called with keyword arguments alone, or is asynchronous, is a loss. CatalogError if the
    module cannot be imported.
    """
    module = import_source(source)
    tools: list[Tool] = []
    losses: list[Loss] = []
    notes: list[str] = []
    for name in _public_names(module):
        value = getattr(module, name, None)
        if not inspect.isroutine(value):
            notes.append(f"{name}: not a function; left out")
            continue
        try:
            tools.append(_module_tool(value, name, source, module, notes))
        except CatalogError as error:
            losses.append(Loss(name, str(error)))
    report = LoadReport(source=f"python:{source}", loaded=len(tools), losses=tuple(losses), notes=tuple(notes))
    return LoadedTools(tuple(tools), report)


def tool_from_function(
    function: Callable[..., Any], *, provider: str = "", on_note: Note | None = None, endpoint: Schema | None = None
) -> Tool:
    """One function as a Tool; its docstring describes it and its parameters (Google, NumPy or reST style).

    Parameters: keyword and keyword-only ones; `**kwargs` opens the argument object; `*args` is left out with a note. A
    parameter without type hint takes the type of its default, else any value. CatalogError says why a function cannot
    be a tool.

        def add(a: int, b: int = 0) -> int:
            '''Adds two numbers.'''

        tool_from_function(add).parameters["required"]  # ["a"]
    """
    note = on_note or (lambda _line: None)
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise CatalogError("is asynchronous; wrap it in a plain function")
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError):
        raise CatalogError("has no readable signature") from None
    described = parse_docstring(inspect.getdoc(function))
    hints = _hints(function, note)
    return Tool(
        id=tool_id(provider, function.__name__),
        provider=provider,
        name=function.__name__,
        description=scrub(described.description),
        parameters=scrub(_parameters(signature, hints, described.parameters, note)),
        returns=scrub(_returns(hints, note)),
        endpoint=endpoint,
        source={"format": "python", "name": function.__qualname__},
    )


def import_source(source: str) -> ModuleType:
    """Imports a module by its dotted name or by the path of its file. CatalogError in one line if that fails."""
    path = Path(source)
    try:
        if path.suffix == ".py" or path.is_file():
            return _import_file(path)
        return importlib.import_module(source)
    except CatalogError:
        raise
    except Exception as error:
        advice = "; a file is given by its path, ending in .py" if isinstance(error, ModuleNotFoundError) else ""
        raise CatalogError(f"cannot import {source!r}: {type(error).__name__}: {error}{advice}") from error
    except SystemExit as error:
        raise CatalogError(f"cannot import {source!r}: it exits on import ({error})") from error


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise CatalogError(f"no Python file {path}")
    path = path.resolve()
    name = f"toolgen_source_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise CatalogError(f"{path} is not a Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pydantic look up type hints there while the module is executed
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _public_names(module: ModuleType) -> list[str]:
    if (listed := getattr(module, "__all__", None)) is not None:
        return list(dict.fromkeys(listed))
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and inspect.isroutine(value) and value.__module__ == module.__name__
    ]


def _module_tool(function: Callable[..., Any], name: str, source: str, module: ModuleType, notes: list[str]) -> Tool:
    is_file = Path(source).suffix == ".py" or Path(source).is_file()
    where = {"file": str(Path(source).resolve())} if is_file else {"module": module.__name__}
    provider = Path(source).stem if is_file else module.__name__
    tool = tool_from_function(
        function,
        provider=provider,
        on_note=lambda line: notes.append(f"{name}: {line}"),
        endpoint={"kind": "python", **where, "function": name},
    )
    if tool.name == name:
        return tool
    return Tool(**{**tool.to_dict(), "id": tool_id(provider, name), "name": name})


def _hints(function: Callable[..., Any], note: Note) -> dict[str, Any]:
    """Parameter name (and `return`) to its type; a hint that cannot be resolved is left out with a note."""
    try:
        return get_type_hints(function, include_extras=True)
    except Exception:  # a hint can name anything, so resolving it can raise anything
        return dict(_hints_one_by_one(function, note))


def _hints_one_by_one(function: Callable[..., Any], note: Note) -> Iterator[tuple[str, Any]]:
    namespace = getattr(inspect.unwrap(function), "__globals__", {})
    for name, hint in getattr(function, "__annotations__", {}).items():
        holder = FunctionType((lambda: None).__code__, namespace)
        holder.__annotations__ = {name: hint}
        try:
            yield name, get_type_hints(holder, include_extras=True)[name]
        except Exception as error:  # as in _hints
            note(f"{name}: type hint {hint!r} cannot be resolved ({type(error).__name__}: {error})")


@dataclass(frozen=True)
class _Parameter:
    """One keyword of the function; `hint` is None where any value is allowed."""

    name: str
    hint: Any
    required: bool
    default: Any


def _parameters(
    signature: inspect.Signature, hints: Mapping[str, Any], descriptions: Mapping[str, str], note: Note
) -> Schema:
    parameters, is_open = _keywords(signature, hints, note)
    schema = _object_schema(parameters)
    for parameter in parameters:
        property_schema = schema["properties"][parameter.name]
        if text := descriptions.get(parameter.name):
            property_schema.setdefault("description", text)
        if not parameter.required and _is_json(parameter.default):
            property_schema["default"] = parameter.default
            schema["properties"][parameter.name] = without_secrets(parameter.name, property_schema, note)
    return schema | {"additionalProperties": is_open}


def _keywords(signature: inspect.Signature, hints: Mapping[str, Any], note: Note) -> tuple[list[_Parameter], bool]:
    """The parameters that a call can give by name, and whether it can give others, too."""
    keywords, is_open = [], False
    for name, parameter in signature.parameters.items():
        required = parameter.default is parameter.empty
        if parameter.kind is parameter.VAR_KEYWORD:
            is_open = True
            note(f"**{name}: any further argument is allowed")
        elif parameter.kind is parameter.VAR_POSITIONAL:
            note(f"*{name}: cannot be given by name; left out")
        elif parameter.kind is parameter.POSITIONAL_ONLY and required:
            raise CatalogError(f"parameter {name!r} is positional-only; tools are called by name")
        elif parameter.kind is parameter.POSITIONAL_ONLY:
            note(f"{name}: positional-only; left out")
        else:
            hint = _usable_hint(name, hints.get(name), parameter.default, note)
            keywords.append(_Parameter(name, hint, required, parameter.default))
    return keywords, is_open


def _usable_hint(name: str, hint: Any, default: Any, note: Note) -> Any:
    if hint is None and type(default) in _GUESSED_FROM_DEFAULT:
        note(f"{name}: no type hint; took the type of its default, {type(default).__name__}")
        return type(default)
    if hint is None:
        note(f"{name}: no type hint; any value is allowed")
        return None
    try:
        _value_schema(hint)
    except Exception as error:  # pydantic raises errors of several families for types without a JSON form
        note(f"{name}: type {hint!r} has no JSON Schema ({type(error).__name__}); any value is allowed")
        return None
    return hint


def _object_schema(parameters: list[_Parameter]) -> Schema:
    """One object schema for all parameters, so that pydantic keeps the definitions they share apart from each other."""
    if not parameters:
        return {"type": "object", "properties": {}}
    from typing_extensions import TypedDict  # pydantic refuses typing's before Python 3.12

    make: Any = TypedDict
    presence: dict[bool, Any] = {True: Required, False: NotRequired}
    schema = _value_schema(make("Arguments", {p.name: presence[p.required][_any_or(p.hint)] for p in parameters}))
    schema.pop("title", None)
    return schema


def _any_or(hint: Any) -> Any:
    return Any if hint is None else hint


def _value_schema(hint: Any) -> Schema:
    from pydantic import TypeAdapter
    from pydantic.json_schema import GenerateJsonSchema

    class WithoutFieldTitles(GenerateJsonSchema):
        """Pydantic repeats every parameter name as a title, which a model would read and pay for."""

        def field_title_should_be_set(self, schema: Any) -> bool:
            return False

    return TypeAdapter(hint).json_schema(schema_generator=WithoutFieldTitles)


def _returns(hints: Mapping[str, Any], note: Note) -> Schema | None:
    if "return" not in hints:
        return None
    try:
        return _value_schema(hints["return"])
    except Exception as error:  # as in _usable_hint
        note(f"the result's type {hints['return']!r} has no JSON Schema ({type(error).__name__}); left out")
        return None


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return True
