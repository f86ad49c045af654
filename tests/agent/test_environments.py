"""Environments execute calls, report failing tools as results, and keep state for one task."""

from __future__ import annotations

import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from toolgen.agent.environments import BfclEnvironment, DryRunEnvironment, PythonEnvironment, environment_for
from toolgen.agent.environments.bfcl import find_package, load_class, method_names
from toolgen.agent.environments.protocol import result_text
from toolgen.catalog import Catalog, Tool
from toolgen.catalog.loaders.python_functions import load_python_functions
from toolgen.datasets import Task
from toolgen.datasets.messages import cut_text
from toolgen.datasets.payloads import BfclSystems
from toolgen.errors import EnvironmentSetupError

from .conftest import holding_back

FUNCTIONS = '''
import datetime
import enum
import sys
import threading

released = threading.Event()

class Unit(enum.Enum):
    metric = "metric"

def add(a: int, b: int = 1) -> int:
    """Adds."""
    return a + b

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
    released.wait(20)
    return "late"

def release() -> None:
    """Lets the waiting one go on."""
    released.set()
'''


@pytest.fixture
def functions(tmp_path: Path) -> PythonEnvironment:
    path = tmp_path / "functions.py"
    path.write_text(FUNCTIONS)
    return PythonEnvironment(load_python_functions(str(path)).tools, timeout=0.2)


# --- Python functions ---------------------------------------------------------------------------------------------


def test_a_python_function_is_called_with_named_arguments(functions: PythonEnvironment) -> None:
    assert functions.call("functions&&add", {"a": 2}).content == "3"


def test_json_arguments_become_the_types_of_the_hints(functions: PythonEnvironment) -> None:
    result = functions.call("functions&&day_of", {"date": "2026-11-22"})
    assert result.content == '{"weekday": 7, "date": "2026-11-22", "unit": "metric"}'


@pytest.mark.parametrize(
    ("tool", "arguments", "text"),
    [
        ("functions&&fail", {"text": "rain"}, '{"error": "ValueError: no rain"}'),
        ("functions&&leave", {}, '{"error": "SystemExit: 3"}'),
        ("functions&&none", {}, '{"error": "tool functions&&none is not available in the environment python"}'),
    ],
)
def test_whatever_a_function_raises_is_an_error_result(
    functions: PythonEnvironment, tool: str, arguments: dict[str, str], text: str
) -> None:
    result = functions.call(tool, arguments)
    assert (result.status, result.content) == ("error", text)


def test_wrong_arguments_are_an_error_result(functions: PythonEnvironment) -> None:
    assert functions.call("functions&&add", {"z": 2}).is_error


def test_a_call_without_an_answer_in_time_is_reported_as_of_unknown_outcome(functions: PythonEnvironment) -> None:
    result = functions.call("functions&&wait", {})
    assert result.status == "timeout" and "unknown" in result.content
    worker = next(thread for thread in threading.enumerate() if thread.name == "call functions&&wait")
    # The functions of one file share its state, also across threads.
    functions.call("functions&&release", {})
    worker.join(5)
    assert not worker.is_alive()


def test_tools_without_a_function_are_refused_at_the_start() -> None:
    with pytest.raises(EnvironmentSetupError, match="python:FILE"):
        PythonEnvironment([Tool(id="a&&b", provider="a", name="b")])


def test_a_missing_function_is_named(tmp_path: Path) -> None:
    endpoint = {"kind": "python", "file": str(tmp_path / "gone.py"), "function": "f"}
    with pytest.raises(EnvironmentSetupError, match=r"gone\.py"):
        PythonEnvironment([Tool(id="a&&f", provider="a", name="f", endpoint=endpoint)])


# --- BFCL ---------------------------------------------------------------------------------------------------------


def test_simulated_classes_load_without_entering_the_interpreters_modules(package: Path) -> None:
    before = set(sys.modules)
    loaded = load_class(find_package(package), "TicketAPI")
    assert method_names(loaded) == ("create_ticket", "get_ticket", "close_ticket", "titles")
    assert not {name for name in set(sys.modules) - before if "bfcl" in name.lower() or "ticket" in name}


def test_state_lasts_for_one_task(package: Path, catalog: Catalog, task: Task) -> None:
    environment = BfclEnvironment(package, catalog)
    for _ in range(2):
        environment.reset(task)
        assert environment.call("TicketAPI&&create_ticket", {"title": "rain"}).content == '{"id": "2"}'
        environment.start_turn(task.turns[1])
        assert environment.call("TicketAPI&&titles", {}).content == "['old', 'rain']"


def test_the_scenario_of_the_task_is_not_changed_by_calls(package: Path, catalog: Catalog, task: Task) -> None:
    environment = BfclEnvironment(package, catalog)
    environment.reset(task)
    environment.call("TicketAPI&&close_ticket", {"ticket_id": "1"})
    assert "1" in task.state["TicketAPI"]["tickets"]


def test_long_context_tasks_get_the_longer_scenario(package: Path, catalog: Catalog, task: Task) -> None:
    environment = BfclEnvironment(package, catalog)
    environment.reset(replace(task, payload=BfclSystems(classes=("TicketAPI",), long_context=True)))
    assert "long" in environment.call("TicketAPI&&titles", {}).content


def test_results_read_as_bfcl_writes_them(package: Path, catalog: Catalog, task: Task) -> None:
    environment = BfclEnvironment(package, catalog)
    environment.reset(task)
    assert environment.call("TicketAPI&&close_ticket", {"ticket_id": "1"}).content == "None"
    lost = environment.call("TicketAPI&&close_ticket", {"ticket_id": "1"})
    assert (lost.status, lost.content) == ("error", "Error during execution: '1'")
    refused = environment.call("TicketAPI&&get_ticket", {"ticket_id": "7"})
    assert (refused.status, refused.content) == ("error", '{"error": "no such ticket"}')
    assert environment.call("TicketAPI&&titles", {"x": 1}).is_error
    assert environment.call("other&&tool", {}).is_error


def test_functions_that_are_held_back_are_offered_from_their_turn_on(
    package: Path, catalog: Catalog, task: Task
) -> None:
    environment = BfclEnvironment(package, catalog)
    held = holding_back(task, "TicketAPI&&close_ticket", until=2)
    environment.reset(held)
    assert "TicketAPI&&close_ticket" not in environment.tools and len(environment.tools) == 3
    environment.start_turn(held.turns[2])
    assert "TicketAPI&&close_ticket" in environment.tools and "other&&tool" not in environment.tools


def test_a_folder_without_the_package_is_one_clear_error(tmp_path: Path, catalog: Catalog) -> None:
    with pytest.raises(EnvironmentSetupError, match="toolgen fetch dataset bfcl"):
        BfclEnvironment(tmp_path, catalog)
    with pytest.raises(EnvironmentSetupError, match="no simulated API"):
        load_class(tmp_path, "Nothing")


def test_a_class_whose_file_is_missing_is_one_clear_error(package: Path) -> None:
    with pytest.raises(EnvironmentSetupError, match="message_api"):
        load_class(find_package(package), "MessageAPI")


@pytest.mark.weights
def test_the_real_package_has_eight_classes_with_128_methods_and_every_tool_has_its_own(cached_bfcl: Path) -> None:
    from toolgen.agent.environments.bfcl import CLASS_MODULES
    from toolgen.datasets.bfcl import import_bfcl

    package = find_package(cached_bfcl)
    methods = {f"{name}&&{method}" for name in CLASS_MODULES for method in method_names(load_class(package, name))}
    simulated = {tool.id for tool in import_bfcl(cached_bfcl).catalog if tool.endpoint}
    assert len(methods) == 128
    assert methods == simulated


# --- dry run and texts --------------------------------------------------------------------------------------------


def test_a_dry_run_records_and_validates_but_executes_nothing(catalog: Catalog, task: Task) -> None:
    environment = DryRunEnvironment(catalog)
    assert environment.call("TicketAPI&&create_ticket", {"title": "rain"}).content == '{"status": "recorded"}'
    wrong = environment.call("TicketAPI&&create_ticket", {"title": 5})
    assert wrong.is_error and "5 is not of type 'string'" in wrong.content
    assert environment.call("no&&tool", {}).is_error
    assert [call.arguments for call in environment.calls] == [{"title": "rain"}, {"title": 5}]
    environment.reset(task)
    assert environment.calls == [] and environment.tools == catalog.ids


def test_long_results_are_cut_with_a_note() -> None:
    assert cut_text("abc", 3) == "abc"
    assert cut_text("x" * 2000, 10) == "xxxxxxxxxx... [cut: 1,990 more characters]"


def test_results_of_any_type_become_text() -> None:
    loop: list[object] = []
    loop.append(loop)
    assert result_text("as is") == "as is"
    assert result_text({"a": {1}}) == '{"a": [1]}'
    assert result_text(object).startswith('"<class')
    assert result_text(loop) == "[[...]]"


# --- the environment of a task ------------------------------------------------------------------------------------


def test_a_task_names_its_environment_and_plain_text_gets_a_dry_run(
    package: Path, catalog: Catalog, task: Task
) -> None:
    assert isinstance(environment_for(task, catalog, {"bfcl": package}), BfclEnvironment)
    assert isinstance(environment_for(Task.from_text("Hi"), catalog), DryRunEnvironment)
    with pytest.raises(EnvironmentSetupError, match="toolgen fetch dataset bfcl"):
        environment_for(task, catalog)
