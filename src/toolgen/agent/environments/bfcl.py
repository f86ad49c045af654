"""BFCL's simulated APIs as an environment: files, tickets, trading, travel, a vehicle, messages, posts, mathematics.

The classes come from the fetched `bfcl-eval` package (Apache-2.0). Their source files are executed in modules of their
own: nothing else of that package is imported (it would pull in every vendor's SDK) and nothing enters `sys.modules`.
State lives for one task. Knows no model and no scoring rule; `evaluation/scorers/bfcl_rules.py` compares states.
"""

from __future__ import annotations

import builtins
import copy
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import Any

from toolgen.agent.environments.protocol import CALL_SECONDS, ToolResult, functions_of_world, not_available
from toolgen.catalog.catalog import Catalog
from toolgen.datasets.bfcl import CLASS_DOCUMENTS, first_package
from toolgen.datasets.payloads import BfclSystems
from toolgen.datasets.task import Task, Turn
from toolgen.errors import EnvironmentSetupError

SOURCE_FOLDER = Path("eval_checker/multi_turn_eval/func_source_code")
SOURCE_PACKAGE = "bfcl_eval.eval_checker.multi_turn_eval.func_source_code"

# In BFCL a class's documents and its source file have the same name.
CLASS_MODULES: Mapping[str, str] = CLASS_DOCUMENTS
STATELESS_CLASSES = frozenset({"MathAPI"})

# The classes' modules share globals: mpmath's precision, and a weather report that is changed in place and returned. A result
# depends on its own instance alone as long as no other call is made until it is text.
_ONE_AT_A_TIME = Lock()


def find_package(root: Path) -> Path:
    """The folder with `eval_checker/`: `root` itself or a `bfcl_eval` folder below it; else EnvironmentSetupError."""
    if package := first_package(root, lambda folder: (folder / SOURCE_FOLDER).is_dir()):
        return package.resolve()
    raise EnvironmentSetupError(
        f"{root} holds no BFCL package (expected the folder {SOURCE_FOLDER}); run: toolgen fetch dataset bfcl"
    )


@cache
def load_class(package: Path, class_name: str) -> type[Any]:
    """The simulated API class, loaded once per package folder, so that states of two runs are comparable."""
    if class_name not in CLASS_MODULES:
        raise EnvironmentSetupError(f"BFCL has no simulated API {class_name!r}; it has {', '.join(CLASS_MODULES)}")
    found: type[Any] = getattr(_load_module(package / SOURCE_FOLDER, CLASS_MODULES[class_name]), class_name)
    return found


@cache
def _load_module(folder: Path, name: str) -> ModuleType:
    """Executes `folder/name.py`; its imports of sibling modules are answered from the same folder."""
    path = folder / f"{name}.py"
    module = ModuleType(f"toolgen_bfcl.{name}")
    module.__file__ = str(path)

    def import_sibling(
        wanted: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] = (),
        level: int = 0,
    ) -> ModuleType:
        package, _, sibling = wanted.rpartition(".")
        if package == SOURCE_PACKAGE:
            return _load_module(folder, sibling)
        return __import__(wanted, globals, locals, fromlist, level)

    module.__dict__["__builtins__"] = {**vars(builtins), "__import__": import_sibling}
    try:
        exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), module.__dict__)
    except (OSError, ImportError, SyntaxError) as error:
        raise EnvironmentSetupError(f"cannot load the simulated API {path.name} of BFCL: {error}") from error
    return module


def new_instances(package: Path, task: Task) -> dict[str, Any]:
    """Fresh instances of the classes that a task involves, in its initial state, by class name.

    A task that is not BFCL's gets all eight in BFCL's default state.
    """
    systems = task.payload if isinstance(task.payload, BfclSystems) else BfclSystems(classes=tuple(CLASS_MODULES))
    instances = {}
    for class_name in systems.classes:
        with _ONE_AT_A_TIME:
            instance = load_class(package, class_name)()
            if class_name not in STATELESS_CLASSES:
                scenario = copy.deepcopy(task.state.get(class_name, {}))
                instance._load_scenario(scenario, long_context=systems.long_context)
        instances[class_name] = instance
    return instances


def method_names(api: type[Any]) -> tuple[str, ...]:
    """Names of the public methods, in the order of their definition."""
    return tuple(name for name, value in vars(api).items() if callable(value) and not name.startswith("_"))


class BfclEnvironment:
    """Executes calls of the tools whose endpoint is a method of BFCL's simulated classes.

    `tools` are those of the classes that the task involves, without what its turn holds back; as in BFCL that is not
    offered, but it works. Results read as BFCL writes them.
    """

    name = "bfcl"

    def __init__(self, package_root: Path, catalog: Catalog) -> None:
        self.instances: dict[str, Any] = {}
        self._facts: Any = {}
        self._package = find_package(package_root)
        self._methods = functions_of_world(catalog, self.name, "class", "method")
        self._tools: tuple[str, ...] = ()

    @property
    def tools(self) -> tuple[str, ...]:
        return self._tools

    def reset(self, task: Task) -> None:
        self.instances = new_instances(self._package, task)
        self._facts = copy.deepcopy(dict(task.state))
        self.start_turn(task.turns[0])

    def start_turn(self, turn: Turn) -> None:
        self._tools = tuple(
            tool_id
            for tool_id, (class_name, _) in self._methods.items()
            if class_name in self.instances and tool_id not in turn.held_back
        )

    def call(self, tool_id: str, arguments: Mapping[str, Any], *, within: float = CALL_SECONDS) -> ToolResult:
        class_name, method = self._methods.get(tool_id, ("", ""))
        if class_name not in self.instances:
            return not_available(tool_id, self.name)
        return execute(self.instances[class_name], method, arguments)

    def facts(self) -> Any:
        return self._facts

    def save(self) -> object:
        with _ONE_AT_A_TIME:
            return copy.deepcopy(self.instances)

    def restore(self, saved: object) -> None:
        assert isinstance(saved, dict)
        self.instances = copy.deepcopy(saved)

    def close(self) -> None:
        self.instances = {}
        self._tools = ()


def execute(instance: Any, method: str, arguments: Mapping[str, Any]) -> ToolResult:
    """One method call; the text is BFCL's (`execute_multi_turn_func_call`), the status also knows `{"error": ...}`."""
    with _ONE_AT_A_TIME:
        try:
            value = getattr(instance, method)(**copy.deepcopy(dict(arguments)))
        # The simulated APIs raise whatever their code happens to raise; to the caller all of it is a failed call.
        except Exception as error:
            return ToolResult(content=f"Error during execution: {error}", status="error")
        failed = isinstance(value, dict) and "error" in value
        return ToolResult(content=_bfcl_text(value), status="error" if failed else "ok")


def _bfcl_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if type(value) is dict:
        try:
            return json.dumps(value)
        except (TypeError, ValueError):
            pass
    return str(value)
