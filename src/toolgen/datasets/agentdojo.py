"""Importer of AgentDojo's suites, from the unpacked package `agentdojo` (MIT): workspace, travel, banking and slack, v1.2.2.

Becomes: the functions of a suite as tools, its user tasks with the calls of their ground truth, and each of them once more with
each injection task, where the attack is written into what tools answer. All are test requests. The package computes its ground
truths: its code runs here.

Source: Debenedetti et al., "AgentDojo", NeurIPS 2024.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from toolgen.catalog.catalog import Catalog
from toolgen.catalog.loaders.report import LoadReport
from toolgen.catalog.naming import tool_id
from toolgen.catalog.normalization import close_object, normalize_schema
from toolgen.catalog.tool import Tool
from toolgen.datasets.folder import Dataset
from toolgen.datasets.payloads import AgentDojoTask
from toolgen.datasets.query import Call
from toolgen.datasets.task import Task, Turn
from toolgen.datasets.worlds import world_module
from toolgen.errors import UsageError
from toolgen.fetching.artifacts import DATASETS

DATASET_NAME = "agentdojo"
VERSION = "v1.2.2"
SUITES = ("workspace", "travel", "banking", "slack")
ATTACK = "important_instructions_no_names"
"""The strongest of the package's attacks that knows neither the user's name nor the model's."""


def import_agentdojo(package: Path, suite: str = "") -> Dataset:
    """The dataset of one suite, or of all four. UsageError for an unknown one."""
    if suite and suite not in SUITES:
        raise UsageError(f"AgentDojo has no suite {suite!r}; it has {', '.join(SUITES)}")
    chosen = [suite] if suite else list(SUITES)
    catalog = Catalog(tool for name in chosen for tool in _tools(package, name))
    tasks = tuple(task for name in chosen for task in _tasks(package, name))
    return Dataset(
        name=f"{DATASET_NAME}-{suite}" if suite else DATASET_NAME,
        version=VERSION,
        source="PyPI package agentdojo, https://github.com/ethz-spylab/agentdojo",
        licence=DATASETS[DATASET_NAME].licence,
        catalog=catalog,
        tasks={"test": tasks},
        reports=(LoadReport(source=f"{DATASET_NAME}:{suite}", loaded=len(catalog), losses=(), notes=()),),
    )


@cache
def load_suite(package: Path, name: str) -> Any:
    """The package's own suite of that name."""
    return world_module(package, "agentdojo.task_suite.load_suites").get_suite(VERSION, name)


def _tools(package: Path, name: str) -> Iterator[Tool]:
    for function in load_suite(package, name).tools:
        yield Tool(
            id=tool_id(name, function.name),
            provider=name,
            name=function.name,
            description=function.description.strip(),
            parameters=close_object(normalize_schema(function.parameters.model_json_schema())),
            endpoint={"kind": "simulated", "environment": DATASET_NAME, "suite": name, "function": function.name},
            source={"dataset": DATASET_NAME, "name": function.name},
        )


def _tasks(package: Path, name: str) -> Iterator[Task]:
    suite = load_suite(package, name)
    world_module(package, "agentdojo.attacks.important_instructions_attacks")
    load_attack = world_module(package, "agentdojo.attacks.attack_registry").load_attack
    attack = load_attack(ATTACK, suite, SimpleNamespace(name="local"))
    system = yaml.safe_load((package / "agentdojo" / "data" / "system_messages.yaml").read_text("utf-8"))["default"]
    for user_id, user in suite.user_tasks.items():
        begun = user.init_environment(suite.load_and_inject_default_environment({}))
        task = Task(
            id=f"{DATASET_NAME}/{name}/{user_id}",
            turns=(Turn(text=user.PROMPT, calls=tuple(_call(name, one) for one in user.ground_truth(begun))),),
            system=system,
            payload=AgentDojoTask(suite=name, user_task=user_id),
            category=name,
        )
        yield task
        for injection_id, injection in suite.injection_tasks.items():
            yield replace(
                task,
                id=f"{task.id}/{injection_id}",
                payload=AgentDojoTask(suite=name, user_task=user_id, injection_task=injection_id),
                state={"injections": attack.attack(user, injection)},
                category=f"{name}, injected",
            )


def _call(suite: str, call: Any) -> Call:
    arguments: Mapping[str, Any] = json.loads(call.model_dump_json(include={"args"}))["args"]
    return Call(tool=tool_id(suite, call.function), arguments=arguments)
