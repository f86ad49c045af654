"""Benchmarks whose worlds are Python packages: their code runs from the fetched folder, which is never installed.

What a package imports only for its clients of language models and for tables is left out or stands in empty; the rest of
what it needs is the extra `worlds`. Knows no benchmark beyond the names in `_PACKAGES`.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock
from types import ModuleType
from typing import Any

from toolgen.errors import EnvironmentSetupError, MissingExtraError

_ONE_AT_A_TIME = RLock()


@dataclass(frozen=True)
class _Package:
    """`bare` are its packages whose `__init__` is not run, `absent` what stands in for modules, by name; those that are not its
    own are gone again once it is loaded."""

    bare: tuple[str, ...] = ()
    absent: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


_PACKAGES = {
    "agentdojo": _Package(
        bare=("agentdojo.agent_pipeline", "agentdojo.agent_pipeline.llms"),
        absent={"agentdojo.agent_pipeline.llms.google_llm": {"EMPTY_FUNCTION_NAME": "<empty-function-name>"}},
    ),
    # It reads a file .env of the working folder when it is imported.
    "tau2": _Package(absent={"dotenv": {"load_dotenv": lambda: True}, "pandas": {"DataFrame": object}}),
}


def world_module(root: Path, name: str) -> ModuleType:
    """A module of a package by its dotted name; `root` is the folder that holds the package. EnvironmentSetupError if it does
    not, MissingExtraError if the extra `worlds` is not installed."""
    package = name.partition(".")[0]
    with _ONE_AT_A_TIME:
        _begin(package, root.resolve())
        own = _PACKAGES[package]
        borrowed = {other: sys.modules[other] for other in own.absent if other in sys.modules}
        sys.modules.update({other: _module(other, **values) for other, values in own.absent.items()})
        try:
            return importlib.import_module(name)
        except ImportError as error:
            raise MissingExtraError(str(error.name), "worlds") from error
        finally:
            for other in own.absent:
                if not other.startswith(f"{package}."):
                    del sys.modules[other]
            sys.modules.update(borrowed)


def _begin(package: str, root: Path) -> None:
    """Enters the package, empty at first, as that of this folder."""
    folder = root / package
    if known := sys.modules.get(package):
        if str(folder) not in getattr(known, "__path__", ()):
            raise EnvironmentSetupError(
                f"another {package} is imported already, from {known.__file__}; begin a new process"
            )
        return
    if not folder.is_dir():
        raise EnvironmentSetupError(f"{root} holds no package {package}; run: toolgen fetch dataset {package}")
    sys.path.insert(0, str(root))
    try:
        importlib.import_module(package)
    finally:
        sys.path.remove(str(root))
    for bare in _PACKAGES[package].bare:
        sys.modules[bare] = _module(bare, __path__=[str(root.joinpath(*bare.split(".")))])


def _module(name: str, **values: Any) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(values)
    return module
