"""Environments execute calls, report failing tools as results, and keep state for one task."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from toolgen.agent.environments import BfclEnvironment, DryRunEnvironment, environment_for
from toolgen.agent.environments.bfcl import find_package, load_class, method_names
from toolgen.catalog import Catalog
from toolgen.datasets import Task
from toolgen.datasets.messages import cut_text
from toolgen.datasets.payloads import BfclSystems
from toolgen.errors import EnvironmentSetupError

from .conftest import holding_back

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


# --- the environment of a task ------------------------------------------------------------------------------------


def test_a_task_names_its_environment_and_plain_text_gets_a_dry_run(
    package: Path, catalog: Catalog, task: Task
) -> None:
    assert isinstance(environment_for(task, catalog, {"bfcl": package}), BfclEnvironment)
    assert isinstance(environment_for(Task.from_text("Hi"), catalog), DryRunEnvironment)
    with pytest.raises(EnvironmentSetupError, match="toolgen fetch dataset bfcl"):
        environment_for(task, catalog)
