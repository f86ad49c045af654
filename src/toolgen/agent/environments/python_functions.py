"""Python functions as an environment: a call is a function call, whatever goes wrong in it is an error result.

Only what the user gives is called, never what a catalog names: a catalog's endpoint selects among what was given. A module
or file runs in a process of its own that is ended when it does not answer; functions in memory run in this process.
Knows no model.
"""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from toolgen.agent.environments.protocol import (
    CALL_SECONDS,
    PlainEnvironment,
    ToolResult,
    failed,
    no_answer,
    not_available,
)
from toolgen.catalog.loaders.python_functions import load_module, tool_from_function
from toolgen.catalog.python.calls import Answer, Functions
from toolgen.catalog.python.modules import Member, member_of, members_of
from toolgen.catalog.python.process import PythonProcess
from toolgen.catalog.tool import Tool
from toolgen.errors import CatalogError, EnvironmentSetupError

Given = Callable[..., Any] | ModuleType | Path | str
"""A function in memory (also a method, `functools.partial`, tool object of an agent framework), a module in memory, or a
file's path or a module's dotted name, which are imported in a process of their own."""

_Call = tuple[str, Mapping[str, Any], "queue.SimpleQueue[Answer]"]


class _Caller(Protocol):
    """Calls functions by name; None if there was no answer in time."""

    def call(self, function: str, arguments: Mapping[str, Any], timeout: float) -> Answer | None: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class _Offer:
    """A function that the user gave: how it describes itself, and by which name who calls it."""

    tool: Tool
    function: str
    caller: _Caller


class PythonEnvironment(PlainEnvironment):
    """Executes calls of the given functions.

    `functions` are functions, modules or files, or a mapping from tool ids to functions. With a `catalog`, its tools are
    called by its ids: those that have a given function's id, whose endpoint is that function, or, of its name, the only one
    with its parameters; without one, by the ids that `tool_from_function` gives. `definitions` are the functions as tools,
    `unknown` the ids of those among them that the catalog lacks.

    Arguments are converted to the types of the function's hints (dates, enumerations, dataclasses); coroutines are run to
    their end. The functions of a file or module, and those in memory, run one after another. A call that takes too long
    ends with the status "timeout". A file or module given by name is then ended with its process, and the next call begins
    with a new one. Functions in memory share this process: they run in a thread of their own, which cannot be ended, so
    that one without an answer goes on and may still take effect, and one that calls `os._exit` ends the program. State
    lives in the user's module: `reset` does not undo it.

        with closing(PythonEnvironment(["tools.py", my_function])) as environment:
            environment.call("my_function", {"x": 1})
    """

    name = "python"

    def __init__(
        self,
        functions: Given | Sequence[Given] | Mapping[str, Callable[..., Any]],
        *,
        catalog: Iterable[Tool] | None = None,
    ) -> None:
        self._callers: list[_Caller] = []
        try:
            own = _by_id(self._offers(functions))
            if not own:
                raise EnvironmentSetupError("no function is given; give functions, modules or files with functions")
        except BaseException as error:
            self.close()
            if isinstance(error, CatalogError):
                raise EnvironmentSetupError(str(error)) from error
            raise
        self.definitions = tuple(offer.tool for offer in own.values())
        self._offered = own if catalog is None else _selected(own.values(), catalog)
        chosen = {offer.tool.id for offer in self._offered.values()}
        self.unknown = tuple(tool_id for tool_id in own if tool_id not in chosen)

    @property
    def tools(self) -> tuple[str, ...]:
        return tuple(self._offered)

    def call(self, tool_id: str, arguments: Mapping[str, Any], *, within: float = CALL_SECONDS) -> ToolResult:
        if tool_id not in self._offered:
            return not_available(tool_id, self.name)
        offer = self._offered[tool_id]
        answer = offer.caller.call(offer.function, arguments, within)
        if answer is None:
            return no_answer(within)
        if answer.failed:
            return failed(answer.text)
        return ToolResult(content=answer.text)

    def close(self) -> None:
        for caller in self._callers:
            caller.close()

    def _offers(self, given: Given | Sequence[Given] | Mapping[str, Callable[..., Any]]) -> Iterator[_Offer]:
        in_memory: list[tuple[Tool, Member]] = []
        for name, one in _named(given):
            if isinstance(one, str | Path):
                process = PythonProcess(str(one))
                self._callers.append(process)
                yield from (_Offer(tool, _function_name(tool), process) for tool in process.loaded.tools)
            elif isinstance(one, ModuleType):
                members = {member.attribute: member for member in members_of(one, lambda _line: None)}
                in_memory += [(tool, members[_function_name(tool)]) for tool in load_module(one).tools]
            else:
                tool = tool_from_function(one, name=name)
                in_memory.append((replace(tool, id=name) if name else tool, member_of(one, name)))
        thread = _InMemory({tool.id: member for tool, member in in_memory})
        self._callers.append(thread)
        yield from (_Offer(tool, tool.id, thread) for tool, _ in in_memory)


class _InMemory:
    """Functions of this process, called in a thread that is left to itself when there is no answer in time."""

    def __init__(self, functions: Mapping[str, Member]) -> None:
        self._functions = functions
        self._lock = threading.Lock()
        self._calls: queue.SimpleQueue[_Call | None] | None = None

    def call(self, function: str, arguments: Mapping[str, Any], timeout: float) -> Answer | None:
        answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        with self._lock:
            if self._calls is None:
                self._begin()
            calls = self._calls
            assert calls is not None
            calls.put((function, arguments, answers))
        try:
            return answers.get(timeout=timeout)
        except queue.Empty:
            with self._lock:
                if self._calls is calls:
                    self._end()
            return None

    def close(self) -> None:
        with self._lock:
            self._end()

    def _begin(self) -> None:
        self._calls = queue.SimpleQueue()
        self._stop = weakref.finalize(self, self._calls.put, None)
        serve = partial(_serve, self._functions, self._calls)
        threading.Thread(target=serve, daemon=True, name="toolgen functions").start()

    def _end(self) -> None:
        if self._calls is not None:
            self._stop()
        self._calls = None


def _serve(given: Mapping[str, Member], calls: queue.SimpleQueue[_Call | None]) -> None:
    functions = Functions(given)
    while (call := calls.get()) is not None:
        name, arguments, answers = call
        answers.put(functions.call(name, arguments))
    functions.close()


def _named(given: Any) -> Iterator[tuple[str, Any]]:
    """What was given, one by one; with its tool's id where that was given too."""
    if isinstance(given, Mapping):
        yield from given.items()
    elif isinstance(given, Sequence | Set | Iterator) and not isinstance(given, str):
        yield from (("", one) for one in given)
    else:
        yield "", given


def _by_id(offers: Iterable[_Offer]) -> dict[str, _Offer]:
    found: dict[str, _Offer] = {}
    for offer in offers:
        if offer.tool.id in found:
            raise EnvironmentSetupError(
                f"two functions are called {offer.tool.id!r}; give them as {{tool id: function}}"
            )
        found[offer.tool.id] = offer
    return found


def _selected(offers: Iterable[_Offer], catalog: Iterable[Tool]) -> dict[str, _Offer]:
    """The offers by the ids of a catalog: a function is the tool whose endpoint is its own, else the one with its id, else
    those whose endpoint has its name and that of its module or file: files move. Else it is the only tool of its name with its
    parameters."""
    tools = tuple(catalog)
    ids = {tool.id for tool in tools}
    by_function: dict[str, list[Tool]] = {}
    for tool in tools:
        if tool.endpoint is not None and tool.endpoint.get("kind") == "python":
            by_function.setdefault(_function_name(tool), []).append(tool)
    selected: dict[str, _Offer] = {}
    for offer in offers:
        alike = by_function.get(_function_name(offer.tool), [])
        exact = [tool.id for tool in alike if tool.endpoint == offer.tool.endpoint]
        moved = [tool.id for tool in alike if _file_name(tool) == _file_name(offer.tool)]
        found = exact or ([offer.tool.id] if offer.tool.id in ids else moved)
        if not found:
            same = [tool.id for tool in tools if tool.name == offer.tool.name and _takes(offer.tool, tool)]
            found = same if len(same) == 1 else []
        selected |= dict.fromkeys(found, offer)
    return selected


def _takes(function: Tool, tool: Tool) -> bool:
    """Whether a function can be called with the arguments of a tool: it has the same ones, and needs no more of them."""
    return {*function.properties} == {*tool.properties} and {*function.required} <= {*tool.required}


def _function_name(tool: Tool) -> str:
    return str((tool.endpoint or {}).get("function", ""))


def _file_name(tool: Tool) -> str:
    endpoint = tool.endpoint or {}
    return Path(endpoint["file"]).stem if "file" in endpoint else str(endpoint.get("module", "")).rpartition(".")[2]
