"""Reads Python functions: type hints and docstrings become tools.

A tool's endpoint is `{"kind": "python", "module" | "file": ..., "function": ...}`. The module is imported, its
functions are not called.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from toolgen.catalog.loaders.common import LoadedTools
from toolgen.catalog.loaders.docstrings import parse_docstring
from toolgen.catalog.loaders.report import LoadReport, Loss
from toolgen.catalog.naming import tool_id
from toolgen.catalog.python.modules import Member, is_file, member_of, members_of
from toolgen.catalog.python.process import PythonProcess
from toolgen.catalog.schema import Note, Schema
from toolgen.catalog.tool import Tool
from toolgen.errors import CatalogError
from toolgen.foreign.data import clean


def load_python_functions(source: str) -> LoadedTools:
    """The functions of a module (`package.module`) or file (`path/to/tools.py`): those in its `__all__`, else those
    defined in it whose name has no leading underscore; tool objects of agent frameworks are the functions in them.

    The module is imported in a process of its own. What cannot be called with named arguments alone is a loss, what is no
    function a note. CatalogError if the module cannot be imported.
    """
    process = PythonProcess(source)
    process.close()
    return process.loaded


def load_module(module: ModuleType, source: str = "") -> LoadedTools:
    """The same of a module that is imported already; `source` is how the user named it."""
    where: Schema = {"module": module.__name__}
    provider = module.__name__
    if is_file(source):
        where, provider = {"file": str(Path(source).resolve())}, Path(source).stem
    tools: list[Tool] = []
    losses: list[Loss] = []
    notes: list[str] = []
    for member in members_of(module, notes.append):
        try:
            tools.append(member_tool(member, provider, where, notes))
        except CatalogError as error:
            losses.append(Loss(member.attribute, str(error)))
    name = f"python:{source or module.__name__}"
    report = LoadReport(source=name, loaded=len(tools), losses=tuple(losses), notes=tuple(notes))
    return LoadedTools(tuple(tools), report)


def tool_from_function(function: Any, *, provider: str = "", name: str = "", on_note: Note | None = None) -> Tool:
    """One function (or method, `functools.partial`, tool object of an agent framework) as a Tool; its docstring describes
    it and its parameters (Google, NumPy or reST style).

    Parameters: keyword and keyword-only ones; `**kwargs` opens the argument object; `*args` is left out with a note. A
    parameter without type hint takes the type of its default, else any value. `name` is for a function without a name of
    its own. CatalogError says why a function cannot be a tool.

        def add(a: int, b: int = 0) -> int:
            '''Adds two numbers.'''

        tool_from_function(add).parameters["required"]  # ["a"]
    """
    member = member_of(function, name)
    endpoint = {"kind": "python", "module": _home(member.function), "function": member.attribute or member.name}
    return _tool(member, provider, endpoint, on_note or (lambda _line: None))


def member_tool(member: Member, provider: str, where: Schema, notes: list[str]) -> Tool:
    """A function of a module as a Tool that says `where` it is."""
    endpoint = {"kind": "python", **where, "function": member.attribute}
    return _tool(member, provider, endpoint, lambda line: notes.append(f"{member.attribute}: {line}"))


def _tool(member: Member, provider: str, endpoint: Schema | None, note: Note) -> Tool:
    if not member.name:
        raise CatalogError("has no name; assign it to one, or define it with def")
    if inspect.isasyncgenfunction(member.function):
        raise CatalogError("an asynchronous generator; a tool returns one result")
    described = parse_docstring(_docstring(member.function))
    signature = member.signature(note)
    own = parse_docstring(member.description).description
    return Tool(
        id=tool_id(provider, member.name),
        provider=provider,
        name=member.name,
        description=clean(own or described.description),
        parameters=clean(signature.schema(described.parameters, note)),
        returns=clean(signature.result_schema(note)),
        endpoint=endpoint,
        source={"format": "python", "name": getattr(member.function, "__qualname__", member.name)},
    )


def _home(function: Callable[..., Any]) -> str:
    """The module of a function; that of the program itself by the name of its file."""
    while isinstance(function, functools.partial):
        function = function.func
    name = getattr(function, "__module__", None) or type(function).__module__
    file = getattr(sys.modules.get(name), "__file__", None)
    return Path(file).stem if name == "__main__" and file else str(name)


def _docstring(function: Callable[..., Any]) -> str | None:
    while isinstance(function, functools.partial):
        function = function.func
    if inspect.isroutine(function):
        return inspect.getdoc(function)
    return inspect.getdoc(type(function).__call__) or inspect.getdoc(type(function))
