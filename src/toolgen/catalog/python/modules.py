"""Python modules as a user has them: imported as Python would, and which of their contents are functions that can be
called as tools."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from toolgen.catalog.python.declared import declared_by
from toolgen.catalog.python.signature import Signature, read_signature
from toolgen.catalog.schema import Note
from toolgen.errors import CatalogError

# Where the tool objects of agent frameworks keep their function: LangChain and CrewAI, FastMCP and LlamaIndex, Haystack and
# pydantic-ai, smolagents, LangChain's asynchronous ones, classes of LangChain and CrewAI.
_WRAPPED = ("func", "fn", "function", "forward", "coroutine", "_run")
_WITHOUT_TOOLS = sys.stdlib_module_names | {"typing_extensions"}


@dataclass(frozen=True)
class Member:
    """A function under the name by which it is a tool. `attribute` is its name in the module, `description` what a tool object
    says of itself, which is `holder` then."""

    attribute: str
    name: str
    function: Callable[..., Any]
    description: str = ""
    holder: Any = None

    def signature(self, note: Note) -> Signature:
        """The arguments that a call can give by name; CatalogError as for `read_signature`."""
        return read_signature(self.function, note, None if self.holder is None else declared_by(self.holder, note))


def is_file(source: str) -> bool:
    """Whether a source is the path of a file and not the name of a module."""
    return source.endswith(".py") or Path(source).is_file()


def import_source(source: str) -> ModuleType:
    """Imports a module by its dotted name, with the working folder on the path as `python -m` has it, or by the path of its
    file, with the file's folder on the path; a file inside a package is imported as a part of that package.

    For a process of its own: the path stays as it is then. CatalogError in one line if the import fails.
    """
    try:
        if is_file(source):
            return _import_file(Path(source))
        sys.path.insert(0, str(Path.cwd()))
        return importlib.import_module(source)
    except CatalogError:
        raise
    except SystemExit as error:
        raise CatalogError(f"cannot import {source!r}: it exits on import ({error})") from error
    except BaseException as error:  # whatever a module raises, it cannot be imported
        from toolgen.catalog.python.calls import error_text

        missing = isinstance(error, ModuleNotFoundError) and source.startswith(error.name or source)
        advice = "; a file is given by its path, ending in .py" if missing and not is_file(source) else ""
        reason = " ".join(error_text(error).split())
        raise CatalogError(f"cannot import {source!r}: {reason}{advice}") from error


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise CatalogError(f"no Python file {path}")
    path = path.resolve()
    root, name = path.parent, path.stem
    while (root / "__init__.py").is_file() and root.name.isidentifier() and root != root.parent:
        root, name = root.parent, f"{root.name}.{name}"
    sys.path.insert(0, str(root))
    if root != path.parent:
        return importlib.import_module(name.removesuffix(".__init__"))
    while name in sys.modules:  # `types.py`, say: toolgen's own imports come first
        name += "_"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise CatalogError(f"{path} is not a Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pydantic look up type hints there while the module is executed
    spec.loader.exec_module(module)
    return module


def members_of(module: ModuleType, note: Note) -> list[Member]:
    """What can be called as a tool: what `__all__` lists, else the functions and tool objects that the module has without
    a leading underscore and that are its own. What is left out is noted."""
    listed = getattr(module, "__all__", None)
    names = vars(module) if listed is None else listed
    members: list[Member] = []
    for name in dict.fromkeys(map(str, names)):
        if not hasattr(module, name):
            note(f"{name}: in __all__, but not in the module; left out")
            continue
        try:
            value = getattr(module, name)
            if listed is None and (name.startswith("_") or not _is_own(value, module)):
                continue
            member = member_of(value, name, home=module.__name__ if listed is None else "")
        except CatalogError as error:
            note(f"{name}: {error}; left out")
        except Exception as error:  # a proxy's attributes may raise anything
            note(f"{name}: cannot be looked at ({type(error).__name__}); left out")
        else:
            members.append(member)
            if member.function is not value:
                note(f"{name}: an object of type {type(value).__name__}; the tool is the function that it holds")
    if not members and listed is None:
        for name, value in vars(module).items():
            if not name.startswith("_") and inspect.isroutine(value) and not _is_own(value, module):
                note(f"{name}: from {value.__module__}; to make it a tool, name it in __all__")
    return members


def _is_own(value: Any, module: ModuleType) -> bool:
    """Whether something is of the module itself and may have been meant as a tool: neither data nor a type of data is."""
    if inspect.isroutine(value):
        return getattr(value, "__module__", None) == module.__name__
    if inspect.isclass(value):
        own = vars(value) if value.__module__ == module.__name__ else {}
        return any(inspect.isroutine(own[name]) for name in own if not name.startswith("_"))
    kind = type(value).__module__.partition(".")[0]
    return isinstance(value, functools.partial) or kind not in _WITHOUT_TOOLS


def member_of(value: Any, attribute: str = "", *, home: str = "") -> Member:
    """A function, a method of an object, a `functools.partial`, a tool object of an agent framework, or an object that can
    be called, whose class is of the module `home` if that is given. CatalogError says why something is none of them."""
    if inspect.isclass(value):
        raise CatalogError("a class; its methods need an object: name `method = Class().method`")
    if inspect.isfunction(value) and _lacks_object(value):
        raise CatalogError("a method without its object; give `object.method`")
    name = attribute or _name_of(value)
    if isinstance(value, functools.partial) or inspect.isroutine(value):
        return Member(attribute, name, value)
    of = value if hasattr(value, "name") else getattr(value, "metadata", None)  # LlamaIndex
    given = getattr(of, "name", None)
    if isinstance(given, str) and given:
        for place in _WRAPPED:
            if inspect.isroutine(function := getattr(value, place, None)):
                text = getattr(of, "description", None)
                return Member(attribute, given, _whole(function, value), text if isinstance(text, str) else "", value)
    kind = type(value)
    if callable(value) and inspect.isfunction(kind.__call__) and home in ("", kind.__module__):
        return Member(attribute, name, value)
    raise CatalogError(f"an object of type {kind.__name__}, not a function")


def _whole(function: Any, holder: Any) -> Any:
    """The function that a tool object calls. smolagents wraps it in one with the signature of a method, which it is not;
    LlamaIndex keeps arguments beside it."""
    wrapped = getattr(function, "__wrapped__", None)
    if wrapped is not None and next(iter(inspect.signature(function).parameters), "") == "self":
        function = wrapped
    given = getattr(holder, "partial_params", None)
    return functools.partial(function, **given) if isinstance(given, dict) and given else function


def _lacks_object(function: Any) -> bool:
    *_, name = function.__qualname__.rpartition("<locals>.")
    return "." in name and function.__code__.co_varnames[:1] == ("self",)


def _name_of(value: Any) -> str:
    while isinstance(value, functools.partial):
        value = value.func
    name = getattr(value, "__name__", "") or getattr(value, "name", "")
    return name if isinstance(name, str) and name.isidentifier() else ""
