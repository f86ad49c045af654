"""Python functions as an environment: only what the user gave is called, and whatever a function does is a result."""

from __future__ import annotations

import functools
import math
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from toolgen.agent.environments import PythonEnvironment
from toolgen.catalog import Catalog, Tool
from toolgen.catalog.loaders.python_functions import load_python_functions, tool_from_function
from toolgen.errors import EnvironmentSetupError

FUNCTIONS = '''
import datetime
import enum
import sys
import time

calls = []

class Unit(enum.Enum):
    metric = "metric"

def day_of(date: datetime.date, unit: Unit = Unit.metric) -> dict:
    """Weekday of a date."""
    return {"weekday": date.isoweekday(), "date": date, "unit": unit}

def fail(text: str) -> str:
    """Fails."""
    raise ValueError(f"no {text}")

def leave() -> None:
    """Exits."""
    sys.exit(3)

def wait() -> str:
    """Waits."""
    time.sleep(60)
    return "late"

def count() -> int:
    """Calls so far."""
    calls.append(None)
    return len(calls)
'''


def add(a: int, b: int = 1) -> int:
    """Adds."""
    return a + b


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("functions") / "functions.py"
    path.write_text(FUNCTIONS)
    return path


@pytest.fixture(scope="module")
def functions(file: Path) -> Iterator[PythonEnvironment]:
    with closing(PythonEnvironment(file)) as environment:
        yield environment


# --- a file -------------------------------------------------------------------------------------------------------


def test_json_arguments_become_the_types_of_the_hints(functions: PythonEnvironment) -> None:
    result = functions.call("functions&&day_of", {"date": "2026-11-22"})
    assert result.content == '{"weekday": 7, "date": "2026-11-22", "unit": "metric"}'


@pytest.mark.parametrize(
    ("tool", "arguments", "text"),
    [
        ("functions&&fail", {"text": "rain"}, '{"error": "ValueError: no rain"}'),
        ("functions&&leave", {}, '{"error": "SystemExit: 3"}'),
        ("functions&&none", {}, '{"error": "tool functions&&none is not available in the environment python"}'),
        ("functions&&fail", {"txt": 1}, '{"error": "invalid arguments: unknown argument \'txt\'; known are: text"}'),
        ("functions&&fail", {}, '{"error": "invalid arguments: argument \'text\' is missing"}'),
        ("functions&&fail", {"text": 1}, '{"error": "invalid arguments: text: Input should be a valid string"}'),
    ],
)
def test_whatever_goes_wrong_in_a_call_is_an_error_result(
    functions: PythonEnvironment, tool: str, arguments: dict[str, str], text: str
) -> None:
    result = functions.call(tool, arguments)
    assert (result.status, result.content) == ("error", text)


def test_a_function_that_hangs_is_ended_and_the_next_call_works_with_a_fresh_module(
    functions: PythonEnvironment,
) -> None:
    assert [functions.call("functions&&count", {}).content for _ in range(2)] == ["1", "2"]
    started = time.monotonic()
    result = functions.call("functions&&wait", {}, within=1)
    assert result.status == "timeout" and "unknown" in result.content
    assert time.monotonic() - started < 4
    assert functions.call("functions&&count", {}).content == "1"


# --- only what the user gave --------------------------------------------------------------------------------------


def test_a_catalog_selects_among_the_given_functions_and_names_nothing_else(file: Path) -> None:
    endpoint = {"kind": "python", "module": "os", "function": "system"}
    planted = Tool(id="functions&&fail", provider="functions", name="fail", endpoint=endpoint)
    other = Tool(id="os&&system", provider="os", name="system", endpoint=endpoint)
    counting = next(tool for tool in load_python_functions(str(file)).tools if tool.name == "count")
    with closing(PythonEnvironment(file, catalog=Catalog([other, planted, counting]))) as environment:
        assert environment.tools == ("functions&&fail", "functions&&count")
        assert environment.call("os&&system", {"command": "true"}).is_error
        # The id is the user's own function, whatever the record's endpoint says.
        assert environment.call("functions&&fail", {"text": "rain"}).content == '{"error": "ValueError: no rain"}'
        assert set(environment.unknown) == {"functions&&day_of", "functions&&leave", "functions&&wait"}


def test_a_catalogs_ids_are_those_of_its_endpoints_even_if_the_file_has_moved(file: Path) -> None:
    def at(place: Path, tool_id: str) -> Tool:
        return Tool(id=tool_id, provider="p", name="count", endpoint=endpoint | {"file": str(place)})

    endpoint = {"kind": "python", "function": "count"}
    both = [at(file, "here"), at(Path("/elsewhere/functions.py"), "there"), at(Path("/elsewhere/more.py"), "more")]
    with closing(PythonEnvironment(file, catalog=both)) as environment:
        assert environment.tools == ("here",)
    with closing(PythonEnvironment(file, catalog=both[1:])) as environment:
        assert environment.tools == ("there",)


def test_nothing_to_call_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentSetupError, match="no function is given"):
        PythonEnvironment([])
    with pytest.raises(EnvironmentSetupError, match=r"gone\.py"):
        PythonEnvironment(tmp_path / "gone.py")
    with pytest.raises(EnvironmentSetupError, match="not a function"):
        PythonEnvironment([Tool(id="a&&b", provider="a", name="b")])  # type: ignore[list-item]


# --- functions in memory ------------------------------------------------------------------------------------------


def test_functions_in_memory_are_called_by_their_names() -> None:
    seen: list[str] = []
    total = functools.partial(add, b=10)
    environment = PythonEnvironment({"add": add, "total": total, "note": lambda text: seen.append(text)})
    assert environment.tools == ("add", "total", "note")
    assert environment.call("add", {"a": "2"}).content == "3"
    assert environment.call("total", {"a": 1}).content == "11"
    assert environment.call("note", {"text": "here"}).content == "null" and seen == ["here"]
    assert [tool.name for tool in PythonEnvironment([add]).definitions] == ["add"]


def test_functions_in_memory_and_files_go_together(file: Path) -> None:
    with closing(PythonEnvironment([add, file])) as environment:
        assert environment.call("add", {"a": 1}).content == "2"
        assert environment.call("functions&&count", {}).content == "1"


def test_functions_in_memory_are_known_to_a_catalog_built_from_their_file(tmp_path: Path) -> None:
    (tmp_path / "sums.py").write_text("def add(a: int) -> int:\n    return a + 1\n")
    catalog = Catalog(load_python_functions(str(tmp_path / "sums.py")).tools)
    module = ModuleType("sums")
    exec("def add(a: int) -> int:\n    return a + 2\n", module.__dict__)
    for given in (module, [module.add]):
        environment = PythonEnvironment(given, catalog=catalog)
        assert environment.tools == ("sums&&add",)
        assert environment.call("sums&&add", {"a": 1}).content == "3"


def test_a_tool_made_of_a_function_is_that_function() -> None:
    environment = PythonEnvironment([add], catalog=[tool_from_function(add, provider="mine")])
    assert environment.tools == ("mine&&add",) and environment.unknown == ()


def test_two_functions_of_one_name_are_refused() -> None:
    with pytest.raises(EnvironmentSetupError, match="two functions are called 'add'"):
        PythonEnvironment([add, functools.partial(add, b=2)])


def test_a_function_in_memory_that_hangs_is_left_to_itself() -> None:
    released = threading.Event()
    environment = PythonEnvironment({"wait": lambda: released.wait(20), "add": add})
    assert environment.call("wait", {}, within=0.2).status == "timeout"
    assert environment.call("add", {"a": 1}).content == "2"
    environment.close()
    released.set()
    _until(lambda: not [one for one in threading.enumerate() if one.name == "toolgen functions"])


def test_calls_of_functions_in_memory_share_a_thread() -> None:
    opened: list[sqlite3.Connection] = []

    def open_database() -> None:
        opened.append(sqlite3.connect(":memory:"))

    def ask() -> Any:
        (row,) = opened[0].execute("select 1 + 1")
        opened[0].close()
        return row

    with closing(PythonEnvironment([open_database, ask])) as environment:
        assert environment.call("open_database", {}).content == "null"
        assert environment.call("ask", {}).content == "[2]"


def test_a_function_without_a_readable_signature_is_refused() -> None:
    with pytest.raises(EnvironmentSetupError, match="positional-only"):
        PythonEnvironment([math.sqrt])


def _until(condition: Any) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
